"""Writing down attempts that ended, in the slots of their queues. Functions raise pymongo's errors as they are."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from bson import ObjectId
from pymongo import UpdateOne

from queues.health.attempts import COUNTS, FIELD, SLOTS, Attempts, are_numbers, failing_expression
from queues.health.limits import Limits, configured
from queues.models import Queue
from queuesite.foundation.databases import Document, collection, database_clock


def note(ended: Iterable[tuple[ObjectId, datetime, Attempts]]) -> None:
    """Count attempts that ended, each of a queue in a minute by the database's clock. A queue that is gone stays gone.

    A repetition after a lost answer counts twice.
    """
    limits, now = configured(), database_clock.now()
    counted = [(queue_id, _counted(minute, of, now, limits)) for queue_id, minute, of in ended if of.all]
    writes = [UpdateOne({"_id": queue_id}, change) for queue_id, change in counted]
    if writes:
        collection(Queue).bulk_write(writes, ordered=False)


def _counted(minute: datetime, of: Attempts, now: datetime, limits: Limits) -> list[Document]:
    length = limits.slot.total_seconds()
    number = int(minute.timestamp() // length)
    slot = f"{FIELD}.{number % SLOTS}"
    began = datetime.fromtimestamp(number * length, UTC)
    fresh = {"at": began, **{name: getattr(of, name) for name in COUNTS}}
    added = {
        "at": began,
        **{name: {"$add": [f"${slot}.{name}", fresh[name]]} for name in COUNTS},
    }
    # What reaches MongoDB late, because it was away, did not happen now.
    ended = min(now, minute + timedelta(minutes=1))
    since = {"$cond": ["$wasFailing", {"$ifNull": ["$failingSince", ended]}, ended]}
    # Retries of long ago say nothing of those that begin now.
    goes_on = {"$gt": ["$lastAttemptAt", ended - limits.window]}
    retrying = {"$cond": [goes_on, {"$ifNull": ["$retryingSince", ended]}, ended]}
    return [
        {"$set": {"wasFailing": failing_expression(now, limits)}},
        {
            "$set": {
                slot: {
                    "$switch": {
                        "branches": [
                            {"case": {"$and": [{"$eq": [f"${slot}.at", began]}, *are_numbers(slot)]}, "then": added},
                            # The slot has been used again since: these attempts are out of the window.
                            {"case": {"$gt": [f"${slot}.at", began]}, "then": f"${slot}"},
                        ],
                        "default": fresh,
                    }
                },
                "lastAttemptAt": {"$max": ["$lastAttemptAt", ended]},
                **({"retryingSince": None if of.processed else retrying} if of.processed or of.retried else {}),
            }
        },
        {"$set": {"failingSince": {"$cond": [failing_expression(now, limits), since, None]}}},
        {"$unset": "wasFailing"},
    ]
