"""The app of who processes what exists."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class JobsConfig(AppConfig):
    """Jobs, failures, assignments, workers, masters."""

    name = "jobs"
    verbose_name = "Processing"
    default_auto_field = "django_mongodb_backend.fields.ObjectIdAutoField"

    def ready(self) -> None:
        """Have the catalogue of handlers know what workers announce, and the schedules made."""
        from jobs import announcements
        from queues.handlers import catalogue

        catalogue.set_source(announcements.live)
        post_migrate.connect(_make_schedules, sender=self)


def _make_schedules(using: str, **_: Any) -> None:
    if using == "default":
        from jobs.tasks import make_schedules

        make_schedules()
