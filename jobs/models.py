"""The collections of processing: `jobs`, `failures`, `assignments`, `workers`, `throughput`, `leases`.

Those of handlers are in `jobs.handler_models`, of listeners in `jobs.listening_model`, of attempts in
`jobs.attempt_model`, of the work that was done in `jobs.throughput_models`.

Field names in MongoDB are the reference system's. Collections and indexes are made by `jobs.indexes.ensure_indexes`,
not by migrations; hence `managed = False`.
"""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any

from django.db import models
from django_mongodb_backend.fields import ObjectIdAutoField, ObjectIdField

from jobs.alert_models import Alert, AlertCheck, Notice, Silence  # noqa: F401
from jobs.attempt_model import Attempt  # noqa: F401 - Django looks for models here
from jobs.handler_models import HandlerHour, HandlerVersion  # noqa: F401
from jobs.listening_model import Listening  # noqa: F401
from jobs.throughput_models import (  # noqa: F401
    Throughput,
    ThroughputHour,
    ThroughputHourOfAll,
    ThroughputOfAll,
)


class JobStatus(models.TextChoices):
    """Where a job stands. `completed`, `failed` and `abandoned` are final."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    ABANDONED = "abandoned"


class Trait(enum.Flag):
    """What follows from the reason for which a job ended."""

    #: The job failed. All other jobs that a worker ends are completed.
    FAILURE = enum.auto()
    #: The queue is assigned again only after a pause, longer each time in a row.
    BACKS_OFF = enum.auto()
    #: The queue is looked at again at once: messages may be left in it.
    WAKES_QUEUE = enum.auto()
    #: One of the messages may have killed the consumer, so the queue is handled with caution for a while.
    NEEDS_CAUTION = enum.auto()
    #: What the consumer has buffered is handled first: such ends are frequent, and not urgent.
    EMPTIES_BUFFER = enum.auto()
    #: The queue was seen empty, which satisfies the wake-ups from before.
    SATISFIES_QUEUE = enum.auto()
    #: What the handler needs is down: the queue backs off, and is then tried with one message at a time.
    TRIPS = enum.auto()


class EndReason(models.TextChoices):
    """Why a job ended: its value in the documents, its traits, and its words for people."""

    _traits: Trait

    def __new__(cls, value: str, traits: Trait) -> EndReason:
        member = str.__new__(cls, value)
        member._value_ = value
        member._traits = traits
        return member

    DRAINED = "drained", Trait.SATISFIES_QUEUE, "the queue was empty"
    YIELDED = "yielded", Trait.WAKES_QUEUE | Trait.EMPTIES_BUFFER, "it made room for a waiting queue"
    PAUSED = "paused", Trait.WAKES_QUEUE, "the queue was paused"
    SHUTDOWN = "shutdown", Trait.WAKES_QUEUE, "the worker was stopped"
    # A definition whose queue is not in SQS backs off until a sync creates it.
    QUEUE_MISSING = "queue-missing", Trait.BACKS_OFF, "the queue was deleted"
    RECYCLED = (
        "recycled",
        Trait.WAKES_QUEUE | Trait.EMPTIES_BUFFER,
        "the consumer had grown past its memory limit",
    )
    ERROR = "error", Trait.FAILURE | Trait.BACKS_OFF, "the consumer could not go on"
    CRASHED = "crashed", Trait.FAILURE | Trait.BACKS_OFF | Trait.NEEDS_CAUTION, "the consumer process died"
    TIMED_OUT = (
        "timed-out",
        Trait.FAILURE | Trait.BACKS_OFF,
        "a handler ran past its time limit, and its consumer was replaced",
    )
    TRIPPED = "tripped", Trait.TRIPS, "what the handler needs is down"
    # Written by a master, which abandons the job and wakes the queue by itself.
    WORKER_DIED = "worker-died", Trait(0), "the worker's heartbeat stopped"
    REVOKED = "revoked", Trait.WAKES_QUEUE, "the assignment was taken away"
    MISPLACED = "misplaced", Trait.WAKES_QUEUE, "the worker lacks the queue's handler, or is not in its pool"

    def has(self, trait: Trait) -> bool:
        """Whether it has this trait."""
        return trait in self._traits


class Job(models.Model):
    """One run of one queue by one consumer. Its counts are written each JOB_MAX_SECONDS, and finally at the end."""

    id = ObjectIdAutoField(primary_key=True)
    queue_name = models.CharField(max_length=80, db_column="queueName")
    queue_url = models.CharField("queue URL", max_length=500, db_column="queueUrl")
    queue_id = ObjectIdField(db_column="queueId")
    status = models.CharField(max_length=20, choices=JobStatus.choices, default=JobStatus.QUEUED)
    message_count = models.PositiveIntegerField("messages", default=0, db_column="messageCount")
    failed_count = models.PositiveIntegerField("failed attempts", default=0, db_column="failedCount")
    timed_out_count = models.PositiveIntegerField(
        "timed out", default=0, db_column="timedOutCount", help_text="failed attempts that ran past their time limit"
    )
    retried_count = models.PositiveIntegerField(
        "retries",
        default=0,
        db_column="retriedCount",
        help_text="attempts for which the handler asked for a retry: they are no failures",
    )
    processor = models.JSONField(default=dict)
    handler = models.CharField(max_length=100, null=True, default=None, help_text="the queue's when the run began")
    handler_version = models.CharField(max_length=100, null=True, default=None, db_column="handlerVersion")
    created_at = models.DateTimeField(db_column="createdAt")
    started_at = models.DateTimeField(null=True, default=None, db_column="startedAt")
    ended_at = models.DateTimeField(null=True, default=None, db_column="endedAt")
    last_modified = models.DateTimeField(db_column="lastModified")
    end_reason = models.CharField(
        max_length=20, choices=EndReason.choices, null=True, default=None, db_column="endReason"
    )
    last_error = models.TextField(null=True, default=None, db_column="lastError")

    class Meta:
        db_table = "jobs"
        managed = False
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return f"{self.queue_name} {self.id}"


class Failure(models.Model):
    """One kind of error of a queue, or of reason for retries. Unique by `(queueUrl, fingerprint)`."""

    id = ObjectIdAutoField(primary_key=True)
    queue_url = models.CharField("queue URL", max_length=500, db_column="queueUrl")
    queue_id = ObjectIdField(db_column="queueId")
    queue_name = models.CharField("queue", max_length=80, db_column="queueName")
    fingerprint = models.CharField(max_length=32)
    exception_type = models.CharField("exception", max_length=200, db_column="exceptionType")
    place = models.CharField(max_length=500)
    message = models.TextField()
    traceback = models.TextField()
    count = models.PositiveIntegerField(default=0)
    first_seen_at = models.DateTimeField(db_column="firstSeenAt")
    last_seen_at = models.DateTimeField(db_column="lastSeenAt")
    message_id = models.CharField("of message", max_length=100, null=True, default=None, db_column="messageId")
    receive_count = models.PositiveIntegerField(null=True, default=None, db_column="receiveCount")
    sample_body = models.TextField(null=True, default=None, db_column="sampleBody")
    #: See `jobs.retry_reasons`. None: it is a failure.
    retry_reason = models.TextField(null=True, default=None, db_column="retryReason")

    class Meta:
        db_table = "failures"
        managed = False
        ordering = ("-last_seen_at",)

    def __str__(self) -> str:
        return f"{self.queue_name}: {self.title} in {self.place}"

    @property
    def title(self) -> str:
        """What makes it this kind, in short."""
        if self.retry_reason is None:
            return self.exception_type
        return f"{self.exception_type.rpartition('.')[2]}: {self.retry_reason}"

    @property
    def short(self) -> str:
        """The title without the module of the exception's class, for lists."""
        return self.title if self.retry_reason is not None else self.exception_type.rpartition(".")[2]


