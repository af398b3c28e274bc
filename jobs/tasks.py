"""Background tasks of processing, run by django-q2 (`manage.py qcluster`)."""

from __future__ import annotations

from django_q.models import Schedule

from jobs import alerts, mongodb_notice
from queuesite.foundation.databases import mongodb_errors
from queuesite.foundation.errors import MongoUnavailable


def make_schedules() -> None:
    """Create the schedules. It runs after each migration, so a release can bring new ones."""
    Schedule.objects.get_or_create(
        name="send alerts",
        defaults={"func": "jobs.tasks.send_alerts", "schedule_type": Schedule.MINUTES, "minutes": 1},
    )


def send_alerts() -> int:
    """Each minute: send the notices that are due (ALERT_URLS); return of how many alerts.

    If MongoDB does not answer, the notice says so. Raises `MongoUnavailable`.
    """
    try:
        with mongodb_errors():
            sent = alerts.check()
            mongodb_notice.answers()
    except MongoUnavailable as error:
        mongodb_notice.away(error)
        raise
    return sent
