"""The collection `attempts`: one document for each attempt that is recorded."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from bson import ObjectId
from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.collection import Collection as MongoCollection
from pymongo.errors import BulkWriteError

from jobs.attempt_model import Attempt
from jobs.attempts import AttemptReport
from queues.models import Queue
from queuesite.foundation.config import get_config
from queuesite.foundation.databases import Document, collection, database_clock, lost_races
from queuesite.foundation.documents import containing, to_document, to_model, to_models
from queuesite.foundation.errors import NotFound
from queuesite.foundation.newest import between
from queuesite.foundation.newest import newest as newest_of_all
from queuesite.foundation.workarounds import from_then

_NEWEST_FIRST = (("startedAt", DESCENDING), ("_id", DESCENDING))
#: What lists may be filtered by: each has an index, so that any page of such a list is a range of it.
FILTERS = ("messageId", "queueName", "jobId", "handler", "fingerprint", "outcome")


def indexes() -> tuple[IndexModel, ...]:
    """The collection's indexes."""
    return (
        IndexModel([*_NEWEST_FIRST], name="startedAt_id"),
        *(IndexModel([(name, ASCENDING), *_NEWEST_FIRST], name=f"{name}_startedAt_id") for name in FILTERS),
        IndexModel([("handler", ASCENDING), ("seconds", DESCENDING)], name="handler_seconds"),
        IndexModel(
            [("startedAt", ASCENDING)],
            name="startedAt_ttl",
            expireAfterSeconds=get_config().attempt_retention_days * 86_400,
        ),
    )


@dataclass(frozen=True)
class Reported:
    """An attempt, with what its worker knows of it."""

    attempt: AttemptReport
    queue: Queue
    job_id: ObjectId
    worker: str
    handler: str
    version: str | None
    #: A repeated write inserts nothing twice.
    id: ObjectId = field(default_factory=ObjectId)


def _attempts() -> MongoCollection[Document]:
    return collection(Attempt)


def add(reported: Sequence[Reported]) -> None:
    """Record attempts, in one bulk. May be repeated if the answer was lost."""
    documents = [to_document(_record(one)) for one in reported]
    if documents:
        try:
            _attempts().insert_many(documents, ordered=False)
        except BulkWriteError as error:
            lost_races(error)


def _record(one: Reported) -> Attempt:
    attempt = one.attempt
    return Attempt(
        id=one.id,
        message_id=attempt.message_id,
        queue_url=one.queue.queue_url,
        queue_id=one.queue.id,
        queue_name=one.queue.name,
        job_id=one.job_id,
        worker=one.worker,
        handler=one.handler,
        handler_version=one.version,
        receive_count=attempt.receive_count,
        started_at=database_clock.at(attempt.started),
        waited=attempt.waited,
        seconds=attempt.took,
        outcome=attempt.outcome.value,
        error_type=attempt.error_type,
        error=attempt.error,
        fingerprint=attempt.fingerprint,
        dead_letter=attempt.dead_letter,
        trace_id=attempt.trace_id,
        log=attempt.log,
    )


def newest(
    filters: Document,
    limit: int,
    *,
    text: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    behind: tuple[datetime, ObjectId] | None = None,
) -> list[Attempt]:
    """Up to `limit` attempts whose fields have these values, the newest first.

    `text` is looked for in their errors, in any case; no index helps with that, but there are ATTEMPTS_MAX at the most.
    They are bounded by their start: see `queuesite.foundation.newest`.
    """
    wanted = dict(filters)
    if text:
        wanted["$or"] = [{name: containing(text)} for name in ("error", "errorType")]
    return newest_of_all(Attempt, "startedAt", wanted, limit, since=since, until=until, behind=behind)


def count(filters: Document, most: int, *, since: datetime | None = None, until: datetime | None = None) -> int:
    """How many attempts have these values and began in this span, counted up to `most`."""
    return _attempts().count_documents({**filters, **between("startedAt", since, until)}, limit=most)


def slowest(handler: str, since: datetime, limit: int) -> list[Attempt]:
    """A handler's recorded attempts that took longest, of those that began at `since` or later."""
    found = _attempts().find({"handler": handler, "startedAt": from_then(since)}).sort("seconds", DESCENDING)
    return to_models(Attempt, found.limit(limit))


def by_id(attempt_id: ObjectId) -> Attempt:
    """The attempt of this id. Raises `NotFound`."""
    document = _attempts().find_one({"_id": attempt_id})
    if document is None:
        raise NotFound(
            f"there is no attempt {attempt_id}; they are kept {get_config().attempt_retention_days} days at the most"
        )
    return to_model(Attempt, document)


def at_messages(message_ids: Collection[str], most: int = 1_000) -> list[Attempt]:
    """The attempts at these messages, the oldest first, up to `most` of the newest."""
    query = {"messageId": {"$in": list(message_ids)}}
    documents = _attempts().find(query).sort([*_NEWEST_FIRST]).limit(most)
    return to_models(Attempt, documents)[::-1]


def forget(queue_url: str) -> None:
    """Remove every attempt at a queue's messages."""
    _attempts().delete_many({"queueUrl": queue_url})


# --- the limit of their number ---


def estimated_count() -> int:
    """About how many there are; the server need not look."""
    return _attempts().estimated_document_count()


def counts_by_queue() -> dict[str, int]:
    """How many there are of each queue, by its name."""
    rows = _attempts().aggregate([{"$group": {"_id": "$queueName", "count": {"$sum": 1}}}])
    return {str(row["_id"]): int(row["count"]) for row in rows}


def keep_newest(queue_name: str, most: int) -> int:
    """Remove a queue's oldest attempts beyond this number; return how many were removed."""
    documents = _attempts().find({"queueName": queue_name}, {"startedAt": 1}).sort([*_NEWEST_FIRST]).skip(most).limit(1)
    for last in documents:
        moment: datetime = last["startedAt"]
        return _attempts().delete_many({"queueName": queue_name, "startedAt": {"$lte": moment}}).deleted_count
    return 0


def share(counts: Mapping[str, int], most: int) -> int:
    """How many records of each queue may stay, so that there are at most `most` in all.

    Pure. Queues that have fewer keep all of theirs, so that a busy queue does not cost others their records.
    """
    left, queues = most, len(counts)
    for count in sorted(counts.values()):
        if count * queues > left:
            return left // queues
        left, queues = left - count, queues - 1
    return max(counts.values(), default=most)
