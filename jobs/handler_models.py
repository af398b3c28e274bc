"""The collections of handlers: `handlerVersions` and `handlerHours`. `jobs.models` has the others."""

from __future__ import annotations

from django.db import models


class HandlerVersion(models.Model):
    """A version of a handler, kept for JOB_RETENTION_DAYS after a worker last announced it."""

    id = models.CharField(max_length=250, primary_key=True, db_column="_id")
    name = models.CharField("handler", max_length=100)
    version = models.CharField(max_length=100)
    first_announced_at = models.DateTimeField(db_column="firstAnnouncedAt")
    announced_at = models.DateTimeField("last announced at", db_column="announcedAt")

    class Meta:
        db_table = "handlerVersions"
        managed = False
        default_permissions = ()
        verbose_name = "handler"
        ordering = ("name", "-first_announced_at")

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


class HandlerHour(models.Model):
    """What was done with a version of a handler in one hour, on all queues together."""

    id = models.CharField(max_length=250, primary_key=True, db_column="_id")
    name = models.CharField("handler", max_length=100)
    version = models.CharField(max_length=100)
    hour = models.DateTimeField()
    processed = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField("failed attempts", default=0)
    rejected = models.PositiveIntegerField(default=0)
    timed_out = models.PositiveIntegerField("timed out", default=0, db_column="timedOut")
    retried = models.PositiveIntegerField("retries that it asked for", default=0)
    #: Handlings by duration, and waits for a first one (`jobs.histogram`).
    durations: models.JSONField[dict[str, int]] = models.JSONField(default=dict)
    waits: models.JSONField[dict[str, int]] = models.JSONField(default=dict)
    duration_sum = models.FloatField("seconds in handlers", default=0.0, db_column="durationSum")
    expires_at = models.DateTimeField(db_column="expiresAt")

    class Meta:
        db_table = "handlerHours"
        managed = False
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.name} {self.version} {self.hour}"
