"""The rescue: what dead workers leave behind is put right.

Everything is found by looking, nothing by remembering, and done in an order in which dying half-way leaves it to be
found again: job, queue, then assignment.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta

from jobs.models import Assignment, EndReason, Worker
from jobs.repositories import assignments as assignment_repository
from jobs.repositories import jobs as job_repository
from jobs.repositories import workers as worker_repository
from jobs.repositories.jobs import Counts
from queues import repository as queues
from queuesite.errors import StaleTransition
from queuesite.logs import get_logger

log = get_logger(__name__)

#: Age, in seconds, at which an unfinished job without an assignment is taken for an orphan: the two are written and
#: removed within milliseconds of each other.
ORPHAN_SECONDS = 60.0


def prune_stalled(workers: Iterable[Worker], now: datetime, stalled_after: float) -> list[Worker]:
    """Take out workers whose heartbeat is older than `stalled_after` seconds at `now` (the database's clock)."""
    pruned = []
    for worker in workers:
        age = (now - worker.heartbeat_at).total_seconds()
        if age > stalled_after and worker_repository.prune(worker.worker_id, worker.heartbeat_at):
            log.warning("worker_stalled", worker=worker.worker_id, heartbeat_age=round(age, 1))
            pruned.append(worker)
    return pruned


def rescue(orphans: Iterable[Assignment], departed: Iterable[Worker]) -> None:
    """End the assignments of workers that are gone: job abandoned, queue woken, assignment deleted."""
    last_counts = {
        str(entry.get("jobId")): Counts(entry.get("processed", 0), entry.get("failed", 0))
        for worker in departed
        for entry in worker.consumers
    }
    for assignment in orphans:
        counts = last_counts.get(str(assignment.job_id), Counts())
        reason = f"worker {assignment.worker} died, or was cut off, for its heartbeat had stopped"
        with suppress(StaleTransition):  # it had ended, or was never created
            job_repository.abandon(assignment.job_id, counts, EndReason.WORKER_DIED, reason)
        queues.wake(assignment.queue_id)
        try:
            assignment_repository.release(assignment.id, assignment.worker)
        except StaleTransition:
            continue  # released in the meantime
        log.warning("assignment_rescued", queue_url=assignment.queue_url, worker=assignment.worker)


def abandon_orphaned_jobs(assignments: Iterable[Assignment], now: datetime) -> int:
    """Give jobs a final status that no assignment belongs to any more; how many there were."""
    held = {assignment.job_id for assignment in assignments}
    limit = now - timedelta(seconds=ORPHAN_SECONDS)
    count = 0
    for job in job_repository.unfinished():
        if job.id not in held and job.last_modified < limit:
            try:
                job_repository.abandon(job.id, Counts(), EndReason.WORKER_DIED, "its assignment was gone")
            except StaleTransition:
                continue
            log.warning("job_abandoned", job_id=str(job.id), queue=job.queue_name)
            count += 1
    return count
