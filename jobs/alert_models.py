"""Alerts that people were told of or will be, and silences."""

from __future__ import annotations

from django.db import models


class AlertState(models.TextChoices):
    """Where the notices of an alert stand."""

    PENDING = "pending"  #: nobody was told yet
    TELLING = "telling"  #: a process is at it, or died at it
    TOLD = "told"
    ENDING = "ending"  #: it is over, and a process is telling so, or died at it


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
        default_permissions = ()
        ordering = ("first_seen_at",)

    def __str__(self) -> str:
        return f"{self.subject}: {self.sentence}"


class Silence(models.Model):
    """Until when nobody is told of a queue's problems, or (`_id: "system"`) of any."""

    id = models.CharField(max_length=50, primary_key=True, db_column="_id")
    subject = models.CharField("queue", max_length=80, default="")
    until = models.DateTimeField()

    class Meta:
        db_table = "silences"
        managed = False
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.subject or 'everything'} until {self.until}"
