"""The `jobs` collection: one verb for each transition of a job's life.

create -> queued -> start -> running (-> progress) -> complete | fail | abandon
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from bson import ObjectId
from pymongo import ASCENDING, DESCENDING, IndexModel, UpdateOne
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError

from jobs.models import Assignment, EndReason, Job, JobStatus
from queuesite.foundation.config import get_config
from queuesite.foundation.databases import Document, collection, database_clock, lost_races
from queuesite.foundation.documents import to_document, to_model, to_models
from queuesite.foundation.errors import NotFound, StaleTransition
from queuesite.foundation.newest import between
from queuesite.foundation.newest import newest as newest_of_all

_UNFINISHED = [JobStatus.QUEUED.value, JobStatus.RUNNING.value]

#: Characters of an error's text that a job keeps.
ERROR_CHARACTERS = 2_000


_NEWEST_FIRST = (("createdAt", DESCENDING), ("_id", DESCENDING))


def indexes() -> tuple[IndexModel, ...]:
    """The collection's indexes. The TTL counts from the last change; MongoDB removes older jobs each minute."""
    return (
        IndexModel([("queueUrl", ASCENDING), ("status", ASCENDING)], name="queueUrl_status"),
        # Lists are sorted by (createdAt, _id): an index for each filter, so that any page of any list is a range of it.
        IndexModel([*_NEWEST_FIRST], name="createdAt_id"),
        *(
            IndexModel(
                [*((name, ASCENDING) for name in filters), *_NEWEST_FIRST], name=f"{'_'.join(filters)}_createdAt_id"
            )
            for filters in (("status",), ("queueName",), ("queueName", "status"), ("processor.workerId",))
        ),
        IndexModel(
            [("lastModified", ASCENDING)],
            name="lastModified_ttl",
            expireAfterSeconds=get_config().job_retention_seconds,
        ),
    )


@dataclass(frozen=True)
class Processor:
    """Who processes a job. Pids are text in the documents, as in the reference system."""

    worker_id: str
    host: str
    worker_pid: int
    consumer_pid: int | None = None

    def as_document(self) -> Document:
        """The `processor` part of a job's document."""
        return {
            "workerId": self.worker_id,
            "host": self.host,
            "workerPid": str(self.worker_pid),
            "consumerPid": None if self.consumer_pid is None else str(self.consumer_pid),
        }


@dataclass(frozen=True)
class Counts:
    """What a run did: messages handled, failed attempts, those of them that timed out, and retries asked for."""

    processed: int = 0
    failed: int = 0
    timed_out: int = 0
    retried: int = 0

    @classmethod
    def of_entry(cls, entry: Mapping[str, Any]) -> Self:
        """As a consumer reports them, and its worker's document has them; what is not a number counts as 0."""
        found = (entry.get(name) for name in ("processed", "failed", "timedOut", "retried"))
        return cls(*(value if isinstance(value, int) else 0 for value in found))

    def as_document(self) -> Document:
        """The counts in a job's document."""
        return {
            "messageCount": self.processed,
            "failedCount": self.failed,
            "timedOutCount": self.timed_out,
            "retriedCount": self.retried,
        }


def _jobs() -> Collection[Document]:
    return collection(Job)


def create_many(assignments: Iterable[tuple[Assignment, str, Processor]]) -> None:
    """Create the queued jobs of assignments (each with its queue's name and its worker) that do not exist yet.

    Master and worker may both do so, in any order: the second changes nothing.
    """
    now = database_clock.now()
    documents = [
        to_document(
            Job(
                id=assignment.job_id,
                queue_name=queue_name,
                queue_url=assignment.queue_url,
                queue_id=assignment.queue_id,
                status=JobStatus.QUEUED,
                processor=processor.as_document(),
                created_at=now,
                last_modified=now,
            )
        )
        for assignment, queue_name, processor in assignments
    ]
    if not documents:
        return
    try:
        _jobs().insert_many(documents, ordered=False)
    except BulkWriteError as error:
        lost_races(error)


def start(job_id: ObjectId, processor: Processor, handler: str | None = None, version: str | None = None) -> None:
    """Queued -> running, by the job's worker, which may repeat it if the answer was lost.

    `handler` and `version` say what it runs.
    """
    _transition(
        job_id,
        {"status": {"$in": _UNFINISHED}, "processor.workerId": processor.worker_id},
        {
            "status": JobStatus.RUNNING.value,
            "processor": processor.as_document(),
            "handler": handler,
            "handlerVersion": version,
        },
        date="startedAt",
    )


def progress(job_id: ObjectId, worker_id: str, counts: Counts) -> None:
    """Update the counts of a running job, which also keeps the TTL from removing its record."""
    result = _jobs().update_one(
        {"_id": job_id, "status": JobStatus.RUNNING.value, "processor.workerId": worker_id},
        {"$set": counts.as_document(), "$currentDate": {"lastModified": True}},
    )
    if not result.matched_count:
        raise StaleTransition(f"job {job_id} is not run by {worker_id} any more")


def complete(
    job_id: ObjectId, worker_id: str, counts: Counts, reason: EndReason, last_error: str | None = None
) -> None:
    """Running -> completed, with the counts of the whole run."""
    _end(job_id, worker_id, JobStatus.COMPLETED, counts, reason, last_error)


