"""The collections `failures`, one document per kind of failure of a queue, and `failureCounts`, its hours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from bson import ObjectId
from pymongo import ASCENDING, DESCENDING, IndexModel, UpdateOne
from pymongo.collection import Collection
from pymongo.cursor import Cursor

from jobs import failures, retry_reasons
from jobs.models import Failure, FailureCount
from queues.models import Queue
from queuesite.foundation.config import get_config
from queuesite.foundation.databases import Document, bulk_upsert, collection, database_clock
from queuesite.foundation.documents import containing, read, to_model, to_models
from queuesite.foundation.errors import NotFound
from queuesite.foundation.workarounds import from_then

_NEWEST_FIRST = (("lastSeenAt", DESCENDING), ("_id", DESCENDING))


def indexes() -> tuple[IndexModel, ...]:
    """The collection's indexes. A kind that has not recurred for as long as jobs are kept is removed."""
    return (
        IndexModel(
            [("queueUrl", ASCENDING), ("fingerprint", ASCENDING)], unique=True, name="queueUrl_fingerprint_unique"
        ),
        # Lists are sorted by (lastSeenAt, _id), of all queues or of one: any page of either is a range of an index.
        IndexModel([*_NEWEST_FIRST], name="lastSeenAt_id"),
        IndexModel([("queueName", ASCENDING), *_NEWEST_FIRST], name="queueName_lastSeenAt"),
        IndexModel(
            [("lastSeenAt", ASCENDING)],
            name="lastSeenAt_ttl",
            expireAfterSeconds=get_config().job_retention_seconds,
        ),
    )


#: How long hours are kept.
HOURS_KEPT = timedelta(days=2)
HOUR = timedelta(hours=1)

COUNT_INDEXES = (
    IndexModel([("queueUrl", ASCENDING), ("fingerprint", ASCENDING), ("hour", ASCENDING)], name="kind_hour"),
    IndexModel([("expiresAt", ASCENDING)], name="expiresAt_ttl", expireAfterSeconds=0),
)


@dataclass(frozen=True)
class Seen:
    """A kind of failure, and the queue in which it was seen."""

    queue: Queue
    failure: failures.FailureGroup


def _failures() -> Collection[Document]:
    return collection(Failure)


def add(seen: Iterable[Seen]) -> None:
    """Count failures, and keep the newest sample of each kind.

    A repetition after a lost answer counts twice. The counts are for people; no decision depends on them.
    """
    kinds = _bounded(list(seen))
    if kinds:
        bulk_upsert(_failures(), [_write(one.queue, one.failure) for one in kinds])
        bulk_upsert(collection(FailureCount), [_count(one.queue, one.failure) for one in kinds])


def _bounded(seen: list[Seen]) -> list[Seen]:
    """The same, with reasons of retries that are new and too many for their queue put together as one kind."""
    urls = {one.queue.queue_url for one in seen if one.failure.retry_reason is not None}
    if not urls:
        return seen
    known: dict[str, set[str]] = {url: set() for url in urls}
    wanted = {"queueUrl": {"$in": list(urls)}, "retryReason": {"$type": "string"}}
    for document in _failures().find(wanted, {"queueUrl": 1, "fingerprint": 1, "_id": 0}):
        known[document["queueUrl"]].add(document["fingerprint"])
    found: dict[tuple[str, str], Seen] = {}
    for one in seen:
        kind = one.failure
        if kind.retry_reason is not None:
            kinds = known[one.queue.queue_url]
            if kind.fingerprint not in kinds and len(kinds) >= retry_reasons.MOST_OF_QUEUE:
                kind = replace(kind, retry_reason=retry_reasons.OTHER)
            kinds.add(kind.fingerprint)
        key = (one.queue.queue_url, kind.fingerprint)
        before = found.get(key)
        found[key] = Seen(one.queue, kind if before is None else before.failure.and_again(kind))
    return list(found.values())


def _write(queue: Queue, failure: failures.FailureGroup) -> UpdateOne:
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
                **({} if failure.retry_reason is None else {"retryReason": failure.retry_reason}),
            },
            "$min": {"firstSeenAt": database_clock.at(failure.first_at)},
            "$max": {"lastSeenAt": database_clock.at(failure.last_at)},
        },
        upsert=True,
    )


