"""All indexes of the system's collections. Masters, workers and `up` make them at their start."""

from __future__ import annotations

from jobs.models import Assignment, Failure, Job, Throughput
from jobs.repositories import assignments, failures, jobs, throughput
from queues import repository as queues
from queuesite import databases


def ensure_indexes() -> None:
    """Create what is missing and follow a changed JOB_RETENTION_DAYS; any number of processes may run it at once."""
    databases.ensure_indexes(
        {
            **queues.INDEXES,
            Assignment: assignments.INDEXES,
            Job: jobs.indexes(),
            Failure: failures.indexes(),
            Throughput: throughput.INDEXES,
        }
    )
