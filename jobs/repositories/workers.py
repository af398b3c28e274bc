"""The `workers` collection: who is alive."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pymongo.collection import Collection

from jobs.models import Worker
from queuesite.databases import Document, collection
from queuesite.documents import to_model
from queuesite.errors import StaleTransition


def _workers() -> Collection[Document]:
    return collection(Worker)


def register(worker_id: str, host: str, pid: int, capacity: int) -> None:
    """Enter a worker. Its id is new with every registration."""
    _workers().update_one(
        {"_id": worker_id},
        {
            "$set": {"host": host, "pid": pid, "capacity": capacity, "draining": False, "consumers": []},
            "$currentDate": {"startedAt": True, "heartbeatAt": True},
        },
        upsert=True,
    )


def heartbeat(worker_id: str, consumers: list[dict[str, Any]]) -> None:
    """Say that the worker lives, and what its consumers have done so far. `StaleTransition`: it was pruned."""
    result = _workers().update_one(
        {"_id": worker_id}, {"$set": {"consumers": consumers}, "$currentDate": {"heartbeatAt": True}}
    )
    if not result.matched_count:
        raise StaleTransition(f"worker {worker_id} is not registered any more")


def drain(worker_id: str) -> None:
    """Have the worker given no more assignments. `StaleTransition`: it is not registered."""
    if not _workers().update_one({"_id": worker_id}, {"$set": {"draining": True}}).matched_count:
        raise StaleTransition(f"worker {worker_id} is not registered any more")


def is_draining(worker_id: str) -> bool:
    """Whether the worker has been told to drain."""
    return _workers().find_one({"_id": worker_id, "draining": True}, {"_id": 1}) is not None


def unregister(worker_id: str) -> None:
    """Take a worker out that ends in order."""
    _workers().delete_one({"_id": worker_id})


def prune(worker_id: str, heartbeat_at: datetime) -> bool:
    """Take a worker out whose last heartbeat is `heartbeat_at`; False where it has shown itself since."""
    return bool(_workers().delete_one({"_id": worker_id, "heartbeatAt": heartbeat_at}).deleted_count)


def all_workers() -> list[Worker]:
    """Every registered worker."""
    return [to_model(Worker, document) for document in _workers().find()]
