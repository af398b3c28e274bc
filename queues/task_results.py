"""The collection `taskResults`: the status and result of each call of a Django task, kept for TASK_RESULT_DAYS.

An attempt is written under an id of its own, so a repetition after a lost answer changes nothing; the status is that of
the latest attempt, whatever order two workers write in. Arguments and results are stored as JSON, since MongoDB has
limits and meanings of its own for the names in objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pymongo import ASCENDING, IndexModel, UpdateOne
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError

from queues.sending.destinations import directory
from queues.task_calls import Attempt, Call, Change, ConsumerDied
from queuesite.foundation.addresses import no_mongodb
from queuesite.foundation.config import get_config
from queuesite.foundation.databases import (
    DUPLICATE_KEY,
    Document,
    bulk_upsert,
    database,
    database_clock,
    ensure_collection_indexes,
)
from queuesite.foundation.errors import MongoUnavailable
from queuesite.foundation.logs import get_logger

if TYPE_CHECKING:
    from queues.task_library import AnyTask, ResultOfAny

log = get_logger(__name__)

COLLECTION = "taskResults"
#: Changes in one bulk write.
_CHUNK = 500
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


def _results() -> Collection[Document]:
    return database()[COLLECTION]


def ensure_indexes() -> None:
    """Create the index that removes results, or change it if TASK_RESULT_DAYS has changed."""
    seconds = get_config().task_result_days * 86_400
    ensure_collection_indexes(
        _results(),
        [
            IndexModel([("updatedAt", ASCENDING)], name="updatedAt_ttl", expireAfterSeconds=seconds),
            IndexModel([("lastReceiveOf", ASCENDING)], name="lastReceiveOf_1", sparse=True),
        ],
    )


def enqueued(call: Call) -> None:
    """Record that a call was enqueued, unless a worker was faster. Raises `MongoUnavailable`."""
    change = {
        "$set": _facts(call),
        "$setOnInsert": {"status": "READY", "attempts": {}},
        "$currentDate": {"updatedAt": True},
    }
    directory.mongodb.ask(COLLECTION, lambda results: results.update_one({"_id": call.id}, change, upsert=True))


def write(changes: Iterable[Change]) -> None:
    """Record the outcomes of calls. Raises pymongo's errors; it can then be repeated without harm."""
    writes = [_write(change) for change in changes]
    for first in range(0, len(writes), _CHUNK):
        try:
            bulk_upsert(_results(), writes[first : first + _CHUNK])
        except BulkWriteError as error:
            wrong = [one for one in error.details["writeErrors"] if one["code"] != DUPLICATE_KEY]
            if not wrong or error.details.get("writeConcernErrors"):
                raise
            # A document that has grown too large must not keep all others from being written.
            log.error("task_results_refused", count=len(wrong), error=str(wrong[0].get("errmsg"))[:300])


def _facts(call: Call) -> Document:
    return {
        "task": call.task,
        "queue": call.queue,
        "backend": call.backend,
        "args": call.args,
        "kwargs": call.kwargs,
        "enqueuedAt": call.enqueued_at,
    }


def _write(change: Change) -> UpdateOne:
    attempt = change.attempt
    facts = {name: {"$literal": value} for name, value in _facts(change.call).items()}
    if attempt is None:
        ready = {"status": {"$ifNull": ["$status", "READY"]}, "attempts": {"$ifNull": ["$attempts", {}]}}
        return UpdateOne({"_id": change.call.id}, [{"$set": {**facts, **ready, "updatedAt": "$$NOW"}}], upsert=True)
    started = database_clock.at(attempt.started)
    over = attempt.ended is not None and attempt.status in ("SUCCESSFUL", "FAILED")
    last: Document = {
        "lastReceiveOf": attempt.job if attempt.last and attempt.status == "RUNNING" else None,
        "status": attempt.status,
        "finishedAt": database_clock.at(attempt.ended) if attempt.ended is not None and over else None,
        "returned": attempt.returned,
    }
    latest = {"$lte": [{"$ifNull": ["$lastAttemptedAt", _LONG_AGO]}, started]}
    of_latest = {name: {"$cond": [latest, {"$literal": value}, f"${name}"]} for name, value in last.items()}
    return UpdateOne(
        {"_id": change.call.id},
        [
            {
                "$set": {
                    **facts,
                    **of_latest,
                    f"attempts.{attempt.id}": {"$literal": _as_document(attempt, started)},
                    "startedAt": {"$min": ["$startedAt", started]},
                    "lastAttemptedAt": {"$max": ["$lastAttemptedAt", started]},
                    "updatedAt": "$$NOW",
                }
            }
        ],
        upsert=True,
    )


def _as_document(attempt: Attempt, started: datetime) -> Document:
    made: Document = {"startedAt": started, "worker": attempt.worker}
    if attempt.error is not None:
        made["error"], made["traceback"] = attempt.error
    return made


def died(jobs: Sequence[str], cause: str) -> None:
    """Record that the consumers of these jobs have died: tasks at their messages' last receives are not tried again.

    What was reported of their tasks must have been written. Raises pymongo's errors; to repeat it does no harm.
    """
    for document in _results().find({"lastReceiveOf": {"$in": list(jobs)}}):
        latest = max(document["attempts"], key=lambda one: document["attempts"][one]["startedAt"])
        error = {"error": f"{ConsumerDied.__module__}.{ConsumerDied.__qualname__}", "traceback": cause}
        _results().update_one(
            {"_id": document["_id"], "lastReceiveOf": document["lastReceiveOf"]},
            {
                "$set": {
                    "status": "FAILED",
                    "lastReceiveOf": None,
                    **{f"attempts.{latest}.{name}": value for name, value in error.items()},
                },
                "$currentDate": {"finishedAt": True, "updatedAt": True},
            },
        )


def find(result_id: str) -> Document | None:
    """The document of a result, or None. Raises `MongoUnavailable`."""
    if not directory.mongodb.allowed:
        raise MongoUnavailable("results cannot be read in a handler or task: consumers do not use MongoDB")
    if not directory.mongodb.known:
        raise no_mongodb()
    found: Document | None = directory.mongodb.ask(COLLECTION, lambda results: results.find_one({"_id": result_id}))
    return found


def as_result(task: AnyTask, document: Mapping[str, Any]) -> ResultOfAny:
    """The result in a document."""
    from queues import task_objects

    call = Call(document["_id"], *(document[name] for name in ("task", "queue", "backend", "args", "kwargs")))
    attempts = sorted(document["attempts"].values(), key=lambda one: one["startedAt"])
    return task_objects.result(
        task,
        call,
        document["status"],
        enqueued_at=_aware(document.get("enqueuedAt")),
        started_at=_aware(document.get("startedAt")),
        last_attempted_at=_aware(document.get("lastAttemptedAt")),
        finished_at=_aware(document.get("finishedAt")),
        errors=[(one["error"], one["traceback"]) for one in attempts if "error" in one],
        worker_ids=[one["worker"] for one in attempts],
        returned=document.get("returned"),
    )


def _aware(moment: datetime | None) -> datetime | None:
    """The client of a project that only sends reads dates without their zone, which is UTC."""
    return moment if moment is None or moment.tzinfo is not None else moment.replace(tzinfo=UTC)
