"""What can be done to queues: one function per operation, shared by the command line, the admin and the API.

Every function validates before it changes anything. It raises `QueuesiteError`s, and pymongo's errors as they are: the
doors translate them. If SQS and the database can differ, SQS is changed first: a repeated call or the sync then
completes what a failure left behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bson import ObjectId

from queues import adopted_repository, naming, repository, setting_checks
from queues.events import EventKind, record
from queues.models import Queue
from queues.pausing import Note
from queues.settings import ASKED, SETTINGS
from queues.sqs import Depth, get_gateway, redrive_policy
from queues.sqs.regions import gateway_in
from queuesite.foundation import actor
from queuesite.foundation.config import get_config
from queuesite.foundation.errors import AlreadyExists, Conflict, InvalidInput, QueueMissing, QueuesiteError
from queuesite.foundation.home import PROGRAM
from queuesite.foundation.logs import get_logger
from queuesite.foundation.problems import Problems
from queuesite.foundation.sqs_limits import MAX_RETENTION_SECONDS

if TYPE_CHECKING:
    from queues.sqs.gateway import SqsGateway

log = get_logger(__name__)


def sqs_name(queue_name: str) -> str:
    """A queue's name in SQS: QUEUE_NAME_PREFIX and its own."""
    return get_config().queue_name_prefix + queue_name


def get(name: str) -> Queue:
    """The queue of this name. Raises `NotFound`."""
    return repository.by_name(name)


def by_ids(ids: Iterable[str]) -> list[Queue]:
    """The queues of these ids that there are, by name."""
    found = repository.by_ids(ObjectId(one) for one in ids if ObjectId.is_valid(one))
    return sorted(found, key=lambda queue: queue.name)


def by_names(names: Sequence[str]) -> list[Queue]:
    """The queues of these names that there are."""
    return repository.by_names(names)


def require(names: Sequence[str]) -> None:
    """Raise `NotFound` for the first of these queues that does not exist."""
    for name in names:
        get(name)


def list_queues() -> list[Queue]:
    """Every queue, by name."""
    return repository.all_queues()


def create(
    name: str, *, with_dlq: bool = True, settings: Mapping[str, Any] | None = None, take_over: bool = False
) -> Queue:
    """Create a queue here and in SQS, with its dead-letter queue unless `with_dlq` is false.

    If SQS has a queue of one of these names already, `take_over` says whether it becomes Queuesite's, with its messages
    and with new attributes. Raises `InvalidInput`, `Conflict` if a name is taken, `ServerError`; if SQS fails, nothing
    is left, neither a document nor a queue that was made for it.
    """
    config = get_config()
    chosen = {**{setting: declared.default for setting, declared in ASKED.items()}, **(settings or {})}
    problems = Problems()
    with problems.noted():
        naming.validate_name(name, prefix=config.queue_name_prefix, with_dlq=with_dlq)
    with problems.noted():
        setting_checks.validate_settings(chosen, name=name, known=ASKED)  # no mask stands for anything yet
    problems.raise_all()
    if repository.exists(name):
        raise _taken(name)
    _refuse_shared(name, with_dlq)
    queue = Queue(name=name, **chosen)
    dlq_name = naming.dead_letter_name(name)
    gateway = get_gateway()
    # Both before anything is made or changed.
    present = _present(gateway, name, [name, dlq_name] if with_dlq else [name], take_over=take_over)
    made: list[str] = []

    def ensure(one: str, attributes: dict[str, str]) -> str:
        url = gateway.create_queue(sqs_name(one), attributes, take_over=take_over)
        if one not in present:
            made.append(url)
        return url

    try:
        if with_dlq:
            queue.dlq_url = ensure(dlq_name, dlq_attributes(name))
        queue.queue_url = ensure(name, sqs_attributes(gateway, queue))
        repository.insert(queue)
    except Conflict:
        # Another process was faster to define this very queue: what is in SQS is now its own.
        raise
    except Exception:
        for url in made:
            with suppress(QueuesiteError):
                get_gateway().delete_queue(url)
        raise
    if queue.queue_url not in made:
        repository.wake(queue.id)  # one that SQS had already may hold messages
    log.info("queue_created", queue=name, queue_url=queue.queue_url)
    record(EventKind.QUEUE_CREATED, queue=name)
    return queue


