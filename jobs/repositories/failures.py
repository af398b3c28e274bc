"""The `failures` collection: a document for each kind of failure of a queue, counted up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from bson import ObjectId
from pymongo import ASCENDING, DESCENDING, IndexModel, UpdateOne
from pymongo.collection import Collection

from jobs import failures
from jobs.models import Failure
from queues.models import Queue
from queuesite.config import get_config
from queuesite.databases import Document, collection, database_clock
from queuesite.documents import to_model
from queuesite.errors import NotFound


def indexes() -> tuple[IndexModel, ...]:
    """The collection's indexes. A kind that did not come up for as long as jobs are kept is removed."""
    return (
        IndexModel(
            [("queueUrl", ASCENDING), ("fingerprint", ASCENDING)], unique=True, name="queueUrl_fingerprint_unique"
        ),
        IndexModel([("queueName", ASCENDING), ("lastSeenAt", DESCENDING)], name="queueName_lastSeenAt"),
        IndexModel(
            [("lastSeenAt", ASCENDING)],
            name="lastSeenAt_ttl",
            expireAfterSeconds=get_config().job_retention_seconds,
        ),
    )


@dataclass(frozen=True)
class Seen:
    """A kind of failure, and the queue in which it was seen."""

    queue: Queue
    failure: failures.Failure


def _failures() -> Collection[Document]:
    return collection(Failure)


def add(seen: Iterable[Seen]) -> None:
    """Count failures, and keep the newest sample of each kind.

    A repetition after a lost answer counts twice: the counts are for people, and no decision rests on them.
    """
    writes = [_write(one.queue, one.failure) for one in seen]
    if writes:
        _failures().bulk_write(writes, ordered=False)


def _write(queue: Queue, failure: failures.Failure) -> UpdateOne:
    return UpdateOne(
        {"queueUrl": queue.queue_url, "fingerprint": failure.fingerprint},
        {
            "$inc": {"count": failure.count},
            "$set": {
                "queueId": queue.id,
                "queueName": queue.name,
                "message": failure.message,
                "traceback": failure.traceback,
                "messageId": failure.message_id,
                "receiveCount": failure.receive_count,
                "sampleBody": failure.sample_body,
            },
            "$setOnInsert": {
                "exceptionType": failure.exception_type,
                "place": failure.place,
            },
            "$min": {"firstSeenAt": database_clock.at(failure.first_at)},
            "$max": {"lastSeenAt": database_clock.at(failure.last_at)},
        },
        upsert=True,
    )


def of_queue(queue_url: str) -> list[Failure]:
    """The kinds of failure of a queue, the latest first."""
    found = _failures().find({"queueUrl": queue_url}).sort("lastSeenAt", DESCENDING)
    return [to_model(Failure, document) for document in found]


def newest(filters: Document, limit: int) -> list[Failure]:
    """Up to `limit` kinds of failure that match, those seen last first."""
    found = _failures().find(filters).sort([("lastSeenAt", DESCENDING), ("_id", DESCENDING)]).limit(limit)
    return [to_model(Failure, document) for document in found]


def by_id(failure_id: ObjectId) -> Failure:
    """The kind of failure of this id. Raises `NotFound`."""
    document = _failures().find_one({"_id": failure_id})
    if document is None:
        raise NotFound(
            f"there is no failure {failure_id}; they are kept {get_config().job_retention_days} days after the last one"
        )
    return to_model(Failure, document)


def delete(failure_id: ObjectId) -> None:
    """Remove a kind of failure. Raises `NotFound`."""
    if not _failures().delete_one({"_id": failure_id}).deleted_count:
        raise NotFound(f"there is no failure {failure_id}")


def count(since: datetime | None = None) -> int:
    """How many kinds of failure there are; with `since`, how many were seen then or later."""
    return _failures().count_documents({} if since is None else {"lastSeenAt": {"$gte": since}})