def _count(queue: Queue, failure: failures.FailureGroup) -> UpdateOne:
    hour = database_clock.at(failure.last_at).replace(minute=0, second=0, microsecond=0)
    kind = {"queueUrl": queue.queue_url, "fingerprint": failure.fingerprint, "hour": hour}
    return UpdateOne(
        {"_id": f"{queue.id} {failure.fingerprint} {hour:%Y-%m-%dT%H}"},
        {"$inc": {"count": failure.count}, "$setOnInsert": {**kind, "expiresAt": hour + HOURS_KEPT}},
        upsert=True,
    )


def hourly(kinds: Sequence[Failure], since: datetime) -> list[FailureCount]:
    """How often these kinds occurred in each hour since then. Hours without any are missing."""
    if not kinds:
        return []
    found = collection(FailureCount).find(
        {
            "queueUrl": {"$in": list({kind.queue_url for kind in kinds})},
            "fingerprint": {"$in": list({kind.fingerprint for kind in kinds})},
            "hour": {"$gte": since},
        }
    )
    return to_models(FailureCount, found)


def newest(filters: Document, limit: int) -> list[Failure]:
    """Up to `limit` matching kinds of failure, the latest seen first."""

    def some(skip: int, wanted: int) -> Cursor[Document]:
        return _failures().find(filters).sort([*_NEWEST_FIRST]).skip(skip).limit(wanted)

    return read(Failure, some, limit)


def most_frequent(queues: Sequence[Queue], since: datetime) -> dict[ObjectId, Failure]:
    """Of each of these queues, the kind that was seen most often of those seen at `since` or later, without traceback.

    How often counts from when the kind was first seen. A reason for retries is only given if nothing failed.
    """
    if not queues:
        return {}
    pipeline: list[Document] = [
        {"$match": {"queueName": {"$in": [queue.name for queue in queues]}, "lastSeenAt": from_then(since)}},
        {"$set": {"traceback": "", "sampleBody": None, "isRetry": {"$gt": ["$retryReason", None]}}},
        {"$sort": {"isRetry": ASCENDING, "count": DESCENDING, "lastSeenAt": DESCENDING}},
        {"$group": {"_id": "$queueId", "first": {"$first": "$$ROOT"}}},
        {"$replaceRoot": {"newRoot": "$first"}},
    ]
    return {failure.queue_id: failure for failure in to_models(Failure, _failures().aggregate(pipeline))}


def with_text(text: str, limit: int) -> list[Failure]:
    """Up to `limit` kinds of failure whose type or newest message has this text, in any case, the latest seen first."""
    return newest({"$or": [{name: containing(text)} for name in ("exceptionType", "message", "retryReason")]}, limit)


def by_id(failure_id: ObjectId) -> Failure:
    """The kind of failure of this id. Raises `NotFound`."""
    document = _failures().find_one({"_id": failure_id})
    if document is None:
        raise NotFound(
            f"there is no failure {failure_id}; they are kept {get_config().job_retention_days} days after the last one"
        )
    return to_model(Failure, document)


def delete(failure_id: ObjectId) -> None:
    """Remove a kind of failure and its hourly counts. Raises `NotFound`."""
    document = _failures().find_one_and_delete({"_id": failure_id}, {"queueUrl": 1, "fingerprint": 1})
    if document is None:
        raise NotFound(f"there is no failure {failure_id}")
    collection(FailureCount).delete_many({name: document[name] for name in ("queueUrl", "fingerprint")})


def forget(queue_url: str) -> None:
    """Remove every failure of a queue, with the hourly counts."""
    for model in (Failure, FailureCount):
        collection(model).delete_many({"queueUrl": queue_url})


#: Conditions on failures, and on reasons of retries.
FAILURES: Document = {"retryReason": None}
RETRIES: Document = {"retryReason": {"$type": "string"}}


def count(since: datetime | None = None) -> int:
    """How many kinds of failure there are, without retries; with `since`, how many were seen then or later."""
    return _failures().count_documents({**FAILURES, **({} if since is None else {"lastSeenAt": {"$gte": since}})})


def counts(queue_name: str | None = None) -> tuple[int, int]:
    """How many kinds of failure and of retries there are (of one queue)."""
    of = {} if queue_name is None else {"queueName": queue_name}
    return _failures().count_documents({**of, **FAILURES}), _failures().count_documents({**of, **RETRIES})
