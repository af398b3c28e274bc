"""What the site keeps in Django's own database: tokens, background tasks, groups and answers to repeat.

Times come from the clock of the web process that writes them, since nothing here depends on seconds.
"""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.utils import timezone


class Token(models.Model):
    """A bearer token of the API. The token itself is shown once, at its creation; only its hash, `digest`, is kept.

    A token has 256 random bits, so it cannot be guessed, and a plain SHA-256 protects it as well as a slow hash.
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=100, blank=True, help_text="what it is for")
    prefix = models.CharField(max_length=8, unique=True, editable=False, help_text="the part that is no secret")
    digest = models.CharField(max_length=64, unique=True, editable=False)
    read_only = models.BooleanField(default=False, help_text="allow only GET requests")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True, help_text="empty: it never expires")
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False, help_text="to the minute")
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return f"{self.prefix} of {self.user}"

    @property
    def state(self) -> str:
        """`valid`, `revoked` or `expired`."""
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at is not None and self.expires_at <= timezone.now():
            return "expired"
        return "valid"


def _task_id() -> str:
    return uuid.uuid4().hex


class TaskState(models.TextChoices):
    """The state of a background task. `completed` and `failed` are final."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


class BackgroundTask(models.Model):
    """A long operation that a user started. django-q2 runs it, but has neither progress nor owners."""

    id = models.CharField(max_length=32, primary_key=True, default=_task_id, editable=False)
    kind = models.CharField(max_length=50)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="who asked for it; empty: a user who is gone",
    )
    arguments = models.JSONField(default=dict)
    state = models.CharField(max_length=20, choices=TaskState.choices, default=TaskState.QUEUED)
    done = models.PositiveIntegerField(default=0)
    total = models.PositiveIntegerField(null=True)
    result = models.JSONField(null=True)
    error = models.TextField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-created_at",)
        indexes = (models.Index(fields=("owner", "created_at"), name="task_owner_created"),)

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"

    @property
    def owner_name(self) -> str:
        """The name of the user who started it, or empty if the user was deleted."""
        return "" if self.owner is None else self.owner.get_username()


class PredefinedGroup(models.Model):
    """A group that comes with the system, and the permissions that it has been granted: each is granted only once."""

    name = models.CharField(max_length=150, primary_key=True)
    group = models.OneToOneField(
        "auth.Group",
        null=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="empty: it was deleted, or somebody else's group had the name before",
    )
    granted = models.JSONField(default=list, help_text="`app.codename` of each permission")

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.name


class IdempotentRequest(models.Model):
    """A request with an `Idempotency-Key`, and its answer. The unique constraint on owner and key decides races."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64, help_text="hash of the request")
    status = models.PositiveIntegerField(null=True, help_text="of the answer; empty: not answered yet")
    answer = models.JSONField(null=True)
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("owner", "key"), name="idempotent_owner_key"),)

    def __str__(self) -> str:
        return f"{self.key} of {self.owner}"


class ServerWatch(models.Model):
    """What the background tasks know of a server that they cannot ask where to keep it: MongoDB."""

    name = models.CharField(max_length=20, primary_key=True)
    away_since = models.DateTimeField(null=True, default=None)
    #: When the notice that it is away was sent.
    notified_at = models.DateTimeField(null=True, default=None)
    #: Until when everything is silenced, as of when it last answered.
    silent_until = models.DateTimeField(null=True, default=None)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.name
