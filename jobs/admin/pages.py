"""What the pages of jobs, failures, workers and masters share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from jobs import reads
from jobs.models import Job, JobStatus
from queues.health.rules import Problem
from queuesite.admin.records import address
from queuesite.foundation.quantities import noun_for
from queuesite.templatetags.quantities import count

#: The colour of a job's status, which is also shown in words.
STATUS_VARIANTS = {
    JobStatus.QUEUED: "default",
    JobStatus.RUNNING: "info",
    JobStatus.COMPLETED: "success",
    JobStatus.FAILED: "danger",
    JobStatus.ABANDONED: "warning",
}


def job_status(job: Job) -> dict[str, str]:
    """A job's status with its colour: one that completed is no success if attempts failed, or all were retried."""
    status = JobStatus(job.status)
    if status is JobStatus.COMPLETED and job.failed_count:
        return {"status": f"completed, {job.failed_count:,} failed", "variant": "warning"}
    if status is JobStatus.COMPLETED and job.retried_count and not job.message_count:
        return {"status": f"completed, {job.retried_count:,} retried", "variant": "warning"}
    return {"status": status.value, "variant": STATUS_VARIANTS[status]}


def queue_address(name: object) -> str:
    """The address of the page of a queue, which its name or its id finds."""
    return address("queues_queue_change", name)


def bounded(number: int) -> str:
    """A number that was counted up to one more than `reads.MOST_COUNTED`: `1,000+` beyond that."""
    return count(number) if number <= reads.MOST_COUNTED else f"{count(reads.MOST_COUNTED)}+"


def counted(number: int, noun: str) -> str:
    """Such a number with its noun: `1 job`, `1,000+ jobs`."""
    return f"{bounded(number)} {noun_for(number, noun)}"


def leader() -> dict[str, Any]:
    """The lease of the master that leads (None: none does)."""
    return {"lease": reads.leader()}


def problem_rows(problems: Iterable[Problem]) -> list[dict[str, Any]]:
    """What is wrong with a queue, as `_health.html` shows it."""
    return [{"problem": one, "label": one.health.label} for one in problems]
