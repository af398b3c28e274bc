"""The `listening` collection: which worker listens to which idle queue. The leader writes it, workers read it.

A stale entry does no harm: two listeners of one queue get different messages, and the assignment decides who runs it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bson import ObjectId
from pymongo import ASCENDING, DeleteOne, IndexModel, UpdateOne
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError

from jobs.listening_model import Listening
from queuesite.foundation.databases import Document, collection, lost_races
from queuesite.foundation.documents import to_document, to_models

INDEXES = (
    IndexModel([("queueUrl", ASCENDING)], unique=True, name="queueUrl_unique"),
    IndexModel([("worker", ASCENDING)], name="worker"),
)


@dataclass(frozen=True)
class NewListening:
    """The leader's decision: this worker listens to this queue."""

    queue_url: str
    queue_id: ObjectId
    worker: str


def _listening() -> Collection[Document]:
    return collection(Listening)


def insert_many(wanted: Sequence[NewListening], term: int) -> list[Listening]:
    """Insert entries; return those that were inserted. One whose queue has an entry already is left out."""
    rows = [
        Listening(id=ObjectId(), queue_url=new.queue_url, queue_id=new.queue_id, worker=new.worker, term=term)
        for new in wanted
    ]
    if not rows:
        return []
    try:
        _listening().bulk_write([_insertion(row) for row in rows], ordered=False)
    except BulkWriteError as error:
        lost = set(lost_races(error))
        return [row for index, row in enumerate(rows) if index not in lost]
    return rows


def _insertion(row: Listening) -> UpdateOne:
    """An insert dated by the server, so that a worker recognizes what a deposed master wrote late."""
    document = to_document(row)
    del document["createdAt"]
    return UpdateOne({"_id": document.pop("_id")}, {"$set": document, "$currentDate": {"createdAt": True}}, upsert=True)


def all_listening() -> list[Listening]:
    """Every entry. There are never more than all workers' LISTEN_QUEUES together."""
    return to_models(Listening, _listening().find())


def of_worker(worker_id: str) -> list[Listening]:
    """The entries of one worker."""
    return to_models(Listening, _listening().find({"worker": worker_id}))


def of_queue(queue_url: str) -> Listening | None:
    """The entry of a queue, or None."""
    return next(iter(to_models(Listening, _listening().find({"queueUrl": queue_url}))), None)


def queue_ids() -> frozenset[ObjectId]:
    """The queues that have an entry."""
    found = _listening().find({"queueId": {"$type": "objectId"}}, {"queueId": 1})
    return frozenset(document["queueId"] for document in found)


def release_many(ended: Iterable[Listening]) -> int:
    """Delete entries, each only if it is still its worker's; return how many were deleted."""
    writes = [DeleteOne({"_id": one.id, "worker": one.worker}) for one in ended]
    return _listening().bulk_write(writes, ordered=False).deleted_count if writes else 0