def _refuse_shared(name: str, with_dlq: bool) -> None:
    """Raise `Conflict` if one queue in SQS would be both a queue of ours and the dead-letter queue of another.

    Its dead letters would be processed as messages, and deleting or purging the one would empty the other.
    """
    dead_letter_name = naming.dead_letter_name(name)
    if with_dlq and repository.exists(dead_letter_name):
        raise Conflict(
            f"queue {name!r} would have {dead_letter_name!r} as its dead-letter queue, but that is a queue of its own; "
            "choose another name, or create it without a dead-letter queue"
        )
    source = naming.dead_letter_source(name)
    if source is not None and repository.has_dlq(source):
        raise Conflict(f"{name!r} is the dead-letter queue of {source!r}; choose another name")


def _present(gateway: SqsGateway, name: str, wanted: Sequence[str], *, take_over: bool) -> set[str]:
    """Those of the `wanted` queues that SQS has already.

    Raises `Conflict` for one that belongs to a queue here, and for any unless it is to be taken over.
    """
    found = set()
    for one in wanted:
        url = gateway.queue_url(sqs_name(one))
        if url is None:
            continue
        if repository.exists(name):
            raise _taken(name)  # by another process, since this one looked
        if holder := adopted_repository.holder(url):
            raise Conflict(f"{sqs_name(one)!r} in SQS is the {holder[1]} of {holder[0]!r} here; choose another name")
        if not take_over:
            or_else = "" if one == name else ", or create the queue without a dead-letter queue"
            raise Conflict(
                f"SQS has a queue {sqs_name(one)!r} already, which others may own: adopt it as it is (`{PROGRAM} sqs "
                f"adopt {sqs_name(one)} --handler HANDLER`), or take it over with new attributes (--take-over){or_else}"
            )
        found.add(one)
    return found


def _taken(name: str) -> AlreadyExists:
    return AlreadyExists(f"queue {name!r} exists already; choose another name, or change that one", name=name)


def dlq_attributes(name: str) -> dict[str, str]:
    """The attributes of a queue's dead-letter queue: kept for 14 days, the longest that SQS allows."""
    return {
        "MessageRetentionPeriod": str(MAX_RETENTION_SECONDS),
        **({"FifoQueue": "true"} if naming.is_fifo(name) else {}),
    }


def held_attributes(queue: Queue) -> dict[str, str]:
    """The attributes that a queue's settings stand for, without the redrive policy. Those left to SQS are absent."""
    attributes: dict[str, str] = {}
    for name, one in SETTINGS.items():
        value = getattr(queue, name)
        if one.sqs is not None and value is not None and (queue.fifo or not one.fifo_only):
            attributes |= one.sqs.attributes(value)
    return attributes


def sqs_attributes(gateway: SqsGateway, queue: Queue) -> dict[str, str]:
    """The attributes that a queue should have in SQS."""
    attributes = held_attributes(queue)
    if queue.fifo:
        attributes["FifoQueue"] = "true"
    if queue.dlq_url is not None:
        arn = gateway.attributes(queue.dlq_url, ("QueueArn",))["QueueArn"]
        attributes["RedrivePolicy"] = redrive_policy(arn, queue.max_receive_count)
    return attributes


def update(name: str, changes: Mapping[str, Any]) -> Queue:
    """Change settings of a queue and return the changed queue. Consumers at work follow within seconds.

    The master looks at a resumed queue as after a send. Raises what `create` raises.
    """
    return _change(get(name), changes, Note())


def _change(queue: Queue, changes: Mapping[str, Any], note: Note) -> Queue:
    changes = setting_checks.validate_settings(changes, current=queue)
    if not queue.managed:  # what SQS holds was named as it is
        changes = {setting: value for setting, value in changes.items() if not SETTINGS[setting].held_by_sqs}
    if not changes:
        return queue
    if any(SETTINGS[setting].held_by_sqs for setting in changes):
        wished = copy(queue)
        for setting, value in changes.items():
            setattr(wished, setting, value)
        gateway = get_gateway()
        wanted = sqs_attributes(gateway, wished)
        wanted.pop("FifoQueue", None)  # is fixed at creation
        gateway.set_attributes(queue.queue_url, wanted)
    # Somebody may have paused the queue since it was read, so the wake-up does not rest on what was read.
    resumed = changes.get("paused") is False
    paused = changes.get("paused", queue.paused) != queue.paused
    changed = repository.update(queue.id, {**changes, **(note.fields() if paused else {})}, wake=resumed)
    log.info("queue_changed", queue=queue.name, settings=sorted(changes))  # no values: options may be secret
    if changed.paused != queue.paused:
        log.info("queue_paused" if changed.paused else "queue_resumed", queue=queue.name, by=actor.current())
        kind = EventKind.QUEUE_PAUSED if changed.paused else EventKind.QUEUE_RESUMED
        record(kind, queue=queue.name, more=f": {changed.pause_reason}" if changed.pause_reason else "")
    if differences := _differences(queue, changed, changes):
        record(EventKind.QUEUE_CHANGED, queue=queue.name, more=differences)
    return changed


