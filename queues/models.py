"""The `queues` collection: the definitions of queues.

Attribute names are Python's, field names in MongoDB are the reference system's (`db_column`). The collection and its
indexes are made by `queuesite.foundation.databases.ensure_indexes`, which any number of processes may run at once, and
not by Django's migrations, which would clash; hence `managed = False`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django_mongodb_backend.fields import ObjectIdAutoField, ObjectIdField

from queues.event_model import Event  # noqa: F401 - Django looks for models here
from queues.naming import is_fifo
from queues.settings import SETTINGS, Setting, bounds
from queues.sqs import Depth

if TYPE_CHECKING:
    from queues.settings import Settings
else:
    Settings = object  # whose fields are added below


class Queue(models.Model, Settings):
    """A queue's definition, and what was last seen of it."""

    id = ObjectIdAutoField(primary_key=True)
    name = models.CharField(max_length=80, unique=True)
    queue_url = models.CharField("queue URL", max_length=500, unique=True, db_column="queueUrl")
    dlq_url = models.CharField(
        "dead-letter queue URL", max_length=500, null=True, blank=True, default=None, db_column="dlqUrl"
    )
    managed = models.BooleanField(
        default=True,
        editable=False,
        help_text="false: others own the queue; its attributes in SQS are read and followed, never written",
    )
    queue_arn = models.CharField(
        "queue ARN", max_length=300, null=True, default=None, editable=False, db_column="queueArn"
    )
    retention_seconds = models.PositiveIntegerField(
        null=True,
        default=None,
        editable=False,
        db_column="retentionSeconds",
        help_text="how long SQS keeps a message",
    )
    max_message_bytes = models.PositiveIntegerField(
        null=True,
        default=None,
        editable=False,
        db_column="maxMessageBytes",
        help_text="largest message that the queue takes",
    )
    vanished_at = models.DateTimeField(
        null=True,
        default=None,
        editable=False,
        db_column="vanishedAt",
        help_text="when a sync first did not find the queue in SQS any more",
    )
    wake_requested_at = models.DateTimeField(null=True, default=None, editable=False, db_column="wakeRequestedAt")
    last_receive_seen_at = models.DateTimeField(
        null=True,
        default=None,
        editable=False,
        db_column="lastReceiveSeenAt",
        help_text="when a look last saw a message that has one receive left, or none",
    )
    served_until = models.DateTimeField(null=True, default=None, editable=False, db_column="servedUntil")
    crash_count = models.PositiveIntegerField(
        default=0, editable=False, db_column="crashCount", help_text="runs in a row that failed"
    )
    empty_runs = models.PositiveIntegerField(
        default=0, editable=False, db_column="emptyRuns", help_text="runs in a row that received no message"
    )
    not_before = models.DateTimeField(
        null=True,
        default=None,
        editable=False,
        db_column="notBefore",
        help_text="end of the backoff after a failed run",
    )
    trip_count = models.PositiveIntegerField(
        default=0, editable=False, db_column="tripCount", help_text="runs in a row that tripped: a dependency was down"
    )
    trip_reason = models.TextField(
        null=True, default=None, editable=False, db_column="tripReason", help_text="why the last of them did"
    )
    counted_failures = models.JSONField(
        null=True,
        default=None,
        editable=False,
        db_column="countedFailures",
        help_text="failures that a breaker counted in runs that a time limit ended: when (epoch seconds), and how many",
    )
    crashing_since = models.DateTimeField(
        null=True,
        default=None,
        editable=False,
        db_column="crashingSince",
        help_text="when the first of the runs in a row failed",
    )
    tripped_since = models.DateTimeField(
        null=True,
        default=None,
        editable=False,
        db_column="trippedSince",
        help_text="when the first of the runs in a row tripped",
    )
    attempts: models.JSONField[dict[str, Any]] = models.JSONField(
        default=dict,
        editable=False,
        db_column="recentAttempts",
        help_text="attempts of the last minutes (see queues.health.attempts)",
    )
    last_attempt_at = models.DateTimeField(
        null=True,
        default=None,
        editable=False,
        db_column="lastAttemptAt",
        help_text="when an attempt last ended, well or not",
    )
    failing_since = models.DateTimeField(
        null=True,
        default=None,
        editable=False,
        db_column="failingSince",
        help_text="since when the share of failed attempts has been too large, as of the last attempt",
    )
    retrying_since = models.DateTimeField(
        null=True,
        default=None,
        editable=False,
        db_column="retryingSince",
        help_text="since when handlers have asked for retries and no attempt has completed, as of the last attempt",
    )
    reported_problems = models.CharField(
        max_length=100,
        default="",
        editable=False,
        db_column="reportedProblems",
        help_text="the problems that events reported last (see queues.health.changes)",
    )
    problems_reported_at = models.DateTimeField(
        null=True, default=None, editable=False, db_column="problemsReportedAt", help_text="as of when they did"
    )
    pause_changed_at = models.DateTimeField(
        null=True,
        default=None,
        editable=False,
        db_column="pauseChangedAt",
        help_text="when it was last paused or resumed",
    )
    pause_changed_by = models.CharField(
        max_length=200, default="", editable=False, db_column="pauseChangedBy", help_text="who did that"
    )
    pause_reason = models.CharField(
        max_length=500, default="", editable=False, db_column="pauseReason", help_text="and why"
    )
    pause_change = models.CharField(
        max_length=32,
        default="",
        editable=False,
        db_column="pauseChange",
        help_text="the action that did it, so that it can be undone for the queues that it changed",
    )
    troubled_until = models.DateTimeField(
        null=True,
        default=None,
        editable=False,
        db_column="troubledUntil",
        help_text="messages that were received before are handled alone until then",
    )
    depth_visible = models.PositiveIntegerField("visible", default=0, editable=False, db_column="depthVisible")
    depth_in_flight = models.PositiveIntegerField("in flight", default=0, editable=False, db_column="depthInFlight")
    depth_delayed = models.PositiveIntegerField("delayed", default=0, editable=False, db_column="depthDelayed")
    dead_letters = models.PositiveIntegerField("dead letters", default=0, editable=False, db_column="deadLetters")
    dead_letters_observed_at = models.DateTimeField(
        null=True, default=None, editable=False, db_column="deadLettersObservedAt"
    )
    dead_letters_grown_at = models.DateTimeField(
        null=True,
        default=None,
        editable=False,
        db_column="deadLettersGrownAt",
        help_text="when a count last found more dead letters than the one before",
    )
    visible_since = models.DateTimeField(
        null=True,
        default=None,
        editable=False,
        db_column="visibleSince",
        help_text="since when each observation has found visible messages",
    )
    depth_observed_at = models.DateTimeField(null=True, default=None, editable=False, db_column="depthObservedAt")
    created_at = models.DateTimeField(null=True, default=None, editable=False, db_column="createdAt")
    updated_at = models.DateTimeField(null=True, default=None, editable=False, db_column="updatedAt")
    synced_at = models.DateTimeField(null=True, default=None, editable=False, db_column="syncedAt")

    class Meta:
        db_table = "queues"
        managed = False
        ordering = ("name",)
        permissions = (
            ("send_message", "Can send messages"),
            ("peek_message", "Can look at messages, which costs each of them a receive"),
            ("change_handler", "Can choose a queue's handler and its options: what becomes of its messages"),
            ("purge_queue", "Can purge queues"),
            ("redrive_queue", "Can redrive dead letters"),
        )

    def __str__(self) -> str:
        return self.name

    @classmethod
    def limits(cls) -> dict[str, tuple[int, int]]:
        """Lowest and highest value of each numeric setting, for the check of malformed documents."""
        return bounds()

    @property
    def fifo(self) -> bool:
        """Whether it is a FIFO queue, as its name says."""
        return is_fifo(self.name)

    @property
    def region(self) -> str | None:
        """The AWS region of a queue that others own; None: the configured one, where all others are."""
        return self.queue_arn.split(":")[3] if self.queue_arn else None

    @property
    def account(self) -> str | None:
        """The AWS account of a queue that others own."""
        return self.queue_arn.split(":")[4] if self.queue_arn else None

    @property
    def wake_pending(self) -> bool:
        """Whether a wake-up came that no consumer has looked at the queue since."""
        return self.wake_requested_at is not None and (
            self.served_until is None or self.wake_requested_at > self.served_until
        )

    @property
    def depth(self) -> Depth:
        """What the queue held when it was last observed (`depth_observed_at`)."""
        return Depth(self.depth_visible, self.depth_in_flight, self.depth_delayed)


