"""The app of what exists."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class QueuesConfig(AppConfig):
    """Queues, messages and handlers."""

    name = "queues"
    default_auto_field = "django_mongodb_backend.fields.ObjectIdAutoField"

    def ready(self) -> None:
        """Have the schedules made once Django's own tables are there."""
        post_migrate.connect(_make_schedules, sender=self)


def _make_schedules(using: str, **_: Any) -> None:
    if using == "default":
        from queues.tasks import make_schedules

        make_schedules()
