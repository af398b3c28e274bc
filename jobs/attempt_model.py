"""The collection `attempts`. `jobs.models` has the others."""

from __future__ import annotations

from django.db import models
from django_mongodb_backend.fields import ObjectIdAutoField, ObjectIdField

from jobs.attempts import AttemptOutcome


class Attempt(models.Model):
    """One attempt at a message: every one that did not succeed, and a sample of those that did.

    Kept for ATTEMPT_RETENTION_DAYS, and at most ATTEMPTS_MAX of them. What it says may be personal: handlers log it.
    """

    id = ObjectIdAutoField(primary_key=True)
    message_id = models.CharField("message", max_length=100, db_column="messageId")
    queue_url = models.CharField("queue URL", max_length=500, db_column="queueUrl")
    queue_id = ObjectIdField(db_column="queueId")
    queue_name = models.CharField("queue", max_length=80, db_column="queueName")
    job_id = ObjectIdField(db_column="jobId")
    worker = models.CharField(max_length=200)
    handler = models.CharField(max_length=100)
    handler_version = models.CharField(max_length=100, null=True, default=None, db_column="handlerVersion")
    receive_count = models.PositiveIntegerField(db_column="receiveCount")
    started_at = models.DateTimeField(db_column="startedAt")
    waited = models.FloatField("seconds from the sending to the start", null=True, default=None)
    seconds = models.FloatField("seconds in the handler")
    outcome = models.CharField(max_length=20, choices=AttemptOutcome.choices)
    error_type = models.CharField("exception", max_length=200, default="", db_column="errorType")
    error = models.TextField(default="")
    fingerprint = models.CharField("kind of failure", max_length=32, null=True, default=None)
    dead_letter = models.BooleanField("became a dead letter", default=False, db_column="deadLetter")
    trace_id = models.CharField(max_length=32, null=True, default=None, db_column="traceId")
    log = models.TextField("what the handler logged last", default="")

    class Meta:
        db_table = "attempts"
        managed = False
        ordering = ("-started_at",)
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.queue_name}: attempt {self.receive_count} at {self.message_id}, {self.outcome}"
