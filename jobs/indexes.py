"""All indexes of the system's collections. Masters, workers and `up` make them at their start, the leader each hour."""

from __future__ import annotations

from jobs.alert_models import Notice, Silence
from jobs.attempt_model import Attempt
from jobs.handler_models import HandlerHour, HandlerVersion
from jobs.listening_model import Listening
from jobs.models import Assignment, Departure, Failure, FailureCount, Job, Master
from jobs.repositories import (
    assignments,
    attempts,
    failures,
    handlers,
    jobs,
    listening,
    masters,
    notices,
    silences,
    throughput,
    workers,
)
from jobs.throughput_models import Throughput, ThroughputHour, ThroughputHourOfAll, ThroughputOfAll
from queues import event_repository, task_results
from queues import repository as queues
from queues.event_model import Event
from queuesite.foundation import databases


def ensure_indexes() -> None:
    """Create what is missing and follow a changed JOB_RETENTION_DAYS; any number of processes may run it at once."""
    databases.ensure_indexes(
        {
            **queues.INDEXES,
            Event: event_repository.indexes(),
            Assignment: assignments.INDEXES,
            Listening: listening.INDEXES,
            Job: jobs.indexes(),
            Silence: silences.INDEXES,
            Notice: notices.indexes(),
            Attempt: attempts.indexes(),
            Failure: failures.indexes(),
            FailureCount: failures.COUNT_INDEXES,
            Departure: workers.departure_indexes(),
            Master: masters.INDEXES,
            Throughput: throughput.INDEXES,
            ThroughputHour: throughput.INDEXES,
            ThroughputOfAll: throughput.INDEXES_OF_ALL,
            ThroughputHourOfAll: throughput.INDEXES_OF_ALL,
            HandlerVersion: handlers.version_indexes(),
            HandlerHour: handlers.HOUR_INDEXES,
        }
    )
    task_results.ensure_indexes()


def ensure_deciding() -> None:
    """Create the unique index that decides who gets a consumer's assignment. Without it nothing may be assigned."""
    databases.ensure_indexes({Assignment: assignments.INDEXES, Listening: listening.INDEXES})
