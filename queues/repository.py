"""Reads and writes of the `queues` collection.

Dates are the database server's. Functions raise pymongo's errors as they are: loops live with them, commands turn them
into `MongoUnavailable`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from bson import ObjectId
from django.db import models
from pymongo import ASCENDING, DESCENDING, IndexModel, UpdateOne
from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError

from queues.models import Queue
from queues.sqs import Depth
from queuesite.databases import Document, collection, database_clock
from queuesite.documents import columns, to_document, to_model
from queuesite.errors import AlreadyExists, NotFound

INDEXES: dict[type[models.Model], Sequence[IndexModel]] = {
    Queue: (
        IndexModel([("name", ASCENDING)], unique=True, name="name_unique"),
        IndexModel([("queueUrl", ASCENDING)], unique=True, name="queueUrl_unique"),
        IndexModel([("updatedAt", ASCENDING)], name="updatedAt"),
    )
}


def _queues() -> Collection[Document]:
    return collection(Queue)


def all_queues() -> list[Queue]:
    """Every queue, by name."""
    return [to_model(Queue, document) for document in _queues().find().sort("name", ASCENDING)]


def by_ids(ids: Iterable[ObjectId]) -> list[Queue]:
    """The queues of these ids that exist."""
    return [to_model(Queue, document) for some in _chunks(ids) for document in _queues().find({"_id": {"$in": some}})]


def _chunks(ids: Iterable[ObjectId]) -> Iterator[list[ObjectId]]:
    """Ids by the hundred."""
    # The embedded server compares each document with each id of an `$in`: a thousand at once take it 0.8 s, by the
    # hundred 0.1 s. MongoDB does not care.
    left = iter(ids)
    while some := list(islice(left, 100)):
        yield some


def by_name(name: str) -> Queue:
    """The queue of this name. Raises `NotFound`."""
    document = _queues().find_one({"name": name})
    if document is None:
        raise NotFound(f"there is no queue {name!r}; `manage.py sqs list` shows those there are")
    return to_model(Queue, document)


def find(filters: Document, sort: str, *, descending: bool, limit: int) -> list[Queue]:
    """Up to `limit` queues that match, sorted by a field (MongoDB's name of it) and `_id`."""
    direction = DESCENDING if descending else ASCENDING
    documents = _queues().find(filters).sort([(sort, direction), ("_id", direction)]).limit(limit)
    return [to_model(Queue, document) for document in documents]


def least_observed(limit: int) -> list[Queue]:
    """The queues whose dead letters were not counted for the longest time, those never counted first."""
    documents = _queues().find({"dlqUrl": {"$ne": None}}).sort("deadLettersObservedAt", ASCENDING).limit(limit)
    return [to_model(Queue, document) for document in documents]


def dead_letters_observed(counts: Mapping[ObjectId, int]) -> None:
    """Record how many dead letters queues were seen to have."""
    if counts:
        _queues().bulk_write(
            [
                UpdateOne(
                    {"_id": queue_id},
                    {"$set": {"deadLetters": count}, "$currentDate": {"deadLettersObservedAt": True}},
                )
                for queue_id, count in counts.items()
            ],
            ordered=False,
        )


def exists(name: str) -> bool:
    """Whether a queue of this name is defined."""
    return _queues().find_one({"name": name}, {"_id": 1}) is not None


def has_dlq(name: str) -> bool:
    """Whether a queue of this name is defined that has a dead-letter queue."""
    return _queues().find_one({"name": name, "dlqUrl": {"$ne": None}}, {"_id": 1}) is not None


def insert(queue: Queue) -> Queue:
    """Insert a new definition. Raises `AlreadyExists` where its name or URL is taken."""
    queue.id = queue.id or ObjectId()
    queue.created_at = queue.updated_at = queue.synced_at = database_clock.now()
    try:
        _queues().insert_one(to_document(queue))
    except DuplicateKeyError:
        raise AlreadyExists(
            f"queue {queue.name!r} exists already; choose another name, or change that one", name=queue.name
        ) from None
    return queue


def update(queue_id: ObjectId, changes: Mapping[str, Any]) -> None:
    """Set fields (by Python names) of a definition. Raises `NotFound` where it is gone."""
    result = _queues().update_one(
        {"_id": queue_id}, {"$set": columns(Queue, dict(changes)), "$currentDate": {"updatedAt": True}}
    )
    if not result.matched_count:
        raise NotFound(f"there is no queue with the id {queue_id} any more")


def delete(queue_id: ObjectId) -> bool:
    """Remove a definition; whether it was there."""
    return bool(_queues().delete_one({"_id": queue_id}).deleted_count)


def wake(queue_id: ObjectId) -> bool:
    """Ask the master to have the queue looked at; whether the queue exists."""
    return bool(_queues().update_one({"_id": queue_id}, {"$currentDate": {"wakeRequestedAt": True}}).matched_count)


def wake_many(queue_ids: Sequence[ObjectId]) -> int:
    """Ask the master to have these queues looked at, a hundred in a write; how many exist."""
    change = {"$currentDate": {"wakeRequestedAt": True}}
    return sum(_queues().update_many({"_id": {"$in": some}}, change).matched_count for some in _chunks(queue_ids))


def changed_since(moment: datetime) -> list[Queue]:
    """Queues whose settings changed, or that were woken, at `moment` or later."""
    since = {"$gte": moment}
    return [
        to_model(Queue, document)
        for document in _queues().find({"$or": [{"updatedAt": since}, {"wakeRequestedAt": since}]})
    ]


def served(queue_id: ObjectId, until: datetime) -> None:
    """Record that a consumer saw the queue empty at `until` (server's time): wake-ups before it are satisfied."""
    _queues().update_one({"_id": queue_id}, {"$max": {"servedUntil": until}, "$set": {"crashCount": 0}})


def failed(queue_id: ObjectId, count: int, not_before: datetime) -> None:
    """Record the `count`th failed run in a row; the queue is assigned again at `not_before` (server's time)."""
    _queues().update_one(
        {"_id": queue_id},
        {"$set": {"crashCount": count, "notBefore": not_before}, "$currentDate": {"wakeRequestedAt": True}},
    )


def troubled(queue_id: ObjectId, until: datetime) -> None:
    """Record that one message of the queue endangers others: it is handled with caution `until` (server's time)."""
    _queues().update_one({"_id": queue_id}, {"$max": {"troubledUntil": until}})


def synced(queue_id: ObjectId, changes: Mapping[str, Any]) -> None:
    """Record a sync with SQS, and what it changed. A queue that was deleted meanwhile stays so."""
    update: Document = {"$currentDate": {"syncedAt": True}}
    if changes:
        update["$set"] = columns(Queue, dict(changes))
        update["$currentDate"]["updatedAt"] = True
    _queues().update_one({"_id": queue_id}, update)


def looked_at(queue_ids: Sequence[ObjectId]) -> None:
    """Record a sync with SQS that changed nothing, a hundred queues in a write."""
    for some in _chunks(queue_ids):
        _queues().update_many({"_id": {"$in": some}}, {"$currentDate": {"syncedAt": True}})


def observed(depths: Mapping[ObjectId, Depth]) -> None:
    """Record what queues were seen to hold."""
    if depths:
        _queues().bulk_write(
            [
                UpdateOne(
                    {"_id": queue_id},
                    {
                        "$set": {
                            "depthVisible": depth.visible,
                            "depthInFlight": depth.in_flight,
                            "depthDelayed": depth.delayed,
                        },
                        "$currentDate": {"depthObservedAt": True},
                    },
                )
                for queue_id, depth in depths.items()
            ],
            ordered=False,
        )