def _field(setting: Setting) -> models.Field[Any, Any]:
    """The model's field of a setting. Limits that the configuration lowers are checked by the services."""
    common: dict[str, Any] = {
        "verbose_name": setting.words,
        "default": setting.declared_default,
        "null": setting.optional,
        "blank": setting.optional or setting.type is dict,
        "db_column": setting.field_name,
        "help_text": setting.description("empty"),
    }
    if setting.type is int:
        if setting.limits is not None and setting.capped_by is None:
            low, high = setting.limits
            common["validators"] = [MinValueValidator(low), MaxValueValidator(high)]
        return models.PositiveIntegerField(**common)
    if setting.type is bool:
        return models.BooleanField(**common)
    if setting.type is dict:
        return models.JSONField(**common)
    return models.CharField(max_length=setting.max_length, **common)


for _setting in SETTINGS.values():
    Queue.add_to_class(_setting.name, _field(_setting))


class DepthSample(models.Model):
    """What was waiting in one minute: in a queue that held something, or in all together (without a queue).

    A queue without a sample, in a minute that has one of all together, held nothing.
    """

    id = models.CharField(max_length=50, primary_key=True, db_column="_id")
    queue_id = ObjectIdField(null=True, default=None, db_column="queueId")
    minute = models.DateTimeField()
    visible = models.PositiveIntegerField(default=0)
    in_flight = models.PositiveIntegerField(default=0, db_column="inFlight")
    delayed = models.PositiveIntegerField(default=0)
    expires_at = models.DateTimeField(db_column="expiresAt")

    class Meta:
        db_table = "depths"
        managed = False

    def __str__(self) -> str:
        return f"{self.queue_id or 'all'} {self.minute}"
