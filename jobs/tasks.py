"""Background tasks of processing, run by django-q2 (`manage.py qcluster`)."""

from __future__ import annotations

from django_q.models import Schedule

from jobs import alerts
from queuesite.foundation.databases import mongodb_errors


def make_schedules() -> None:
    """Create the schedules. It runs after each migration, so a release can bring new ones."""
    Schedule.objects.get_or_create(
        name="send alerts",
        defaults={"func": "jobs.tasks.send_alerts", "schedule_type": Schedule.MINUTES, "minutes": 1},
    )


@mongodb_errors()
def send_alerts() -> int:
    """Each minute: send the notices that are due (ALERT_URLS); return how many alerts people were told of."""
    return alerts.check()
