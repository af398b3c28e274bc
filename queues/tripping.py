"""Queues whose handler needs something that is down: what is recorded of them, and how a backoff is ended early."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from bson import ObjectId

from queues import services
from queues.models import Queue
from queuesite.foundation.databases import collection, database_clock
from queuesite.foundation.logs import get_logger

log = get_logger(__name__)


def tripped(queue_id: ObjectId, count: int, reason: str, not_before: datetime) -> None:
    """Record the `count`th run in a row that tripped; the queue is tried again at `not_before` (server's time)."""
    dated = {"wakeRequestedAt": True, **({"trippedSince": True} if count == 1 else {})}
    collection(Queue).update_one(
        {"_id": queue_id},
        {
            "$set": {"tripCount": count, "tripReason": reason, "countedFailures": None},
            "$max": {"notBefore": not_before},
            "$currentDate": dated,
        },
    )


def counted(queue_id: ObjectId, failures: Iterable[tuple[datetime, int]]) -> None:
    """Record the failures that a breaker has counted in a run that ended by a time limit, for the next one."""
    entries = [[moment.timestamp(), number] for moment, number in failures]
    collection(Queue).update_one({"_id": queue_id}, {"$set": {"countedFailures": entries}})


def recovered(queue_id: ObjectId) -> None:
    """Record that a message of a tripped queue was handled. It is woken: it may have work for more consumers."""
    collection(Queue).update_one(
        {"_id": queue_id},
        {"$set": {"tripCount": 0, "tripReason": None}, "$currentDate": {"wakeRequestedAt": True}},
    )


def try_now(name: str) -> bool:
    """End a queue's backoff, so that it is tried at once; whether it backed off. Raises `NotFound`."""
    queue = services.get(name)
    if queue.not_before is None or queue.not_before <= database_clock.now():
        return False
    collection(Queue).update_one(
        {"_id": queue.id}, {"$set": {"notBefore": None}, "$currentDate": {"wakeRequestedAt": True}}
    )
    log.info("queue_tried_now", queue=name)
    return True
