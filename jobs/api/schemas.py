"""The records of processing, as the API returns them."""

from __future__ import annotations

from typing import Self

from pydantic import Field

from jobs.api.health_schemas import OldestOut, ProblemOut
from jobs.attention import MALFORMED_FOUND
from jobs.models import Assignment, Failure, Job, Lease
from jobs.reads import Activity
from jobs.statistics import Figures, Statistics
from queues.api.schemas import QueueFields
from queues.handlers.catalogue import Catalogue
from queues.health.rules import Health
from queues.models import Queue
from queues.state import State
from queuesite.api.schemas import Id, Out, Timestamp

_WORKER = "host-1-4711-6f1d2c3b"


class AssignmentOut(Out):
    """A queue given to a worker, for as long as it is processed."""

    id: Id
    queue_url: str
    queue_id: Id
    consumer: int = Field(description="number of the consumer among those that share the queue", examples=[0])
    worker: str = Field(examples=[_WORKER])
    job_id: Id
    term: int = Field(description="term of the master that made it", examples=[3])
    yield_requested_at: Timestamp | None
    created_at: Timestamp

    @classmethod
    def of(cls, assignment: Assignment) -> AssignmentOut:
        values = {name: getattr(assignment, name) for name in cls.model_fields if name != "consumer"}
        return cls(**values, consumer=assignment.slot)


class ProcessorOut(Out):
    """Who processes a job."""

    worker_id: str | None = Field(None, examples=[_WORKER])
    host: str | None = Field(None, examples=["host-1"])
    worker_pid: str | None = Field(None, examples=["4711"])
    consumer_pid: str | None = Field(None, examples=["4713"])


class JobOut(Out):
    """One run of one queue by one consumer."""

    id: Id
    queue_name: str = Field(examples=["orders"])
    queue_url: str
    queue_id: Id
    status: str = Field(description="queued, running, completed, failed or abandoned", examples=["completed"])
    message_count: int = Field(description="messages handled; updated every JOB_MAX_SECONDS", examples=[500])
    failed_count: int = Field(description="attempts that failed; updated every JOB_MAX_SECONDS", examples=[0])
    retried_count: int = Field(
        description="attempts for which the handler asked for a retry; they are not failures", examples=[0]
    )
    timed_out_count: int = Field(description="failed attempts that exceeded their time limit", examples=[0])
    processor: ProcessorOut
    handler: str | None = Field(description="the queue's when the run began; null: it has not begun", examples=["log"])
    handler_version: str | None = Field(examples=["2.1"])
    end_reason: str | None = Field(description="why it ended", examples=["drained"])
    last_error: str | None = Field(examples=[None])
    created_at: Timestamp
    started_at: Timestamp | None
    ended_at: Timestamp | None
    last_modified: Timestamp

    @classmethod
    def of(cls, job: Job) -> JobOut:
        values = {name: getattr(job, name) for name in cls.model_fields if name != "processor"}
        return cls(**values, processor=ProcessorOut.model_validate(job.processor))


class FailureSummary(Out):
    """A kind of failure of a queue: what was raised, where, and how often; or a reason for which retries are asked."""

    id: Id
    queue_name: str = Field(examples=["orders"])
    queue_id: Id
    fingerprint: str = Field(description="the same for failures of the same kind", examples=["9f2c1e0b7a6d5c4f"])
    exception_type: str = Field(examples=["KeyError"])
    retry_reason: str | None = Field(
        description="of a retry that the handler asked for: its reason, without numbers and ids; null: a failure",
        examples=[None],
    )
    place: str = Field(description="where it was raised", examples=["shop_handlers.py:12 in process_order"])
    message: str = Field(description="of the newest one", examples=["'customer'"])
    count: int = Field(examples=[17])
    first_seen_at: Timestamp
    last_seen_at: Timestamp

    @classmethod
    def of(cls, failure: Failure) -> Self:
        return cls(**{name: getattr(failure, name) for name in cls.model_fields})


class FailureOut(FailureSummary):
    """A kind of failure, with its newest sample."""

    traceback: str
    message_id: str | None = Field(description="SQS's id of the message that was being handled")
    receive_count: int | None = Field(description="number of the attempt", examples=[2])
    sample_body: str | None = Field(description="body of that message", examples=['{"number": 4711}'])


class QueueOut(QueueFields):
    """A queue and its processing."""

    state: State = Field(
        description="active: a worker has it; waiting: its messages, or a wake-up, wait for a worker; backing-off: it "
        "waits after a failed or tripped run; unserved: no live worker can process it, see `unserved`",
        examples=["idle"],
    )
    health: Health = Field(
        description="the worst of its `problems`; `healthy` without any",
        examples=["healthy"],
    )
    problems: list[ProblemOut] = Field(description="all that is wrong with it, the worst first")
    oldest_message: OldestOut | None = Field(description="the oldest known message; null: none is known")
    drain_seconds: float | None = Field(
        description="how long its messages last at the pace of the last minutes, if no more come; 0: it has none; "
        "null: nothing was processed",
        examples=[12.5],
    )
    rate: float = Field(description="messages a minute, in the last five whole minutes", examples=[96.2])
    failed_share: float | None = Field(
        description="share of the attempts that failed in these minutes; null: there was none", examples=[0.02]
    )
    p95: float | None = Field(
        description="95th percentile of the handler's seconds in these minutes; null: there was no attempt",
        examples=[0.09],
    )
    unserved: str | None = Field(
        description="why no live worker can process it; null unless that is its state",
        examples=["no worker has handler resize"],
    )
    warnings: list[str] = Field(
        description="what may be wrong with its handler and options: the handler is unknown, or it refuses the options",
        examples=[[]],
    )
    assignments: list[AssignmentOut] | None = Field(
        description="its assignments; null without the permission jobs.view_assignment"
    )
    last_job: JobOut | None = Field(description="its newest job; null without the permission jobs.view_job")

    @classmethod
    def of(
        cls, queue: Queue, activity: Activity, handlers: Catalogue, figures: Figures, *, with_assignments: bool
    ) -> QueueOut:
        return cls(
            **cls.values(queue, handlers),
            warnings=handlers.warnings(queue.handler, queue.handler_options),
            state=activity.state,
            health=activity.health,
            problems=[ProblemOut.of(one) for one in activity.problems],
            oldest_message=None if activity.oldest is None else OldestOut(**vars(activity.oldest)),
            drain_seconds=activity.drain_seconds,
            rate=figures.rate,
            failed_share=figures.failed,
            p95=figures.p95,
            unserved=activity.unserved,
            assignments=[AssignmentOut.of(a) for a in activity.assignments] if with_assignments else None,
            last_job=None if activity.last_job is None else JobOut.of(activity.last_job),
        )