def _differences(before: Queue, after: Queue, changes: Mapping[str, Any]) -> str:
    """What a change has changed, in words; of options, which may be secret, only that they have."""
    words = []
    for name in sorted(set(changes) - {"paused"}):
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            said = SETTINGS[name].words
            if SETTINGS[name].type is bool:
                old, new = SETTINGS[name].said(old), SETTINGS[name].said(new)
            words.append(said if SETTINGS[name].type is dict else f"{said} from {old} to {new}")
    return ", ".join(words)


def delete(name: str) -> Queue:
    """Delete a queue with its messages and its dead-letter queue. If SQS fails, the definition stays.

    Of a queue that others own only the definition is deleted. SQS is not asked.
    """
    queue = get(name)
    if queue.managed:
        gateway = get_gateway()
        gateway.delete_queue(queue.queue_url)
        if queue.dlq_url is not None:
            gateway.delete_queue(queue.dlq_url)
    repository.delete(queue.id)
    if not queue.managed:
        adopted_repository.forget_depths(queue.id)
    log.info("queue_deleted" if queue.managed else "queue_forgotten", queue=name)
    record(EventKind.QUEUE_DELETED, queue=name)
    return queue


def set_paused(name: str, paused: bool, note: Note | None = None) -> bool:
    """Pause or resume a queue; return whether that changed anything. Consumers finish what they have in flight.

    The queue keeps the note.
    """
    queue = get(name)
    if queue.paused == paused:
        return False
    _change(queue, {"paused": paused}, note or Note())
    return True


def set_all_paused(names: Sequence[str], paused: bool, note: Note) -> list[str]:
    """Pause or resume several queues, by one change that can be undone; return those that this changed.

    Raises `NotFound` before it changes anything if one of them does not exist.
    """
    require(names)
    return [name for name in names if set_paused(name, paused, note)]


def notify(name: str) -> Queue:
    """Have the master look at the queue at once, as after a send. Raises `NotFound`."""
    queue = get(name)
    repository.wake(queue.id)
    return queue


@dataclass(frozen=True)
class Size:
    """What a queue and its dead-letter queue hold."""

    name: str
    depth: Depth
    dead_letters: int

    def as_dict(self) -> dict[str, Any]:
        """The counts under the names that the command line and the API use."""
        return {
            "name": self.name,
            "visible": self.depth.visible,
            "inFlight": self.depth.in_flight,
            "delayed": self.depth.delayed,
            "deadLetters": self.dead_letters,
        }


def size(name: str) -> Size:
    """Ask SQS what the queue and its dead-letter queue hold, and keep the answer as what was last seen."""
    queue = get(name)
    dead = dead_letters(queue)
    size = Size(queue.name, gateway_in(queue.region).depth(queue.queue_url), dead)
    repository.observed({queue.id: size.depth})
    repository.dead_letters_observed({queue.id: dead})
    return size


def dead_letters(queue: Queue) -> int:
    """Ask SQS how many dead letters a queue has: none if it has no dead-letter queue, or SQS has not."""
    if queue.dlq_url is not None:
        with suppress(QueueMissing):
            return gateway_in(queue.region).depth(queue.dlq_url).total
    return 0


def with_dead_letters(name: str, to_do: str) -> tuple[Queue, str]:
    """The queue and the URL of its dead-letter queue. Raises `NotFound`, and `InvalidInput` if it has none.

    `to_do` says what somebody wanted to do with the dead letters.
    """
    queue = get(name)
    if queue.dlq_url is None:
        raise InvalidInput(f"queue {name!r} has no dead-letter queue, so there is nothing to {to_do}")
    return queue, queue.dlq_url


def purge(name: str) -> None:
    """Delete all messages of a queue, not those of its dead-letter queue. `Conflict` within 60 s of the last purge."""
    queue = get(name)
    gateway_in(queue.region).purge(queue.queue_url)
    repository.observed({ObjectId(queue.id): Depth(0, 0, 0)})
    log.info("queue_purged", queue=name)
    record(EventKind.QUEUE_PURGED, queue=name)
