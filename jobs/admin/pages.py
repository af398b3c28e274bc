"""What the pages of jobs, failures, workers and masters share."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from jobs import reads
from jobs.models import JobStatus
from queues.health.rules import Problem
from queuesite.admin.records import address
from queuesite.foundation.databases import database_clock

#: The colour of a job's status, which is also shown in words.
STATUS_VARIANTS = {
    JobStatus.QUEUED: "default",
    JobStatus.RUNNING: "info",
    JobStatus.COMPLETED: "success",
    JobStatus.FAILED: "danger",
    JobStatus.ABANDONED: "warning",
}


def queue_address(name: object) -> str:
    """The address of the page of a queue, which its name or its id finds."""
    return address("queues_queue_change", name)


def leader() -> dict[str, Any]:
    """The lease of the master that leads (None: none does), and for how many seconds it has led."""
    lease = reads.leader()
    now = database_clock.now()
    return {"lease": lease, "led_for": None if lease is None else max(0.0, (now - lease.elected_at).total_seconds())}


def problem_rows(problems: Iterable[Problem], now: datetime) -> list[dict[str, Any]]:
    """What is wrong with a queue, as `_health.html` shows it; `seconds` since it began, None if nobody knows."""
    return [
        {
            "problem": one,
            "label": one.health.label,
            "seconds": None if one.since is None else max(0.0, (now - one.since).total_seconds()),
        }
        for one in problems
    ]
