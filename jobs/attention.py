"""Queues that somebody should look at, and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice

from bson import ObjectId

from jobs import reads
from jobs.models import Assignment, Lease, Worker
from jobs.shared import shared
from queues import repository as queues
from queues.models import Queue
from queues.state import Condition, State, unserved_reason
from queuesite.foundation import documents
from queuesite.foundation.errors import MalformedDocument

#: A queue needs attention once its messages have waited this long for a worker.
WAITING = timedelta(minutes=1)
#: Most malformed documents that are searched for.
MALFORMED_FOUND = 100


@dataclass(frozen=True)
class Reason:
    """Why a queue needs attention, with the numbers that belong to it."""

    word: Condition | State
    count: int = 0
    of: int = 0
    since: datetime | None = None
    #: In words; empty unless the word alone does not say it.
    text: str = ""


@dataclass
class Attention:
    """A queue, and all that is wrong with it."""

    queue: Queue
    reasons: list[Reason] = field(default_factory=list)


def malformed(limit: int = MALFORMED_FOUND) -> list[MalformedDocument]:
    """Up to `limit` malformed documents, which no process can use; a queue among them is not processed.

    Only the small collections are searched: MongoDB reads all of a collection for it. Raises `MongoUnavailable`.
    """
    found = [error for model in (Queue, Worker, Assignment, Lease) for error in documents.malformed(model, limit)]
    return found[:limit]


def shared_malformed() -> list[MalformedDocument]:
    """As `malformed`, with a slow result shared by all requests to this web process."""
    return shared("malformed", malformed)


def needed(limit: int) -> list[Attention]:
    """Up to `limit` queues that need attention: first those that nobody processes, then failing, then waiting ones.

    The number of queries does not depend on the number of queues. Raises `MongoUnavailable`.
    """
    context = reads.queue_context(failing=True)
    found = queues.worst(
        {
            State.UNSERVED: "depthVisible",
            Condition.VANISHED: "vanishedAt",
            Condition.CRASH_LOOPING: "crashCount",
            Condition.TRIPPED: "tripCount",
            Condition.PAUSED_WITH_BACKLOG: "depthVisible",
            Condition.DEAD_LETTERS: "deadLetters",
        },
        context,
        limit,
    )
    waiting = queues.longest_waiting(context, limit, before=context.now - WAITING)
    attempts = dict(islice(context.failing_queues().items(), limit))
    failing = {queue.id: queue for queue in queues.by_ids(attempts)}

    needy: dict[ObjectId, Attention] = {}

    def add(queue: Queue, reason: Reason) -> None:
        needy.setdefault(queue.id, Attention(queue)).reasons.append(reason)

    for queue in found[State.UNSERVED]:
        add(queue, Reason(State.UNSERVED, queue.depth_visible, text=unserved_reason(queue, context) or ""))
    for queue in found[Condition.VANISHED]:
        add(queue, Reason(Condition.VANISHED))
    for queue in found[Condition.CRASH_LOOPING]:
        add(queue, Reason(Condition.CRASH_LOOPING, queue.crash_count))
    for queue in found[Condition.TRIPPED]:
        add(queue, Reason(Condition.TRIPPED, queue.trip_count))
    for queue_id, (failed, processed) in attempts.items():
        if queue_id in failing:  # it may have been deleted since
            add(failing[queue_id], Reason(Condition.FAILING, failed, failed + processed))
    for queue, since in waiting:
        add(queue, Reason(State.WAITING, queue.depth_visible, since=since))
    for queue in found[Condition.PAUSED_WITH_BACKLOG]:
        add(queue, Reason(Condition.PAUSED_WITH_BACKLOG, queue.depth_visible))
    for queue in found[Condition.DEAD_LETTERS]:
        add(queue, Reason(Condition.DEAD_LETTERS, queue.dead_letters))
    return list(needy.values())[:limit]
