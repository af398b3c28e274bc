"""The sync: SQS is made to match the database, and what it says of queues that others own is followed.

What exists only in SQS is left alone and reported.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bson import ObjectId

from queues import adopted_repository, following, naming, repository, services
from queues.events import EventKind, record
from queues.held import FIFO_DEFAULTS
from queues.models import Queue
from queues.naming import name_of
from queues.sqs import get_gateway, redrive_policy
from queues.sqs.regions import gateway_in
from queuesite.foundation.config import get_config
from queuesite.foundation.config_model import AWS
from queuesite.foundation.errors import QueueMissing, QueuesiteError, SqsDenied, SqsRejected, SqsUnavailable
from queuesite.foundation.logs import get_logger
from queuesite.foundation.rules import is_aws

if TYPE_CHECKING:
    from queues.sqs.gateway import SqsGateway

log = get_logger(__name__)

#: Queues looked at in parallel; a look is one request.
PARALLEL = 16

Progress = Callable[[int], None]


@dataclass
class SyncReport:
    """What a sync found and did. Each list holds names of queues."""

    unchanged: int = 0
    created: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    #: Queues of other owners whose attributes have changed in SQS, and those that SQS does not have any more.
    followed: list[str] = field(default_factory=list)
    vanished: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    only_in_sqs: list[str] = field(default_factory=list)

    @property
    def summary(self) -> str:
        """The report in one line."""
        return (
            f"{len(self.created)} created, {len(self.changed)} changed, {self.unchanged} unchanged, "
            + (f"{len(self.followed)} followed, " if self.followed else "")
            + (f"{len(self.vanished)} vanished, " if self.vanished else "")
            + f"{len(self.failed)} failed, {len(self.only_in_sqs)} only in SQS"
        )

    def as_dict(self) -> dict[str, Any]:
        """The report under the names that the command line and the API use."""
        return {
            "created": sorted(self.created),
            "changed": sorted(self.changed),
            "followed": sorted(self.followed),
            "vanished": sorted(self.vanished),
            "unchanged": self.unchanged,
            "failed": self.failed,
            "onlyInSqs": sorted(self.only_in_sqs),
        }


def sync(total: Callable[[int], None] = lambda count: None, progress: Progress = lambda done: None) -> SyncReport:
    """Create in SQS what it lacks, set what differs, and follow URLs that have changed. `_id`s stay.

    Queues that others own are only read: their attributes are followed, and those that have vanished are reported. A
    queue that fails is reported and does not stop the others. Raises `ServerError` if SQS is away, and pymongo's
    errors.
    """
    gateway = get_gateway()
    prefix = get_config().queue_name_prefix
    report = SyncReport()
    queues = repository.all_queues()
    total(len(queues))
    present = {name_of(url): url for url in gateway.queue_urls(prefix)}
    own = [queue for queue in queues if queue.managed]
    ours = {prefix + queue.name for queue in own}
    ours |= {prefix + naming.dead_letter_name(queue.name) for queue in own if queue.dlq_url is not None}
    adopted = {url for queue in queues if not queue.managed for url in (queue.queue_url, queue.dlq_url)}
    report.only_in_sqs = sorted(name for name, url in present.items() if name not in ours and url not in adopted)

    def one(queue: Queue) -> tuple[Queue, str | QueuesiteError]:
        try:
            return queue, _sync_one(gateway, queue, prefix, present) if queue.managed else _follow(queue)
        except (SqsUnavailable, SqsDenied) as error:
            if queue.managed:
                raise  # it concerns every queue
            return queue, error
        except QueuesiteError as error:
            return queue, error

    unchanged: list[ObjectId] = []
    with ThreadPoolExecutor(PARALLEL, thread_name_prefix="sync") as pool:
        futures = [pool.submit(one, queue) for queue in queues]
        try:
            for future in futures:
                queue, outcome = future.result()
                progress(1)
                if isinstance(outcome, QueuesiteError):
                    report.failed[queue.name] = str(outcome)
                    log.error("queue_sync_failed", queue=queue.name, error=str(outcome))
                elif outcome == "unchanged":
                    report.unchanged += 1
                    unchanged.append(queue.id)
                else:
                    getattr(report, outcome).append(queue.name)
        finally:
            for future in futures:
                future.cancel()
            repository.looked_at(unchanged)
    log.info("queues_synced", **{k: len(v) if isinstance(v, list | dict) else v for k, v in report.as_dict().items()})
    return report


def _sync_one(gateway: SqsGateway, queue: Queue, prefix: str, present: dict[str, str]) -> str:
    changes: dict[str, Any] = {}
    created = False
    lost: list[str] = []
    if queue.dlq_url is not None:
        dlq_name = prefix + naming.dead_letter_name(queue.name)
        dlq_url = present.get(dlq_name)
        if dlq_url is None:
            dlq_url = gateway.create_queue(dlq_name, services.dlq_attributes(queue.name))
            created = True
        if dlq_url != queue.dlq_url:
            queue.dlq_url = changes["dlq_url"] = dlq_url
    url = present.get(prefix + queue.name)
    if url is None:
        url = gateway.create_queue(prefix + queue.name, services.sqs_attributes(gateway, queue))
        created = True
        drifted = False
    else:
        drifted, lost = _mend_attributes(gateway, queue, url)
    if url != queue.queue_url:
        changes["queue_url"] = url
    if created or changes or drifted:
        repository.synced(queue.id, changes)
        record(EventKind.SYNC_REPAIRED, queue=queue.name, more="created" if created else "set what differed of")
    if lost:
        raise SqsRejected(
            f"SQS at {gateway.address} took {', '.join(lost)} of queue {queue.name!r} and does not keep it, as "
            "emulators do that lack it: clear the settings under FIFO, or use another server"
        )
    if not (created or changes or drifted):
        return "unchanged"  # dated with all others, in one write
    return "created" if created else "changed"


def _follow(queue: Queue) -> str:
    """Take over what SQS says of a queue that others own."""
    try:
        found = following.read(gateway_in(queue.region), queue.queue_url, queue.dlq_url)
    except QueueMissing:
        if queue.vanished_at is None:
            log.error("queue_vanished", queue=queue.name, arn=queue.queue_arn, meaning="its owner may have deleted it")
        adopted_repository.vanished(queue.id)
        return "vanished"
    back = queue.vanished_at is not None
    if back:
        adopted_repository.seen(queue.id)
    return "followed" if adopted_repository.followed(queue.id, found) or back else "unchanged"


def _mend_attributes(gateway: SqsGateway, queue: Queue, url: str) -> tuple[bool, list[str]]:
    """Set the attributes that differ from the definition; return whether any did, and those that SQS did not keep."""
    actual = FIFO_DEFAULTS | gateway.attributes(url)
    wanted = services.held_attributes(queue)
    if queue.dlq_url is not None:
        # Both queues are in one account and region, so one ARN gives the other without a request.
        arn = actual["QueueArn"].rpartition(":")[0] + ":" + name_of(queue.dlq_url)
        wanted["RedrivePolicy"] = redrive_policy(arn, queue.max_receive_count)
    differing = {name: value for name, value in wanted.items() if not _same(actual.get(name), value)}
    try:
        gateway.set_attributes(url, differing)
    except QueueMissing:
        raise QueueMissing(f"queue {queue.name} vanished from SQS during the sync; sync again") from None
    lost = _not_kept(gateway, url, {name: value for name, value in differing.items() if name in FIFO_DEFAULTS})
    return len(differing) > len(lost), lost


def _not_kept(gateway: SqsGateway, url: str, given: dict[str, str]) -> list[str]:
    """Those attributes that the server has dropped: each sync would set them again. AWS keeps what it takes."""
    if not given or gateway.address == AWS or is_aws(urlsplit(gateway.address).hostname or ""):
        return []
    kept = FIFO_DEFAULTS | gateway.attributes(url)
    return [name for name, value in given.items() if kept[name] != value]


def _same(actual: str | None, wanted: str) -> bool:
    if actual is None or actual == wanted:
        return actual == wanted
    try:
        return bool(_plain(actual) == _plain(wanted))
    except ValueError:
        return False


def _plain(policy: str) -> Any:
    """A RedrivePolicy with its count as a number: servers return it as they got it, as text or as a number."""
    value = json.loads(policy)
    if isinstance(value, dict) and "maxReceiveCount" in value:
        value["maxReceiveCount"] = int(value["maxReceiveCount"])
    return value
