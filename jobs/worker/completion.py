"""Recording the end of a run: the job, then the queue, then the assignment.

A worker that dies between two of these steps leaves an assignment, which the master finds and rescues. Every step may
be repeated, so a worker that loses the connection half-way starts over.
"""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import timedelta

from jobs.consumer.backoff import crash_pause
from jobs.consumer.caution import caution
from jobs.consumer.report import RunReport
from jobs.consumer.windows import longest_window
from jobs.models import Assignment, EndReason, Trait
from jobs.repositories import assignments, jobs
from jobs.repositories.jobs import Counts, Processor
from queues import repository as queues
from queues import task_results
from queues.models import Queue
from queues.tripping import counted, recovered, tripped
from queuesite.foundation.databases import database_clock
from queuesite.foundation.errors import StaleTransition
from queuesite.foundation.logs import get_logger

log = get_logger(__name__)

#: Subtracted from the moment at which a queue was seen empty, in seconds, for the error of two clock readings: a
#: wake-up that came within it is not counted as satisfied, and costs one more look at the queue.
CLOCK_MARGIN = 0.05


def record(assignment: Assignment, queue: Queue, worker_id: str, report: RunReport) -> None:
    """Record what `report` says of the run of `queue` (as it was read at the run's start). Raises pymongo's errors."""
    _end_job(assignment, queue, worker_id, report)
    _update_queue(queue, report)
    release(assignment, worker_id)


def _end_job(assignment: Assignment, queue: Queue, worker_id: str, report: RunReport) -> None:
    failed = report.reason.has(Trait.FAILURE)
    counts = Counts(report.processed, report.failed, report.timed_out, report.retried)
    with suppress(StaleTransition):  # repeated, or abandoned by a master that took this worker for dead
        if failed:
            jobs.fail(assignment.job_id, worker_id, counts, report.reason, report.last_error or "unknown")
        else:
            jobs.complete(assignment.job_id, worker_id, counts, report.reason, report.last_error)
    if report.reason is EndReason.CRASHED:
        task_results.died([str(assignment.job_id)], report.last_error or "its consumer died")
    log.info(
        "job_failed" if failed else "job_completed",
        queue=queue.name,
        job_id=str(assignment.job_id),
        reason=report.reason.value,
        messages=report.processed,
        failed=report.failed,
        timed_out=report.timed_out,
        retried=report.retried,
        **({"error": report.last_error} if report.last_error else {}),
    )


def free_capacity(assignment: Assignment, queue: Queue, worker_id: str, report: RunReport) -> None:
    """End the assignment of a run that only finishes its handlers in flight, so that others may process the queue.

    Its job stays `running`, and its worker's heartbeat has it. If the worker dies before the assignment is gone, the
    master rescues that; if later, it abandons the jobs in the last heartbeat.
    """
    _update_queue(queue, report)
    release(assignment, worker_id)
    log.info(
        "capacity_freed",
        queue=queue.name,
        job_id=str(assignment.job_id),
        reason=report.reason.value,
        meaning="its handlers in flight go on",
    )


def finish(assignment: Assignment, queue: Queue, worker_id: str, report: RunReport, before: RunReport) -> None:
    """Record the end of a run whose capacity was freed when it reported `before`. Only its job is left to end."""
    if report.reason is not before.reason:  # its process died
        _update_queue(queue, report)
    else:
        if report.troubled_until is not None and report.troubled_until != before.troubled_until:
            _be_cautious(queue, report.troubled_until - time.monotonic())
        if report.attempts - report.processed > before.attempts - before.processed:
            queues.wake(queue.id)
    _end_job(assignment, queue, worker_id, report)


def hand_back(assignment: Assignment, queue: Queue | None, processor: Processor, report: RunReport) -> None:
    """End an assignment without beginning it. Raises pymongo's errors."""
    queue = queue or Queue(
        id=assignment.queue_id, name=assignment.queue_url.rpartition("/")[2], queue_url=assignment.queue_url
    )
    # The job may not exist yet, and every job gets a final status.
    jobs.create_many([(assignment, queue.name, processor)])
    if report.reason is EndReason.REVOKED:
        log.warning(
            "assignment_refused",
            queue=queue.name,
            term=assignment.term,
            cause=report.last_error or "the worker is full, or the master that assigned it leads no longer",
        )
    record(assignment, queue, processor.worker_id, report)


def release(assignment: Assignment, worker_id: str) -> None:
    """End an assignment; harmless if it has been taken away."""
    with suppress(StaleTransition):
        assignments.release(assignment.id, worker_id)


def _update_queue(queue: Queue, report: RunReport) -> None:
    """Note for the master whether to look at the queue again, and when."""
    if report.reason.has(Trait.NEEDS_CAUTION):
        # What it held is visible again by then at the latest, the message that killed it included.
        _be_cautious(queue, caution(longest_window(queue.visibility_timeout)))
    elif report.troubled_until is not None:
        _be_cautious(queue, report.troubled_until - time.monotonic())
    if report.reason.has(Trait.TRIPS):
        # As the consumer reckoned: a run that handled messages before it tripped began again at one.
        count = 1 if report.processed else queue.trip_count + 1
        until = database_clock.now() + timedelta(seconds=report.pause)
        tripped(queue.id, count, report.last_error or "unknown", until)
        log.warning("queue_tripped", queue=queue.name, because=report.last_error, trips=count, seconds=report.pause)
        return
    if report.processed and queue.trip_count:
        recovered(queue.id)
    if report.reason.has(Trait.BACKS_OFF):
        # A run that handled messages before it failed is not part of a crash loop.
        count = 1 if report.processed else queue.crash_count + 1
        pause = crash_pause(count)
        queues.failed(queue.id, count, database_clock.now() + timedelta(seconds=pause))
        if report.counted:
            counted(queue.id, [(database_clock.at(moment), number) for moment, number in report.counted])
        if pause:
            log.warning("queue_backs_off", queue=queue.name, failed_runs=count, seconds=pause)
    elif report.reason.has(Trait.SATISFIES_QUEUE) and report.empty_at is not None:
        # Not the present moment: MongoDB may have been away since, and have taken a wake-up when it was back.
        until = database_clock.at(report.empty_at) - timedelta(seconds=CLOCK_MARGIN)
        # A wake-up that was there when the run began came before its last look, whatever the clocks say.
        known = queue.wake_requested_at
        empty_runs = 0 if report.attempts else queue.empty_runs + 1
        queues.served(queue.id, until if known is None else max(until, known), empty_runs)
    elif report.reason.has(Trait.WAKES_QUEUE):
        queues.wake(queue.id)


def _be_cautious(queue: Queue, seconds: float) -> None:
    if seconds > 0:
        queues.troubled(queue.id, database_clock.now() + timedelta(seconds=seconds))