class FailureCount(models.Model):
    """How often a kind of failure came up in one hour. See `repositories.failures`."""

    id = models.CharField(max_length=100, primary_key=True, db_column="_id")
    queue_url = models.CharField("queue URL", max_length=500, db_column="queueUrl")
    fingerprint = models.CharField(max_length=32)
    hour = models.DateTimeField()
    count = models.PositiveIntegerField(default=0)
    expires_at = models.DateTimeField(db_column="expiresAt")

    class Meta:
        db_table = "failureCounts"
        managed = False

    def __str__(self) -> str:
        return f"{self.fingerprint} {self.hour}"


class Assignment(models.Model):
    """A queue given to a worker, for as long as it is processed. Unique by `(queueUrl, slot)`.

    `slot` says which of its queue's consumers it is (0, 1, …). The field's name is the reference system's; everywhere
    else a slot is a place for a handler within a consumer.
    """

    id = ObjectIdAutoField(primary_key=True)
    queue_url = models.CharField("queue URL", max_length=500, db_column="queueUrl")
    slot = models.PositiveIntegerField(default=0)
    queue_id = ObjectIdField(db_column="queueId")
    worker = models.CharField(max_length=200)
    job_id = ObjectIdField(db_column="jobId")
    term = models.PositiveIntegerField()
    yield_requested_at = models.DateTimeField(null=True, default=None, db_column="yieldRequestedAt")
    created_at = models.DateTimeField(db_column="createdAt")

    class Meta:
        db_table = "assignments"
        managed = False
        ordering = ("created_at",)

    def __str__(self) -> str:
        return f"{self.queue_url} [{self.slot}] on {self.worker}"