def fail(job_id: ObjectId, worker_id: str, counts: Counts, reason: EndReason, last_error: str) -> None:
    """Queued or running -> failed: the consumer crashed or could not go on. Counts are the last that it reported."""
    _end(job_id, worker_id, JobStatus.FAILED, counts, reason, last_error)


def _end(
    job_id: ObjectId, worker_id: str, status: JobStatus, counts: Counts, reason: EndReason, last_error: str | None
) -> None:
    _transition(
        job_id,
        {"status": {"$in": _UNFINISHED}, "processor.workerId": worker_id},
        {
            "status": status.value,
            **counts.as_document(),
            "endReason": reason.value,
            "lastError": last_error and last_error[:ERROR_CHARACTERS],
        },
        date="endedAt",
    )


@dataclass(frozen=True)
class Abandoned:
    """A job whose worker is gone, with the counts of that worker's last heartbeat: zeros if they are not known."""

    job_id: ObjectId
    cause: str
    counts: Counts = Counts()


def abandon_many(lost: Iterable[Abandoned]) -> int:
    """Queued or running -> abandoned, by a master, in one bulk; how many. Those that have ended stay as they are.

    A job keeps the higher of its counts: `progress` may have written later ones than the last heartbeat did.
    """
    writes = [
        UpdateOne(
            {"_id": one.job_id, "status": {"$in": _UNFINISHED}},
            {
                "$set": {
                    "status": JobStatus.ABANDONED.value,
                    "endReason": EndReason.WORKER_DIED.value,
                    "lastError": one.cause[:ERROR_CHARACTERS],
                },
                "$max": one.counts.as_document(),
                "$currentDate": {"lastModified": True, "endedAt": True},
            },
        )
        for one in lost
    ]
    return _jobs().bulk_write(writes, ordered=False).matched_count if writes else 0


def _transition(job_id: ObjectId, expected: Mapping[str, Any], changes: Mapping[str, Any], *, date: str) -> None:
    result = _jobs().update_one(
        {"_id": job_id, **expected}, {"$set": dict(changes), "$currentDate": {"lastModified": True, date: True}}
    )
    if not result.matched_count:
        raise StaleTransition(f"job {job_id} is not where a change to {changes['status']} expects it")


def by_id(job_id: ObjectId) -> Job:
    """The job of this id. Raises `NotFound`."""
    document = _jobs().find_one({"_id": job_id})
    if document is None:
        raise NotFound(f"there is no job {job_id}; jobs are kept {get_config().job_retention_days} days")
    return to_model(Job, document)


def forget(queue_url: str) -> None:
    """Remove every job of a queue. The end of a run that is still under way is recorded nowhere then."""
    _jobs().delete_many({"queueUrl": queue_url})


@dataclass(frozen=True)
class UnfinishedJob:
    """What a rescue needs to know of a job that is queued or running. `worker_id` is "" if the document names none."""

    job_id: ObjectId
    queue_id: ObjectId
    worker_id: str


def unfinished(before: datetime | None = None, workers: Iterable[str] | None = None) -> list[UnfinishedJob]:
    """The jobs that are queued or running: those that last changed before a moment, those of some workers.

    One whose date is missing or no date counts as old.
    """
    wanted: Document = {"status": {"$in": _UNFINISHED}}
    if workers is not None:
        wanted["processor.workerId"] = {"$in": list(workers)}
    # One whose queue's id is not an id cannot be rescued, nor can anything wait for it: it lives out its time.
    wanted["queueId"] = {"$type": "objectId"}
    documents = _jobs().find(wanted, {"queueId": 1, "processor.workerId": 1, "lastModified": 1})
    found = []
    for document in documents:
        # Not part of the query, see `queuesite.foundation.workarounds`. There are few unfinished jobs.
        changed = document.get("lastModified")
        if before is not None and isinstance(changed, datetime) and changed >= before:
            continue
        processor = document.get("processor")
        worker_id = processor.get("workerId") if isinstance(processor, dict) else None
        found.append(UnfinishedJob(document["_id"], document["queueId"], str(worker_id or "")))
    return found


def count(filters: Document, most: int, *, since: datetime | None = None, until: datetime | None = None) -> int:
    """How many jobs match, counted up to `most`; `since` and `until` (before which) bound their creation."""
    return _jobs().count_documents({**filters, **between("createdAt", since, until)}, limit=most)


def newest(
    filters: Document,
    limit: int,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    behind: tuple[datetime, ObjectId] | None = None,
) -> list[Job]:
    """Up to `limit` jobs whose fields have these values, by their creation: see `queuesite.foundation.newest`."""
    return newest_of_all(Job, "createdAt", filters, limit, since=since, until=until, behind=behind)


#: Jobs that are looked through at once for the newest of each of many queues.
_RECENT = 200
#: Looks for the queues that still miss theirs, since others had more jobs lately, before each is asked for by itself.
_ROUNDS = 4


def newest_of(queue_names: Sequence[str]) -> dict[str, Job]:
    """The newest job of each of these queues; queues without jobs are missing. Most are found in one query."""
    found: dict[str, Job] = {}
    missing = list(queue_names)
    for _ in range(_ROUNDS):
        recent = newest({"queueName": {"$in": missing}}, _RECENT) if missing else []
        for job in recent:
            found.setdefault(job.queue_name, job)
        if len(recent) < _RECENT:
            return found
        missing = [name for name in missing if name not in found]
    for name in missing:
        for job in to_models(Job, _jobs().find({"queueName": name}).sort([*_NEWEST_FIRST]).limit(1)):
            found[name] = job
    return found
