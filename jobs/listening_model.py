"""The collection `listening`. `jobs.models` has the others."""

from __future__ import annotations

from django.db import models
from django_mongodb_backend.fields import ObjectIdAutoField, ObjectIdField


class Listening(models.Model):
    """An idle queue given to a worker's listener, which holds a long poll on it. Unique by `queueUrl`.

    It stays while the worker processes the queue; the worker polls only in between.
    """

    id = ObjectIdAutoField(primary_key=True)
    queue_url = models.CharField("queue URL", max_length=500, db_column="queueUrl")
    queue_id = ObjectIdField(db_column="queueId")
    worker = models.CharField(max_length=200)
    term = models.PositiveIntegerField()
    created_at = models.DateTimeField(db_column="createdAt")

    class Meta:
        db_table = "listening"
        managed = False
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.queue_url} by {self.worker}"
