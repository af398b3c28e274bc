"""The `masters` collection: live masters. It is informational only; the lease decides who leads."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from pymongo import ASCENDING, IndexModel
from pymongo.collection import Collection

from jobs.models import Master
from queuesite.foundation.databases import Document, collection, database_clock
from queuesite.foundation.documents import to_models

#: Seconds between two heartbeats of a master.
HEARTBEAT_SECONDS = 5.0
#: Age of its last heartbeat from which a master is no longer shown: two may be lost.
SHOWN = timedelta(seconds=3.5 * HEARTBEAT_SECONDS)

INDEXES = (IndexModel([("heartbeatAt", ASCENDING)], name="heartbeatAt_ttl", expireAfterSeconds=3_600),)


def _masters() -> Collection[Document]:
    return collection(Master)


def heartbeat(master_id: str, host: str, pid: int, slots_wanted: Mapping[str, int] | None = None) -> None:
    """Record that a master is alive; if it leads, how many consumers the queues want by pool."""
    now = database_clock.now()
    _masters().update_one(
        {"_id": master_id},
        {
            "$set": {"host": host, "pid": pid, "slotsWanted": None if slots_wanted is None else dict(slots_wanted)},
            "$setOnInsert": {"startedAt": now},
            "$currentDate": {"heartbeatAt": True},
        },
        upsert=True,
    )


def leave(master_id: str) -> None:
    """Remove a master that ends in an orderly way."""
    _masters().delete_one({"_id": master_id})


def present() -> list[Master]:
    """The masters with a recent heartbeat, the oldest first."""
    found = _masters().find({"heartbeatAt": {"$gt": database_clock.now() - SHOWN}}).sort("startedAt", ASCENDING)
    return to_models(Master, found)
