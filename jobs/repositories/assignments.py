"""The `assignments` collection. Its unique index `(queueUrl, slot)` decides every race between masters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bson import ObjectId
from pymongo import ASCENDING, DeleteOne, IndexModel, ReturnDocument, UpdateOne
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError, DuplicateKeyError

from jobs.models import Assignment
from queuesite.foundation.databases import Document, collection, lost_races
from queuesite.foundation.documents import to_document, to_model, to_models
from queuesite.foundation.errors import StaleTransition
from queuesite.foundation.logs import get_logger

log = get_logger(__name__)

INDEXES = (
    IndexModel([("queueUrl", ASCENDING), ("slot", ASCENDING)], unique=True, name="queueUrl_slot_unique"),
    IndexModel([("worker", ASCENDING)], name="worker"),
)


@dataclass(frozen=True)
class NewAssignment:
    """A master's decision: this queue, as this consumer of it, goes to this worker."""

    queue_url: str
    queue_id: ObjectId
    slot: int
    worker: str


def _assignments() -> Collection[Document]:
    return collection(Assignment)


def insert_many(wanted: Sequence[NewAssignment], term: int) -> list[Assignment]:
    """Insert assignments, each with the id that its job will have; return those that were inserted.

    An assignment that another process was faster to insert is left out: the unique index has decided.
    """
    rows = [_row(new, term) for new in wanted]
    if not rows:
        return []
    try:
        _assignments().bulk_write([_insertion(row) for row in rows], ordered=False)
    except BulkWriteError as error:
        lost = lost_races(error)
        return [row for index, row in enumerate(rows) if index not in lost]
    return rows


def _row(new: NewAssignment, term: int) -> Assignment:
    return Assignment(
        id=ObjectId(),
        queue_url=new.queue_url,
        slot=new.slot,
        queue_id=new.queue_id,
        worker=new.worker,
        job_id=ObjectId(),
        term=term,
    )


def claim(new: NewAssignment, term: int) -> Assignment | None:
    """Insert the assignment of a worker that has received messages of the queue; None if somebody has its place.

    `term` is that of the lease, which the worker read just before; it reads the lease again afterwards, as it does when
    a master has assigned. The place may be the worker's own, by a master's decision or a claim whose answer was lost.
    """
    document = to_document(_row(new, term))
    del document["createdAt"]
    try:
        found: Document | None = _assignments().find_one_and_update(
            {"_id": document.pop("_id")},
            {"$set": document, "$currentDate": {"createdAt": True}},
            upsert=True,
            return_document=ReturnDocument.AFTER,
        )
    except DuplicateKeyError:
        return None
    return None if found is None else to_model(Assignment, found)


def _insertion(row: Assignment) -> UpdateOne:
    """An insert dated by the server when it happens, so that a worker recognizes what a deposed master wrote late."""
    document = to_document(row)
    del document["createdAt"]
    return UpdateOne({"_id": document.pop("_id")}, {"$set": document, "$currentDate": {"createdAt": True}}, upsert=True)


def all_assignments() -> list[Assignment]:
    """Every assignment, oldest first. There are never more than all workers' capacities together."""
    return to_models(Assignment, _assignments().find().sort("createdAt", ASCENDING))


def of_queue(queue_url: str) -> list[Assignment]:
    """The assignments of one queue."""
    return to_models(Assignment, _assignments().find({"queueUrl": queue_url}))


def of_worker(worker_id: str) -> list[Assignment]:
    """The assignments of one worker."""
    return to_models(Assignment, _assignments().find({"worker": worker_id}))


def request_yield(assignment_ids: Iterable[ObjectId]) -> int:
    """Ask the consumers of these assignments to yield; return how many of them still existed."""
    result = _assignments().update_many(
        {"_id": {"$in": list(assignment_ids)}, "yieldRequestedAt": None}, {"$currentDate": {"yieldRequestedAt": True}}
    )
    return result.matched_count


def release(assignment_id: ObjectId, worker_id: str) -> None:
    """End an assignment of this worker. Raises `StaleTransition` if it has been taken away."""
    if not _assignments().delete_one({"_id": assignment_id, "worker": worker_id}).deleted_count:
        raise StaleTransition(f"assignment {assignment_id} is not {worker_id}'s any more")


def release_many(ended: Iterable[Assignment]) -> int:
    """End assignments in one bulk, each only if it is still its worker's; return how many were ended."""
    writes = [DeleteOne({"_id": assignment.id, "worker": assignment.worker}) for assignment in ended]
    return _assignments().bulk_write(writes, ordered=False).deleted_count if writes else 0


def remove_duplicates() -> int:
    """Delete all but the oldest assignment of a place; return how many. The unique index normally prevents them."""
    consumers: dict[tuple[object, object], list[ObjectId]] = {}
    for document in _assignments().find({}, {"queueUrl": 1, "slot": 1}).sort([("createdAt", ASCENDING), ("_id", 1)]):
        consumers.setdefault((str(document.get("queueUrl")), str(document.get("slot"))), []).append(document["_id"])
    later = [key for keys in consumers.values() for key in keys[1:]]
    if not later:
        return 0
    removed = _assignments().delete_many({"_id": {"$in": later}}).deleted_count
    log.error("duplicate_assignments_removed", count=removed, meaning="the unique index had been missing")
    return removed
