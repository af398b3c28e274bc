"""The collection `events`. `queues.models` has the others."""

from __future__ import annotations

from django.db import models
from django_mongodb_backend.fields import ObjectIdAutoField


class Event(models.Model):
    """Something that happened to the system. Kept for EVENT_RETENTION_DAYS. See `queues.events`."""

    id = ObjectIdAutoField(primary_key=True)
    at = models.DateTimeField()
    kind = models.CharField(max_length=40)
    queue_name = models.CharField("queue", max_length=80, null=True, default=None, db_column="queueName")
    subject = models.CharField("worker, master or handler", max_length=200, null=True, default=None)
    actor = models.CharField("by", max_length=200, default="")
    text = models.TextField()

    class Meta:
        db_table = "events"
        managed = False
        ordering = ("-at",)
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.at}: {self.text}"