class Worker(models.Model):
    """A live worker. `consumers` and `listener` are what its processes do, as of its last heartbeat."""

    worker_id = models.CharField(max_length=200, primary_key=True, db_column="_id")
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    started_at = models.DateTimeField(db_column="startedAt")
    heartbeat_at = models.DateTimeField(db_column="heartbeatAt")
    capacity = models.PositiveIntegerField(help_text="consumers that it runs at once")
    wanted_capacity = models.PositiveIntegerField(
        null=True, default=None, db_column="wantedCapacity", help_text="what was asked for; the worker follows"
    )
    capacity_limit = models.PositiveIntegerField(
        null=True,
        default=None,
        db_column="capacityLimit",
        help_text="the most that may be asked for (MAX_LOAD_LIMIT); null: an earlier release, which cannot follow",
    )
    draining = models.BooleanField(default=False)
    #: See `jobs.placement`. None: it is of an earlier release, and announces nothing.
    pool = models.CharField(max_length=50, null=True, default=None)
    version = models.CharField(max_length=100, default="", help_text="of the handlers' code")
    handlers: models.JSONField[list[dict[str, Any]]] = models.JSONField(default=list)
    listens = models.PositiveIntegerField(default=0, help_text="idle queues that it may listen to (LISTEN_QUEUES)")
    listener: models.JSONField[dict[str, Any]] = models.JSONField(default=dict)
    consumers: models.JSONField[list[dict[str, Any]]] = models.JSONField(default=list)

    class Meta:
        db_table = "workers"
        managed = False
        ordering = ("started_at",)

    def __str__(self) -> str:
        return self.worker_id

    def is_alive(self, now: datetime, stalled_after: float) -> bool:
        """Whether its heartbeat is at most this many seconds old."""
        return bool((now - self.heartbeat_at).total_seconds() <= stalled_after)


class DepartureReason(models.TextChoices):
    """Why a worker left."""

    SHUTDOWN = "shutdown", "it was stopped (SIGTERM or SIGINT)"
    DRAINED = "drained", "it was asked to drain"
    STALLED = "stalled", "its heartbeat stopped: it died, or was cut off"


class Departure(models.Model):
    """A worker that has left: when and why."""

    worker_id = models.CharField(max_length=200, primary_key=True, db_column="_id")
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    capacity = models.PositiveIntegerField()
    pool = models.CharField(max_length=50, null=True, default=None)
    started_at = models.DateTimeField(db_column="startedAt")
    heartbeat_at = models.DateTimeField("last heartbeat", db_column="heartbeatAt")
    departed_at = models.DateTimeField(db_column="departedAt")
    reason = models.CharField(max_length=20, choices=DepartureReason.choices)

    class Meta:
        db_table = "departures"
        managed = False
        ordering = ("-departed_at",)

    def __str__(self) -> str:
        return f"{self.worker_id}: {self.reason}"


class Master(models.Model):
    """A master that is there, leading or standing by."""

    master_id = models.CharField(max_length=200, primary_key=True, db_column="_id")
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    started_at = models.DateTimeField(db_column="startedAt")
    heartbeat_at = models.DateTimeField(db_column="heartbeatAt")
    #: The consumers that the queues want, by pool; None if it does not lead.
    slots_wanted: models.JSONField[dict[str, int] | None] = models.JSONField(
        null=True, default=None, db_column="slotsWanted"
    )

    class Meta:
        db_table = "masters"
        managed = False
        ordering = ("started_at",)

    def __str__(self) -> str:
        return self.master_id


class Lease(models.Model):
    """Who leads. One document, `_id: "master"`; each election raises its term."""

    name = models.CharField(max_length=50, primary_key=True, db_column="_id")
    holder = models.CharField(max_length=200, null=True)
    term = models.PositiveIntegerField()
    elected_at = models.DateTimeField(db_column="electedAt")
    expires_at = models.DateTimeField(db_column="expiresAt")

    class Meta:
        db_table = "leases"
        managed = False

    def __str__(self) -> str:
        return f"{self.name}: {self.holder} (term {self.term})"
