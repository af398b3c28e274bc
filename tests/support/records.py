"""Documents of the processing collections, for tests that need some."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId

from jobs.attempts import AttemptOutcome, AttemptReport
from jobs.models import Assignment, Failure, Job
from jobs.placement import Announcement
from jobs.repositories import assignments, attempts, failures, handlers, jobs, workers
from jobs.repositories.assignments import NewAssignment
from jobs.repositories.attempts import Reported
from jobs.repositories.jobs import Processor
from queues import repository
from queues.handlers.announcement import Announced
from queues.models import Queue
from queuesite.foundation.databases import collection, database_clock
from queuesite.foundation.documents import to_models

HOST = "host-1"
PID = 4711


def define(name: str = "orders", **fields: Any) -> Queue:
    """Define a queue only in MongoDB."""
    return repository.insert(Queue(name=name, queue_url=f"http://sqs/{name}", **fields))


def stored(queue: Queue) -> Queue:
    """A queue as MongoDB has it."""
    (found,) = repository.by_ids([queue.id])
    return found


def aged(queue: Queue) -> Queue:
    """The queue as if it had last been changed and compared with SQS a minute ago.

    Dates that MongoDB writes can be before those of `database_clock`, by as much as that is off.
    """
    a_minute_ago = database_clock.now() - timedelta(minutes=1)
    collection(Queue).update_one({"_id": queue.id}, {"$set": {"updatedAt": a_minute_ago, "syncedAt": a_minute_ago}})
    return stored(queue)


def register(
    worker_id: str = "w1", *, capacity: int = 5, pool: str = "default", has: Mapping[str, str] | None = None
) -> str:
    """Register a worker with a heartbeat of now; it announces the versions of the handlers that it `has`.

    Without any, it is one of an earlier release, which announces nothing.
    """
    said = None
    if has is not None:
        handlers.announce(has)
        said = Announcement(pool, "1", tuple(Announced(name, version) for name, version in has.items()))
    workers.register(worker_id, HOST, PID, capacity, said, limit=None if has is None else 2 * capacity)
    return worker_id


#: A handler that no process of the tests can import.
RESIZE = Announced(
    "resize",
    "7",
    "async",
    60,
    "Make a smaller copy.",
    json.dumps(
        {
            "type": "object",
            "additionalProperties": False,
            "required": ["width"],
            "properties": {
                "width": {"type": "integer", "minimum": 1, "description": "in pixels"},
                "token": {
                    "anyOf": [{"type": "string", "format": "password", "writeOnly": True}, {"type": "null"}],
                    "default": None,
                },
            },
        }
    ),
)


def announce(*announced: Announced, worker_id: str = "w1", pool: str = "default") -> str:
    """A worker that announces these handlers."""
    handlers.announce({one.name: one.version for one in announced})
    workers.register(worker_id, HOST, PID, 5, Announcement(pool, announced[0].version, announced))
    return worker_id


def assign(queue: Queue, worker_id: str = "w1", *, slot: int = 0, term: int = 1) -> Assignment:
    """Insert an assignment without a job, as a master leaves it if it dies between the two."""
    (made,) = assignments.insert_many([NewAssignment(queue.queue_url, queue.id, slot, worker_id)], term)
    return made


def processor(worker_id: str = "w1", consumer_pid: int | None = None) -> Processor:
    """A worker, or one of its consumers, as jobs name it."""
    return Processor(worker_id, HOST, PID, consumer_pid)


def queued(queue: Queue, worker_id: str = "w1", *, slot: int = 0) -> Assignment:
    """An assignment with its queued job."""
    assignment = assign(queue, worker_id, slot=slot)
    jobs.create_many([(assignment, queue.name, processor(worker_id))])
    return assignment


def running(queue: Queue, worker_id: str = "w1", *, slot: int = 0) -> Assignment:
    """An assignment with its running job."""
    assignment = queued(queue, worker_id, slot=slot)
    jobs.start(assignment.job_id, processor(worker_id, 99))
    return assignment


def job_of(assignment: Assignment) -> Job:
    """An assignment's job."""
    return jobs.by_id(assignment.job_id)


def all_jobs(queue: Queue | None = None) -> list[Job]:
    """Every job (of one queue), oldest first."""
    wanted = {} if queue is None else {"queueId": queue.id}
    return to_models(Job, collection(Job).find(wanted).sort("createdAt", 1))


def set_heartbeat(worker_id: str, moment: datetime) -> None:
    """Change the date of a worker's last heartbeat."""
    from jobs.models import Worker

    assert collection(Worker).update_one({"_id": worker_id}, {"$set": {"heartbeatAt": moment}}).matched_count


def age_job(job_id: ObjectId, moment: datetime) -> None:
    """Change the date of a job's last update."""
    assert collection(Job).update_one({"_id": job_id}, {"$set": {"lastModified": moment}}).matched_count


def attempted(
    queue: Queue, message_id: str = "m1", *, age: float = 0.0, job_id: ObjectId | None = None, **facts: Any
) -> ObjectId:
    """Record an attempt at a message that began `age` seconds ago, and failed unless `facts` say otherwise."""
    values: dict[str, Any] = {
        "receive_count": 1, "outcome": AttemptOutcome.FAILED, "took": 0.25, "waited": 3.5, "error_type": "KeyError",
        "error": "KeyError: 'customer'", "fingerprint": "f" * 32, **facts,
    }  # fmt: skip
    report = AttemptReport(message_id, started=time.monotonic() - age, **values)
    made = Reported(report, queue, job_id or ObjectId(), "w1", queue.handler, "v1")
    attempts.add([made])
    return made.id


def failures_of(queue: Queue) -> list[Failure]:
    """The kinds of failure of a queue, the latest first."""
    return failures.newest({"queueUrl": queue.queue_url}, 100)
