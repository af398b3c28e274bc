"""Queues that others own: adopting them, and finding those that may be adopted.

Nothing here writes to SQS.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from queues import adopted_repository, following, naming, repository, setting_checks, sources
from queues.events import EventKind, record
from queues.models import Queue
from queues.settings import CHOSEN_FOR_ADOPTED
from queues.sources import Source
from queues.sqs.regions import gateway_in
from queuesite.foundation.errors import AlreadyExists, Conflict, InvalidInput, NotFound, QueueMissing, SqsDenied
from queuesite.foundation.logs import get_logger
from queuesite.foundation.problems import Problems

if TYPE_CHECKING:
    from queues.sqs.gateway import SqsGateway

log = get_logger(__name__)

#: Most queues that one answer of `discover` has; ListQueues gives a thousand in a request.
MOST_DISCOVERED = 1_000


def adopt(queue: str, *, handler: str, name: str | None = None, settings: Mapping[str, Any] | None = None) -> Queue:
    """Process a queue that others own: define it here as SQS holds it, and have it looked at.

    `queue` is its name, URL or ARN; `name` its name here, by default the same. `settings` are of CHOSEN_FOR_ADOPTED.
    Raises `InvalidInput`, `NotFound` if SQS does not have it, `Conflict` if it or the name is taken here, `SqsDenied`
    if its attributes cannot be read, `ServerError`.
    """
    problems = Problems()
    with problems.noted():
        source = sources.parse(queue)
        name = source.name if name is None else name
        check_name(name, source)
    chosen = {
        **{setting: declared.default for setting, declared in CHOSEN_FOR_ADOPTED.items()},
        **(settings or {}),
        "handler": handler,
    }
    with problems.noted():
        setting_checks.validate_settings(chosen, known=CHOSEN_FOR_ADOPTED)
    problems.raise_all()
    url, found = _looked_up(source)
    _refuse_taken(source, url, found)
    if repository.exists(name):
        raise AlreadyExists(f"queue {name!r} exists already; adopt {source} under another name", name=name)
    adopted = repository.insert(Queue(name=name, queue_url=url, managed=False, **chosen, **found))
    repository.wake(adopted.id)  # it may hold messages
    log.info("queue_adopted", queue=name, queue_url=url, arn=adopted.queue_arn)
    record(EventKind.QUEUE_ADOPTED, queue=name)
    return adopted


def check_name(name: str, source: Source) -> None:
    """Raise `InvalidInput` for a name here that does not fit the queue."""
    naming.check(name)
    if naming.is_fifo(name) != naming.is_fifo(source.name):
        raise InvalidInput(
            f"name {name!r} does not fit queue {source}: the name of a FIFO queue, and no other, ends in .fifo",
            field="name",
        )


def _looked_up(source: Source) -> tuple[str, dict[str, Any]]:
    """The queue's URL, and what SQS holds of it."""
    try:
        gateway = gateway_in(source.region)
        url = gateway.queue_url(source.name, source.account)
        if url is None:
            raise _unknown(source)
        found = following.read(gateway, url)
        _require_readable(gateway, found["dlq_url"])
    except QueueMissing:
        raise _unknown(source) from None
    except SqsDenied as error:
        remedy = (
            f"SQS does not let these credentials read queue {source} and its dead-letter queue: allow sqs:GetQueueUrl "
            "and sqs:GetQueueAttributes on both"
        )
        raise SqsDenied(f"{remedy} ({error})", public=remedy) from error
    return url, found


def _unknown(source: Source) -> NotFound:
    return NotFound(
        f"SQS has no queue {source}, or does not show it to these credentials: check name, region and account, and "
        "allow sqs:GetQueueUrl and sqs:GetQueueAttributes on it"
    )


def _require_readable(gateway: SqsGateway, dlq_url: str | None) -> None:
    if dlq_url is not None:
        gateway.depth(dlq_url)


def _refuse_taken(source: Source, url: str, found: Mapping[str, Any]) -> None:
    """Raise `Conflict` if one queue in SQS would be two queues here, or a queue and a dead-letter queue."""
    dlq_url = found["dlq_url"]
    name, role = adopted_repository.holder(url, found["queue_arn"]) or (None, None)
    if name is not None and role == "queue":
        raise AlreadyExists(f"queue {source} is queue {name!r} here already; change that one", name=name)
    if name is not None:
        raise Conflict(
            f"queue {source} is the dead-letter queue of {name!r} here: its dead letters would be processed as "
            f"messages; look at them on the page of {name!r}, or redrive them"
        )
    name, role = (dlq_url and adopted_repository.holder(dlq_url)) or (None, None)
    if role == "queue":
        raise Conflict(
            f"the dead-letter queue of {source} is queue {name!r} here: its dead letters would be processed as "
            f"messages; delete {name!r} here first"
        )


@dataclass(frozen=True)
class Found:
    """A queue in SQS that is not defined here."""

    name: str
    queue_url: str
    fifo: bool

    def as_dict(self) -> dict[str, Any]:
        """The fields under the names that the command line and the API use."""
        return {"name": self.name, "queueUrl": self.queue_url, "fifo": self.fifo}


def discover(*, prefix: str = "", region: str | None = None, limit: int = MOST_DISCOVERED) -> list[Found]:
    """Up to `limit` queues of a region (None: the configured one) that SQS has and that are not defined here, by name.

    Dead-letter queues of queues that are defined here are left out. Raises `InvalidInput`, `ServerError`.
    """
    if region is not None:
        sources.check_region(region)
    if prefix:
        naming.check(prefix, field="prefix")
    known = adopted_repository.known_urls()
    unknown = (url for url in gateway_in(region).queue_urls(prefix) if url not in known)
    found = [Found(name := naming.name_of(url), url, naming.is_fifo(name)) for url in islice(unknown, limit)]
    return sorted(found, key=lambda one: one.name)