class NotifiedOut(Out):
    """Who processes a queue that was notified."""

    name: str = Field(examples=["orders"])
    assigned: bool = Field(description="whether it is being processed now", examples=[True])
    assignments: list[AssignmentOut] | None = Field(
        description="its assignments; null without the permission jobs.view_assignment"
    )


class LeaseOut(Out):
    """The lease of the master that leads."""

    holder: str = Field(examples=["host-1-4700-0a1b2c3d"])
    term: int = Field(description="rises with each election", examples=[3])
    elected_at: Timestamp
    expires_at: Timestamp = Field(description="renewed after a third of its lifetime")

    @classmethod
    def of(cls, lease: Lease) -> LeaseOut:
        return cls(**{name: getattr(lease, name) for name in cls.model_fields})


class LeaderOut(Out):
    """The master that leads."""

    leader: LeaseOut | None = Field(description="null: nobody")


class WindowOut(Out):
    """The work of a span of time. Durations are seconds of handlers, and null if nothing was handled."""

    seconds: float = Field(description="length of the span", examples=[60])
    processed: int = Field(examples=[480])
    failed: int = Field(description="attempts that failed, without retries that handlers asked for", examples=[3])
    retried: int = Field(description="attempts for which the handler asked for a retry", examples=[1])
    rejected: int = Field(description="messages that a handler rejected to the dead-letter queue", examples=[0])
    timed_out: int = Field(description="attempts that exceeded their time limit", examples=[0])
    requests: int = Field(description="requests to SQS", examples=[130])
    purposes: dict[str, int] = Field(
        description="the requests by what they were made for, as far as it is known: listen, sweep, receive, delete, "
        "visibility, send; those of listeners and of the sweep are counted every ten minutes",
        examples=[{"listen": 30, "receive": 60, "delete": 40}],
    )
    cost: float = Field(description="what the requests cost in USD, by SQS_PRICE_PER_MILLION", examples=[0.000052])
    mean: float | None = Field(examples=[0.031])
    p50: float | None = Field(examples=[0.024])
    p95: float | None = Field(examples=[0.09])
    p99: float | None = Field(examples=[0.21])


class PointOut(WindowOut):
    """A step of a series."""

    at: Timestamp = Field(description="its beginning")


class SeriesOut(Out):
    """The work done on a queue over time. The last step is not over yet."""

    name: str = Field(examples=["orders"])
    step: float = Field(description="seconds", examples=[60])
    points: list[PointOut]


class WaitingOut(Out):
    """A queue that waits for a worker."""

    queue: str = Field(examples=["orders"])
    visible: int = Field(examples=[120])
    since: Timestamp | None


class StatsOut(Out):
    """The numbers of a dashboard."""

    at: Timestamp
    queues: dict[str, int] = Field(
        description="by state",
        examples=[{"active": 2, "waiting": 0, "backing-off": 0, "unserved": 0, "paused": 1, "idle": 40}],
    )
    ill: int = Field(description="queues that have a problem", examples=[1])
    health: dict[str, int] = Field(
        description="queues by problem; one that has several counts for each", examples=[{"failing": 1, "stuck": 0}]
    )
    visible: int = Field(description="visible messages in all queues", examples=[120])
    in_flight: int = Field(examples=[10])
    delayed: int = Field(examples=[0])
    dead_letters: int = Field(examples=[2])
    last_minute: WindowOut
    last_hour: WindowOut
    failures: int = Field(description="kinds of failure on record", examples=[3])
    failures_last_hour: int = Field(description="kinds that were seen in the last hour", examples=[1])
    workers: int = Field(description="live workers", examples=[2])
    workers_draining: int = Field(examples=[0])
    capacity: int = Field(description="consumers that all workers together can run at once", examples=[10])
    capacity_used: int = Field(description="assigned consumers", examples=[2])
    leader: str | None = Field(examples=["host-1-4700-0a1b2c3d"])
    oldest_waiting: WaitingOut | None = Field(description="the queue that waits longest for a worker")
    malformed_documents: int = Field(
        description=f"documents in MongoDB that are left out because they are malformed, up to {MALFORMED_FOUND}; "
        "the admin's overview names them",
        examples=[0],
    )

    @classmethod
    def of(cls, numbers: Statistics, malformed_documents: int) -> StatsOut:
        values = {name: getattr(numbers, name) for name in cls.model_fields if name != "malformed_documents"}
        waiting = numbers.oldest_waiting
        return cls(
            **values
            | {
                "last_minute": WindowOut(**vars(numbers.last_minute)),
                "last_hour": WindowOut(**vars(numbers.last_hour)),
                "oldest_waiting": None if waiting is None else WaitingOut(**vars(waiting)),
                "malformed_documents": malformed_documents,
            }
        )
