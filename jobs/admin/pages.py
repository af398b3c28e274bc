"""What the pages of processing have in common."""

from __future__ import annotations

from typing import Any

from django.urls import NoReverseMatch

from jobs import reads
from jobs.models import JobStatus
from queuesite.admin.records import address
from queuesite.foundation.databases import database_clock

#: How a job's status is coloured; the word stands there too.
STATUS_VARIANTS = {
    JobStatus.QUEUED: "default",
    JobStatus.RUNNING: "info",
    JobStatus.COMPLETED: "success",
    JobStatus.FAILED: "danger",
    JobStatus.ABANDONED: "warning",
}


def queue_address(queue_id: object) -> str | None:
    """The page of a queue, or None where the admin has none."""
    try:
        return address("queues_queue_change", queue_id)
    except NoReverseMatch:
        return None


def leader() -> dict[str, Any]:
    """The lease by which a master leads (None: none does), and for how many seconds it has."""
    lease = reads.leader()
    now = database_clock.now()
    return {"lease": lease, "led_for": None if lease is None else max(0.0, (now - lease.elected_at).total_seconds())}
