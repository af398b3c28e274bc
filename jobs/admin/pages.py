"""What the pages of processing have in common."""

from __future__ import annotations

from django.urls import NoReverseMatch

from jobs.models import JobStatus
from queuesite.admin.records import address

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
