"""What happened to the system, for people: each kind is declared once, and `record` writes all of them.

An event is written where it happens, after what it reports. It decides nothing: if MongoDB does not take it, the log
says so, and what happened stands.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from queues import event_repository
from queues.event_model import Event
from queuesite.foundation import actor
from queuesite.foundation.actor import MAX_ACTOR
from queuesite.foundation.databases import MongoError
from queuesite.foundation.errors import InvalidInput, ServerError
from queuesite.foundation.logs import get_logger
from queuesite.foundation.newest import between
from queuesite.foundation.pages import Cursor, cut

log = get_logger(__name__)

#: Longest text of an event.
_LONGEST = 500
#: Most marks of a chart: more would hide it. Events that are read for those of all queues, which are grouped.
MARKS = 20
MOST_GROUPED = 200


class EventKind(StrEnum):
    """A kind of event: its value in documents and the API, and its words, with `{subject}` and `{more}`."""

    words: str

    def __new__(cls, value: str, words: str) -> EventKind:
        member = str.__new__(cls, value)
        member._value_ = value
        member.words = words
        return member

    WORKER_STARTED = "worker-started", "worker {subject} started"
    WORKER_DRAINING = "worker-draining", "worker {subject} was asked to drain"
    WORKER_CAPACITY = "worker-capacity", "worker {subject} was asked for a capacity of {more}"
    WORKER_LEFT = "worker-left", "worker {subject} left: {more}"
    WORKER_DIED = "worker-died", "worker {subject} died, or was cut off: its heartbeat stopped"
    LEADER_CHANGED = "leader-changed", "master {subject} leads, {more}"
    QUEUE_CREATED = "queue-created", "created"
    QUEUE_ADOPTED = "queue-adopted", "adopted"
    QUEUE_CHANGED = "queue-changed", "changed: {more}"
    QUEUE_DELETED = "queue-deleted", "deleted"
    QUEUE_PURGED = "queue-purged", "purged"
    QUEUE_PAUSED = "queue-paused", "paused{more}"
    QUEUE_RESUMED = "queue-resumed", "resumed{more}"
    QUEUE_CRASH_LOOPING = "queue-crash-looping", "crash-looping: {more}"
    QUEUE_TRIPPED = "queue-tripped", "tripped: {more}"
    QUEUE_FAILING = "queue-failing", "failing: {more}"
    QUEUE_STUCK = "queue-stuck", "stuck: {more}"
    QUEUE_RECOVERED = "queue-recovered", "recovered: no longer {more}"
    NOTICES_SILENCED = "notices-silenced", "notices of {subject} silenced {more}"
    SILENCE_ENDED = "silence-ended", "the silence of {subject} ended"
    VERSION_DEPLOYED = "version-deployed", "handler {subject} has a new version, {more}"
    SYNC_REPAIRED = "sync-repaired", "a sync {more} it in SQS"

    @property
    def label(self) -> str:
        """The kind as pages show it."""
        return self.value.replace("-", " ")


#: What charts of the whole system are marked with: what may explain a change of throughput or backlog.
OF_CHARTS = (
    EventKind.WORKER_STARTED,
    EventKind.WORKER_DRAINING,
    EventKind.WORKER_CAPACITY,
    EventKind.WORKER_LEFT,
    EventKind.WORKER_DIED,
    EventKind.LEADER_CHANGED,
    EventKind.VERSION_DEPLOYED,
    EventKind.QUEUE_PAUSED,
    EventKind.QUEUE_RESUMED,
    EventKind.QUEUE_PURGED,
    EventKind.QUEUE_DELETED,
    EventKind.QUEUE_CRASH_LOOPING,
    EventKind.QUEUE_TRIPPED,
    EventKind.QUEUE_FAILING,
    EventKind.QUEUE_STUCK,
    EventKind.QUEUE_RECOVERED,
)


def record(kind: EventKind, *, queue: str | None = None, subject: str | None = None, more: str = "") -> None:
    """Write an event of a queue, worker, master or handler, with who acts. It never fails."""
    text = kind.words.format(subject=subject, more=more)[:_LONGEST]
    try:
        event_repository.insert(
            Event(kind=kind.value, queue_name=queue, subject=subject, actor=actor.current()[:MAX_ACTOR], text=text)
        )
    except (MongoError, ServerError) as error:
        log.warning("event_not_recorded", kind=kind.value, queue=queue, text=text, error=str(error)[:300])


def find(
    *,
    queue: str | None = None,
    kind: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> tuple[list[Event], str | None]:
    """A page of the events (of one queue, of one kind), the latest first, and the cursor of the next.

    They happened at `since` or later, and before `until`. Raises `InvalidInput` for a kind that there is not, and for
    a cursor of another list.
    """
    filters = _filters(queue, kind, since, until)
    if cursor is not None:
        filters.append(Cursor.decode(cursor, datetime).behind("at", descending=True))
    found = event_repository.newest({"$and": filters} if filters else {}, limit + 1)
    return cut(found, limit, lambda event: Cursor(event.at, event.id))


def count(
    *,
    queue: str | None = None,
    kind: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    most: int,
) -> int:
    """How many events match, as `find` takes it, counted up to `most`. Raises `InvalidInput`."""
    filters = _filters(queue, kind, since, until)
    return event_repository.count({"$and": filters} if filters else {}, most)


def _filters(
    queue: str | None, kind: str | None, since: datetime | None, until: datetime | None
) -> list[dict[str, Any]]:
    if kind is not None and kind not in set(EventKind):
        raise InvalidInput(f"kind {kind!r}: expected one of {', '.join(EventKind)}", field="kind")
    found: list[dict[str, Any]] = [
        {name: value} for name, value in (("queueName", queue), ("kind", kind)) if value is not None
    ]
    if dated := between("at", since, until):
        found.append(dated)
    return found


def marks(queue: str | None, since: datetime, until: datetime) -> list[Event]:
    """The latest events of a queue, or of the system and all its queues (None), in a span of time, for a chart."""
    return event_repository.between(since, until, queue, OF_CHARTS, MOST_GROUPED if queue is None else MARKS)
