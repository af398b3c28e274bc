"""The collections `workers`, the live workers, and `departures`, those that have left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.collection import Collection

from jobs.models import Departure, DepartureReason, Worker
from jobs.placement import Announcement
from queues.events import EventKind, record
from queuesite.foundation.config import get_config
from queuesite.foundation.databases import Document, collection
from queuesite.foundation.documents import to_models
from queuesite.foundation.errors import StaleTransition


def departure_indexes() -> tuple[IndexModel, ...]:
    """The indexes of `departures`, which are kept as long as jobs."""
    return (
        IndexModel(
            [("departedAt", ASCENDING)], name="departedAt_ttl", expireAfterSeconds=get_config().job_retention_seconds
        ),
    )


def _workers() -> Collection[Document]:
    return collection(Worker)


def register(
    worker_id: str,
    host: str,
    pid: int,
    capacity: int,
    announced: Announcement | None = None,
    *,
    limit: int | None = None,
    wanted: int | None = None,
) -> None:
    """Add a worker and what it announces. Its id is new with every registration.

    `limit` is the highest capacity that it can be given, `wanted` the one that was asked for when it had another id.
    """
    said = {} if announced is None else announced.as_document()
    said |= {"capacityLimit": limit, "wantedCapacity": wanted}
    _workers().update_one(
        {"_id": worker_id},
        {
            "$set": {"host": host, "pid": pid, "capacity": capacity, "draining": False, "consumers": [], **said},
            "$currentDate": {"startedAt": True, "heartbeatAt": True},
        },
        upsert=True,
    )
    record(EventKind.WORKER_STARTED, subject=worker_id)


def heartbeat(
    worker_id: str,
    consumers: list[dict[str, Any]],
    capacity: int | None = None,
    listens: int = 0,
    listener: Mapping[str, Any] | None = None,
) -> None:
    """Record that the worker is alive, its consumers' counts so far, and its capacity if that has changed.

    `listens` is how many idle queues it may listen to, `listener` what its listener does. Raises `StaleTransition` if
    the worker was pruned.
    """
    said: Document = {"consumers": consumers, **({} if capacity is None else {"capacity": capacity})}
    said.update(listens=listens, listener=dict(listener or {}))
    result = _workers().update_one({"_id": worker_id}, {"$set": said, "$currentDate": {"heartbeatAt": True}})
    if not result.matched_count:
        raise StaleTransition(f"worker {worker_id} is not registered any more")


def want_capacity(worker_id: str, capacity: int | None) -> None:
    """Ask a worker for another capacity (None: its own, MAX_LOAD). Raises `StaleTransition` if it is not registered."""
    if not _workers().update_one({"_id": worker_id}, {"$set": {"wantedCapacity": capacity}}).matched_count:
        raise StaleTransition(f"worker {worker_id} is not registered any more")
    more = "MAX_LOAD again" if capacity is None else f"{capacity}"
    record(EventKind.WORKER_CAPACITY, subject=worker_id, more=more)


def drain(worker_id: str) -> None:
    """Give the worker no more assignments. Raises `StaleTransition` if it is not registered."""
    if not _workers().update_one({"_id": worker_id}, {"$set": {"draining": True}}).matched_count:
        raise StaleTransition(f"worker {worker_id} is not registered any more")
    record(EventKind.WORKER_DRAINING, subject=worker_id)


def is_draining(worker_id: str) -> bool:
    """Whether the worker has been asked to drain."""
    return _workers().find_one({"_id": worker_id, "draining": True}, {"_id": 1}) is not None


@dataclass(frozen=True)
class Wanted:
    """What is wanted of a worker: to drain, and to have another capacity (None: its own, MAX_LOAD)."""

    drain: bool
    capacity: int | None


def wanted(worker_id: str) -> Wanted | None:
    """What is wanted of the worker; None if it is not registered."""
    found = _workers().find_one({"_id": worker_id}, {"draining": 1, "wantedCapacity": 1})
    if found is None:
        return None
    wanted = found.get("wantedCapacity")
    return Wanted(found.get("draining") is True, wanted if isinstance(wanted, int) else None)


def unregister(worker_id: str, reason: DepartureReason = DepartureReason.SHUTDOWN) -> None:
    """Remove a worker that ends in an orderly way."""
    document = _workers().find_one({"_id": worker_id})
    if document is not None:
        # Before the worker is removed: a repetition after a lost answer still finds it and writes the same again.
        _remember(document, reason)
        if _workers().delete_one({"_id": worker_id}).deleted_count:
            record(EventKind.WORKER_LEFT, subject=worker_id, more=str(reason.label))


def prune(worker_id: str, heartbeat_at: datetime) -> bool:
    """Remove a worker whose last heartbeat is `heartbeat_at`; return False if it has sent another since."""
    expected = {"_id": worker_id, "heartbeatAt": heartbeat_at}
    document = _workers().find_one(expected)
    if document is None or not _workers().delete_one(expected).deleted_count:
        return False
    _remember(document, DepartureReason.STALLED)  # after the delete, which makes it certain
    record(EventKind.WORKER_DIED, subject=worker_id)
    return True


def _remember(worker: Document, reason: DepartureReason) -> None:
    if not to_models(Worker, [worker]):
        return  # a malformed one has nothing to record
    kept = {name: worker[name] for name in ("host", "pid", "capacity", "startedAt", "heartbeatAt")}
    kept["pool"] = worker.get("pool")
    collection(Departure).update_one(
        {"_id": worker["_id"]},
        {"$set": {**kept, "reason": reason.value}, "$currentDate": {"departedAt": True}},
        upsert=True,
    )


def departures(limit: int) -> list[Departure]:
    """The last `limit` workers that left, the latest first."""
    found = collection(Departure).find().sort("departedAt", DESCENDING).limit(limit)
    return to_models(Departure, found)


def all_workers(*, handlers: bool = True) -> list[Worker]:
    """Every registered worker; without what they announce of their handlers, which is long, if nobody needs it."""
    return to_models(Worker, _workers().find({}, None if handlers else {"handlers": 0}))


def by_ids(ids: Iterable[str]) -> list[Worker]:
    """The workers of these ids that are registered."""
    return to_models(Worker, _workers().find({"_id": {"$in": list(ids)}}))
