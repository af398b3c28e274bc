"""Reads and writes of the `queues` collection.

Dates are the database server's. Functions raise pymongo's errors as they are: loops live with them, and commands, the
API, the admin and tasks turn them into `MongoUnavailable` (`queuesite.foundation.databases.mongodb_errors`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId
from django.db import models
from pymongo import ASCENDING, DESCENDING, IndexModel, ReturnDocument, UpdateOne
from pymongo.collection import Collection
from pymongo.cursor import Cursor
from pymongo.errors import DuplicateKeyError

from queues.models import DepthSample, Queue
from queues.sqs import Depth
from queuesite.foundation.databases import Document, collection, database_clock
from queuesite.foundation.documents import columns, read, step_of, to_document, to_model, to_models
from queuesite.foundation.errors import AlreadyExists, NotFound
from queuesite.foundation.home import PROGRAM
from queuesite.foundation.workarounds import by_the_hundred

INDEXES: dict[type[models.Model], Sequence[IndexModel]] = {
    Queue: (
        IndexModel([("name", ASCENDING)], unique=True, name="name_unique"),
        IndexModel([("queueUrl", ASCENDING)], unique=True, name="queueUrl_unique"),
        # Both branches of `changed_since` need one, or MongoDB reads every queue.
        IndexModel([("updatedAt", ASCENDING)], name="updatedAt"),
        IndexModel([("wakeRequestedAt", ASCENDING)], name="wakeRequestedAt"),
    ),
    DepthSample: (
        IndexModel([("queueId", ASCENDING), ("minute", ASCENDING)], name="queueId_minute"),
        IndexModel([("expiresAt", ASCENDING)], name="expiresAt_ttl", expireAfterSeconds=0),
    ),
}


def _queues() -> Collection[Document]:
    return collection(Queue)


def all_queues() -> list[Queue]:
    """Every queue, by name."""
    return to_models(Queue, _queues().find().sort("name", ASCENDING))


def by_ids(ids: Iterable[ObjectId]) -> list[Queue]:
    """The queues of these ids that exist."""
    return to_models(Queue, (one for some in by_the_hundred(ids) for one in _queues().find({"_id": {"$in": some}})))


def by_names(names: Iterable[str]) -> list[Queue]:
    """The queues of these names that exist."""
    return to_models(Queue, (one for some in by_the_hundred(names) for one in _queues().find({"name": {"$in": some}})))


def by_name(name: str) -> Queue:
    """The queue of this name. Raises `NotFound`."""
    document = _queues().find_one({"name": name})
    if document is None:
        raise NotFound(f"there is no queue {name!r}; `{PROGRAM} sqs list` shows all queues")
    return to_model(Queue, document, bounded=False)


def find(filters: Document, sort: str, *, descending: bool, limit: int) -> list[Queue]:
    """Up to `limit` queues that match, sorted by a field (MongoDB's name of it) and `_id`."""
    direction = DESCENDING if descending else ASCENDING
    # Names are unique: their index gives the order by itself; with `_id`, everything would be sorted.
    order = [(sort, direction)] if sort == "name" else [(sort, direction), ("_id", direction)]

    def some(skip: int, wanted: int) -> Cursor[Document]:
        return _queues().find(filters).sort(order).skip(skip).limit(wanted)

    return read(Queue, some, limit, bounded=False)


def least_observed(limit: int) -> list[Queue]:
    """The queues whose dead letters were not counted for the longest time, those never counted first."""
    documents = _queues().find({"dlqUrl": {"$ne": None}}).sort("deadLettersObservedAt", ASCENDING).limit(limit)
    return to_models(Queue, documents)


def dead_letters_observed(counts: Mapping[ObjectId, int]) -> None:
    """Record how many dead letters queues have, and whether the last count found fewer."""
    if counts:
        counted_before = {"$gt": ["$deadLettersObservedAt", None]}
        _queues().bulk_write(
            [
                UpdateOne(
                    {"_id": queue_id},
                    [
                        {
                            "$set": {
                                "deadLetters": count,
                                "deadLettersObservedAt": "$$NOW",
                                "deadLettersGrownAt": {
                                    "$cond": [
                                        {"$and": [counted_before, {"$lt": ["$deadLetters", count]}]},
                                        "$$NOW",
                                        {"$ifNull": ["$deadLettersGrownAt", None]},
                                    ]
                                },
                            }
                        }
                    ],
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
    """Insert a new definition. Raises `AlreadyExists` if its name or URL is taken."""
    queue.id = queue.id or ObjectId()
    queue.created_at = queue.updated_at = queue.synced_at = database_clock.now()
    try:
        _queues().insert_one(to_document(queue))
    except DuplicateKeyError:
        other = _queues().find_one({"queueUrl": queue.queue_url, "name": {"$ne": queue.name}}, {"name": 1})
        if other is not None:
            taken = str(other["name"])
            raise AlreadyExists(
                f"{queue.queue_url} is queue {taken!r} here already; change that one", name=taken
            ) from None
        raise AlreadyExists(
            f"queue {queue.name!r} exists already; choose another name, or change that one", name=queue.name
        ) from None
    return queue


def changed_by(change: str) -> list[Queue]:
    """The queues that were last paused or resumed by this action."""
    return to_models(Queue, _queues().find({"pauseChange": change}), bounded=False)


def update(
    queue_id: ObjectId, changes: Mapping[str, Any], *, wake: bool = False, where: Document | None = None
) -> Queue:
    """Set fields (by Python names) of a definition, and return it as it is then. Raises `NotFound` if it is gone.

    `wake`: ask the master in the same write to have the queue looked at. `where`: more that the document must have.
    """
    dated = {"updatedAt": True, **({"wakeRequestedAt": True} if wake else {})}
    document = _queues().find_one_and_update(
        {"_id": queue_id, **(where or {})},
        {"$set": columns(Queue, dict(changes)), "$currentDate": dated},
        return_document=ReturnDocument.AFTER,
    )
    if document is None:
        raise NotFound(f"there is no queue with the id {queue_id} any more")
    return to_model(Queue, document, bounded=False)


def delete(queue_id: ObjectId) -> bool:
    """Remove a definition; whether it was there."""
    return bool(_queues().delete_one({"_id": queue_id}).deleted_count)


def wake(queue_id: ObjectId) -> bool:
    """Ask the master to have the queue looked at; whether the queue exists."""
    return bool(_queues().update_one({"_id": queue_id}, {"$currentDate": {"wakeRequestedAt": True}}).matched_count)


def wake_many(queue_ids: Sequence[ObjectId]) -> int:
    """Ask the master to have these queues looked at, a hundred in a write; how many exist."""
    change = {"$currentDate": {"wakeRequestedAt": True}}
    parts = by_the_hundred(queue_ids)
    return sum(_queues().update_many({"_id": {"$in": some}}, change).matched_count for some in parts)


def changed_since(moment: datetime) -> list[Queue]:
    """Queues whose settings changed, or that were woken, at `moment` or later."""
    since = {"$gte": moment}
    return to_models(Queue, _queues().find({"$or": [{"updatedAt": since}, {"wakeRequestedAt": since}]}))


def served(queue_id: ObjectId, until: datetime, empty_runs: int = 0) -> None:
    """Record that a consumer saw the queue empty at `until` (server's time): wake-ups before it are satisfied.

    `empty_runs` is how many runs in a row, this one among them, received no message.
    """
    _queues().update_one(
        {"_id": queue_id}, {"$max": {"servedUntil": until}, "$set": {"crashCount": 0, "emptyRuns": empty_runs}}
    )


def failed(queue_id: ObjectId, count: int, not_before: datetime) -> None:
    """Record the `count`th failed run in a row; the queue is assigned again at `not_before` (server's time)."""
    dated = {"wakeRequestedAt": True, **({"crashingSince": True} if count == 1 else {})}
    _queues().update_one(
        {"_id": queue_id}, {"$set": {"crashCount": count, "notBefore": not_before}, "$currentDate": dated}
    )


def troubled(queue_id: ObjectId, until: datetime) -> None:
    """Record that one message of the queue endangers others: it is handled with caution `until` (server's time)."""
    _queues().update_one({"_id": queue_id}, {"$max": {"troubledUntil": until}})


def last_receive_seen(queue_id: ObjectId, seen: bool) -> None:
    """Record whether a look saw a message that has no receive to spare before it is a dead letter."""
    field = "lastReceiveSeenAt"
    _queues().update_one({"_id": queue_id}, {"$currentDate": {field: True}} if seen else {"$unset": {field: ""}})


def synced(queue_id: ObjectId, changes: Mapping[str, Any]) -> None:
    """Record a sync with SQS, and what it changed. A queue that was deleted meanwhile stays so."""
    update: Document = {"$currentDate": {"syncedAt": True}}
    if changes:
        update["$set"] = columns(Queue, dict(changes))
        update["$currentDate"]["updatedAt"] = True
    _queues().update_one({"_id": queue_id}, update)


def looked_at(queue_ids: Sequence[ObjectId]) -> None:
    """Record a sync with SQS that changed nothing, a hundred queues in a write."""
    for some in by_the_hundred(queue_ids):
        _queues().update_many({"_id": {"$in": some}}, {"$currentDate": {"syncedAt": True}})


def observed(depths: Mapping[ObjectId, Depth]) -> None:
    """Record the observed depths of queues, and since when each observation has found visible messages."""
    if depths:
        _queues().bulk_write(
            [
                UpdateOne(
                    {"_id": queue_id},
                    [
                        {
                            "$set": {
                                "depthVisible": depth.visible,
                                "depthInFlight": depth.in_flight,
                                "depthDelayed": depth.delayed,
                                "depthObservedAt": "$$NOW",
                                "visibleSince": {"$ifNull": ["$visibleSince", "$$NOW"]} if depth.visible else None,
                            }
                        }
                    ],
                )
                for queue_id, depth in depths.items()
            ],
            ordered=False,
        )


#: How long samples of depths are kept: as long as the throughput's minutes.
SAMPLES_KEPT = timedelta(days=7)

_DEPTHS = {"visible": "depthVisible", "inFlight": "depthInFlight", "delayed": "depthDelayed"}


def sample_depths(minute: datetime) -> None:
    """Record what queues were last seen to hold as that of a minute. The database does it all; twice does no harm."""
    fixed = {"minute": {"$literal": minute}, "expiresAt": {"$literal": minute + SAMPLES_KEPT}}
    stamp = f"-{minute:%Y%m%dT%H%M}"
    merge = {"$merge": {"into": DepthSample._meta.db_table, "whenMatched": "replace"}}
    each = {
        "_id": {"$concat": [{"$toString": "$_id"}, stamp]},
        "queueId": "$_id",
        **{name: f"${field}" for name, field in _DEPTHS.items()},
    }
    held = {"$or": [{field: {"$gt": 0}} for field in _DEPTHS.values()]}
    _queues().aggregate([{"$match": held}, {"$project": {**each, **fixed}}, merge])
    together = {name: {"$sum": f"${field}"} for name, field in _DEPTHS.items()}
    whole = {"_id": f"all{stamp}", "queueId": None, **fixed}
    _queues().aggregate([{"$group": {"_id": None, **together}}, {"$set": whole}, merge])


def depth_samples(
    queue_id: ObjectId | None, since: datetime, until: datetime, step: timedelta
) -> dict[datetime, Depth]:
    """The most that a queue (None: all together) held in each step, by its beginning; some may be missing.

    They are counted from midnight of the epoch.
    """
    pipeline: list[Document] = [
        {"$match": {"queueId": queue_id, "minute": {"$gte": since, "$lt": until}}},
        {"$group": {"_id": step_of("minute", step), **{name: {"$max": f"${name}"} for name in _DEPTHS}}},
    ]
    rows = collection(DepthSample).aggregate(pipeline)
    return {row["_id"]: Depth(row["visible"], row["inFlight"], row["delayed"]) for row in rows}


def count_by_handler() -> dict[str, int]:
    """How many queues have each handler."""
    group = {"_id": {"$ifNull": ["$handler", Queue._meta.get_field("handler").get_default()]}, "queues": {"$sum": 1}}
    return {str(row["_id"]): row["queues"] for row in _queues().aggregate([{"$group": group}])}


def with_handler(handler: str, limit: int) -> list[Queue]:
    """Up to `limit` queues that have a handler, by name."""
    return find({"handler": handler}, "name", descending=False, limit=limit)
