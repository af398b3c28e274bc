"""Queues that somebody should look at, and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from bson import ObjectId

from jobs import reads, statistics
from jobs.models import Assignment, Lease, Worker
from jobs.repositories import throughput
from queues import repository as queues
from queues.handlers import registry
from queues.models import Queue
from queuesite import documents
from queuesite.databases import database_clock, mongodb_errors
from queuesite.errors import MalformedDocument

#: How long messages may wait for a slot until it is told.
WAITING = timedelta(minutes=1)
#: Failed attempts are told where they are this share of all in this time.
FAILING_SHARE = 0.1
FAILING_WITHIN = timedelta(minutes=15)
#: Runs in a row that failed: one may be an accident.
CRASHES = 2


@dataclass(frozen=True)
class Reason:
    """Why a queue needs attention: a word for it, and what can be said in numbers."""

    word: str
    count: int = 0
    of: int = 0
    since: datetime | None = None


@dataclass
class Attention:
    """A queue, with all that is the matter with it."""

    queue: Queue
    reasons: list[Reason] = field(default_factory=list)


def malformed(limit: int) -> list[MalformedDocument]:
    """Up to `limit` documents that no process can use as they are; a queue among them is not processed.

    Those of the small collections: of the large ones MongoDB would have to read millions. Raises `MongoUnavailable`.
    """
    with mongodb_errors():
        found = [error for model in (Queue, Worker, Assignment, Lease) for error in documents.malformed(model, limit)]
    return found[:limit]


def needed(limit: int) -> list[Attention]:
    """Up to `limit` queues that need attention: where nothing is done first, then what fails, then what only waits.

    Four queries, however many queues there are. Raises `MongoUnavailable`.
    """
    taken = {assignment.queue_id for assignment in reads.find_assignments()}
    with mongodb_errors():
        now = database_clock.now()
        found = queues.each_of(
            {
                "handler missing": ({"handler": {"$nin": list(registry.all_handlers())}}, "depthVisible"),
                "crash-looping": ({"crashCount": {"$gte": CRASHES}}, "crashCount"),
                "paused with backlog": ({"paused": True, "depthVisible": {"$gt": 0}}, "depthVisible"),
                "dead letters": ({"deadLetters": {"$gt": 0}}, "deadLetters"),
            },
            limit,
        )
        waiting = queues.longest(statistics.state_filter("waiting", taken, now), limit, before=now - WAITING)
        failing = throughput.failing(now - FAILING_WITHIN, FAILING_SHARE, limit)
        failing_queues = {queue.id: queue for queue in queues.by_ids([queue_id for queue_id, _, _ in failing])}

    told: dict[ObjectId, Attention] = {}

    def tell(queue: Queue, reason: Reason) -> None:
        told.setdefault(queue.id, Attention(queue)).reasons.append(reason)

    for queue in found["handler missing"]:
        tell(queue, Reason("handler missing"))
    for queue in found["crash-looping"]:
        tell(queue, Reason("crash-looping", queue.crash_count))
    for queue_id, failed, processed in failing:
        if queue_id in failing_queues:  # and was not deleted meanwhile
            tell(failing_queues[queue_id], Reason("failing", failed, failed + processed))
    for queue, since in waiting:
        tell(queue, Reason("waiting", queue.depth_visible, since=since))
    for queue in found["paused with backlog"]:
        tell(queue, Reason("paused with backlog", queue.depth_visible))
    for queue in found["dead letters"]:
        tell(queue, Reason("dead letters", queue.dead_letters))
    return list(told.values())[:limit]
