"""Background tasks, run by django-q2 (`manage.py qcluster`)."""

from __future__ import annotations

from django_q.models import Schedule

from queues.sync import sync


def make_schedules() -> None:
    """Create the schedules that the system needs; run after each migration, so a new one comes with its release."""
    Schedule.objects.get_or_create(
        name="sync queues to SQS",
        defaults={"func": "queues.tasks.sync_queues", "schedule_type": Schedule.HOURLY},
    )


def sync_queues() -> str:
    """The hourly sync from the database to SQS; what it did is the task's result."""
    return sync().summary
