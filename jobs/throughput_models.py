"""The work that was done, by minutes and by hours."""

from __future__ import annotations

from django.db import models
from django_mongodb_backend.fields import ObjectIdField

from jobs import histogram


class WorkDone(models.Model):
    """What was done with a queue's messages in a span of time, which begins at `minute`."""

    id = models.CharField(max_length=50, primary_key=True, db_column="_id")
    queue_id = ObjectIdField(null=True, default=None, db_column="queueId")
    queue_name = models.CharField("queue", max_length=80, default="", db_column="queueName")
    minute = models.DateTimeField(null=True, default=None)
    processed = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField("failed attempts", default=0)
    rejected = models.PositiveIntegerField(default=0)
    timed_out = models.PositiveIntegerField("timed out", default=0, db_column="timedOut")
    retried = models.PositiveIntegerField("retries that handlers asked for", default=0)
    requests = models.PositiveIntegerField("requests to SQS", default=0)
    durations: models.JSONField[dict[str, int]] = models.JSONField(default=dict)
    duration_sum = models.FloatField("seconds in handlers", default=0.0, db_column="durationSum")
    #: The requests by what they were made for (`queues.sqs.PURPOSES`).
    purposes: models.JSONField[dict[str, int]] = models.JSONField(default=dict)
    #: How long messages waited for their first handling (`jobs.histogram.WAIT_BOUNDS`).
    waits: models.JSONField[dict[str, int]] = models.JSONField(default=dict)
    wait_sum = models.FloatField("seconds of waiting", default=0.0, db_column="waitSum")
    expires_at = models.DateTimeField(null=True, default=None, db_column="expiresAt")

    class Meta:
        abstract = True
        managed = False
        ordering = ("-minute",)

    def __str__(self) -> str:
        return f"{self.queue_name} {self.minute or 'in all'}"

    @property
    def buckets(self) -> tuple[int, ...]:
        """The handlings by duration (`jobs.histogram`)."""
        return histogram.from_document(self.durations)

    @property
    def wait_buckets(self) -> tuple[int, ...]:
        """The waits for a first handling (`jobs.histogram.WAIT_BOUNDS`)."""
        return histogram.from_document(self.waits, histogram.WAIT_BOUNDS)


class Throughput(WorkDone):
    """What was done in one minute; without a minute: in all. See `repositories.throughput`."""

    class Meta(WorkDone.Meta):
        abstract = False
        db_table = "throughput"
        verbose_name_plural = "throughput"


class ThroughputHour(WorkDone):
    """What was done in one hour."""

    class Meta(WorkDone.Meta):
        abstract = False
        db_table = "throughputHours"
        default_permissions = ()


class ThroughputOfAll(WorkDone):
    """What was done in one minute on all queues together."""

    class Meta(WorkDone.Meta):
        abstract = False
        db_table = "throughputOfAll"
        default_permissions = ()


class ThroughputHourOfAll(WorkDone):
    """What was done in one hour on all queues together."""

    class Meta(WorkDone.Meta):
        abstract = False
        db_table = "throughputHoursOfAll"
        default_permissions = ()
