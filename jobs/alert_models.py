"""What notices are sent of, what was sent, and silences."""

from __future__ import annotations

from typing import Any

from django.db import models
from django_mongodb_backend.fields import ObjectIdAutoField


class AlertState(models.TextChoices):
    """Where the notices of an alert stand."""

    PENDING = "pending"  #: no notice has been sent
    SENDING = "sending"  #: a process is sending it, or died at it
    SENT = "sent"
    ENDING = "ending"  #: it is over, and a process is sending the notice of that, or died at it


class Alert(models.Model):
    """A reason for a notice. `_id` is the queue's id (or `system`) and the problem, so that there is one of each."""

    id = models.CharField(max_length=150, primary_key=True, db_column="_id")
    subject = models.CharField("queue", max_length=80, default="")
    problem = models.CharField(max_length=50, default="")
    sentence = models.TextField(default="")
    state = models.CharField(max_length=10, choices=AlertState.choices, default=AlertState.PENDING)
    first_seen_at = models.DateTimeField(db_column="firstSeenAt")
    last_seen_at = models.DateTimeField(db_column="lastSeenAt")
    claimed_at = models.DateTimeField(null=True, default=None, db_column="claimedAt")
    #: Sendings in a row that failed, why the last one did, and when it is tried again.
    failures = models.PositiveIntegerField(default=0)
    error = models.TextField(default="")
    try_again_at = models.DateTimeField(null=True, default=None, db_column="tryAgainAt")

    class Meta:
        db_table = "alerts"
        managed = False
        verbose_name_plural = "notices"
        default_permissions = ("view",)
        permissions = (
            ("silence_alert", "Can silence notices, and end silences"),
            ("test_alert", "Can send a test notice"),
        )
        ordering = ("first_seen_at",)

    def __str__(self) -> str:
        return f"{self.subject}: {self.sentence}"

    @property
    def key(self) -> str:
        """The queue's id, or `system`: what a silence of it has as its `_id`."""
        return self.id.partition(":")[0]


class AlertCheck(models.Model):
    """When the background tasks last looked for what to send. There is one document."""

    id = models.CharField(max_length=20, primary_key=True, db_column="_id")
    at = models.DateTimeField()

    class Meta:
        db_table = "alertChecks"
        managed = False
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.id} at {self.at}"


class NoticeKind(models.TextChoices):
    """What a notice says."""

    BEGUN = "begun", "problems"
    OVER = "over", "problems that are over"
    TEST = "test", "a test"


class Notice(models.Model):
    """A message that was sent, or that no address took. Kept for EVENT_RETENTION_DAYS."""

    id = ObjectIdAutoField(primary_key=True)
    at = models.DateTimeField()
    kind = models.CharField(max_length=10, choices=NoticeKind.choices)
    #: Who asked for it; empty: the system.
    actor = models.CharField("by", max_length=200, default="")
    title = models.TextField()
    body = models.TextField()
    #: How each address answered, as `jobs.notices.Answer` has it.
    answers: models.JSONField[list[dict[str, Any]]] = models.JSONField(default=list)

    class Meta:
        db_table = "notices"
        managed = False
        default_permissions = ()
        ordering = ("-at",)

    def __str__(self) -> str:
        return f"{self.at}: {self.title}"


class Silence(models.Model):
    """Until when no notices are sent about a queue, or (`_id: "system"`) at all; who began it, when and why."""

    id = models.CharField(max_length=50, primary_key=True, db_column="_id")
    subject = models.CharField("queue", max_length=80, default="")
    until = models.DateTimeField()
    begun_at = models.DateTimeField(null=True, default=None, db_column="begunAt")
    actor = models.CharField("by", max_length=200, default="")
    reason = models.CharField(max_length=500, default="")

    class Meta:
        db_table = "silences"
        managed = False
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.subject or 'everything'} until {self.until}"
