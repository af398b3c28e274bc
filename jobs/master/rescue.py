"""The rescue: what dead workers leave behind is put right.

Everything is found by looking, nothing by remembering, and done in an order in which dying half-way leaves it to be
found again: job, queue, then assignment. It is done in chunks, each of them three writes: the leader's turn takes one,
so that it renews its lease and assigns queues while thousands of assignments wait.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from jobs.listening_model import Listening
from jobs.models import Assignment, Worker
from jobs.repositories import assignments as assignment_repository
from jobs.repositories import jobs as job_repository
from jobs.repositories import workers as worker_repository
from jobs.repositories.jobs import Abandoned, Counts, UnfinishedJob
from queues import repository as queues
from queues import task_results
from queuesite.foundation import documents
from queuesite.foundation.logs import get_logger

log = get_logger(__name__)

#: How many workers, assignments or jobs a turn deals with. A chunk takes the embedded server some 150 ms.
CHUNK = 50
#: Age, in seconds, at which an unfinished job without an assignment is taken for an orphan: the two are written and
#: removed within milliseconds of each other.
ORPHAN_SECONDS = 60.0


class Rescue:
    """The work of one term. What it remembers of dead workers, the counts of their last heartbeats, may get lost."""

    def __init__(self) -> None:
        self._counts: dict[str, Counts] = {}
        self._pruned: set[str] = set()

    def prune(self, workers: Iterable[Worker], now: datetime, stalled_after: float) -> set[str]:
        """Take out workers whose heartbeat is older than `stalled_after` seconds at `now` (the database's clock)."""
        pruned = set()
        silent = (worker for worker in workers if not worker.is_alive(now, stalled_after))
        for worker in islice(silent, CHUNK):
            if worker_repository.prune(worker.worker_id, worker.heartbeat_at):
                age = round((now - worker.heartbeat_at).total_seconds(), 1)
                log.warning("worker_stalled", worker=worker.worker_id, heartbeat_age=age)
                pruned.add(worker.worker_id)
                self._counts.update(last_counts(worker))
        self._pruned |= pruned
        return pruned

    def free(self, orphans: Sequence[Assignment]) -> list[Assignment]:
        """End a chunk of the assignments of workers that are gone: job abandoned, queue woken, assignment deleted.

        Answers those that it dealt with.
        """
        chunk = list(orphans[:CHUNK])
        if chunk:
            job_repository.abandon_many(
                Abandoned(
                    assignment.job_id,
                    f"worker {assignment.worker} died, or was cut off, for its heartbeat had stopped",
                    self._counts.pop(str(assignment.job_id), Counts()),
                )
                for assignment in chunk
            )
            task_results.died([str(assignment.job_id) for assignment in chunk], "its worker died")
            queues.wake_many(list({assignment.queue_id for assignment in chunk}))
            freed = assignment_repository.release_many(chunk)
            log.warning("assignments_rescued", count=freed, workers=sorted({one.worker for one in chunk}))
        return chunk

    def abandon_pruned(self) -> bool:
        """Abandon a chunk of the jobs that pruned workers went on with after their assignments; whether more are left.

        A worker gives an assignment up once it receives nothing more, while its long handlers finish.
        """
        if not self._pruned:
            return False
        left = job_repository.unfinished(workers=self._pruned)
        self._abandon(left[:CHUNK], "its worker's heartbeat had stopped")
        if len(left) > CHUNK:
            return True
        self._pruned.clear()
        self._counts.clear()
        return False

    def abandon_orphaned(self, held: Iterable[Assignment], workers: Iterable[Worker], now: datetime) -> bool:
        """Abandon a chunk of the jobs that nobody owns; whether more are left.

        `held` and `workers` are all assignments and all live workers, read before this.
        """
        old = job_repository.unfinished(before=now - timedelta(seconds=ORPHAN_SECONDS))
        lost = orphaned(old, {assignment.job_id for assignment in held}, workers)
        self._abandon(lost[:CHUNK], "its assignment was gone")
        return len(lost) > CHUNK

    def _abandon(self, lost: Sequence[UnfinishedJob], cause: str) -> None:
        if not lost:
            return
        count = job_repository.abandon_many(
            Abandoned(job.job_id, cause, self._counts.get(str(job.job_id), Counts())) for job in lost
        )
        task_results.died([str(job.job_id) for job in lost], cause)
        queues.wake_many(list({job.queue_id for job in lost}))
        log.warning("jobs_abandoned", count=count, cause=cause)


def remove_malformed() -> None:
    """Delete malformed assignments, workers and entries of listeners, which the system itself writes again.

    A malformed assignment would block one of its queue's consumers for good, and an entry its queue's listener. Its
    worker takes an assignment for gone and ends the run; the job is found as an orphan. A worker whose document is gone
    registers again.
    """
    for model in (Assignment, Listening, Worker):
        for error in documents.malformed(model, CHUNK):
            if documents.remove(model, error):
                log.error("document_removed", collection=error.collection, error=error.wrong, id=str(error.key))


def last_counts(worker: Worker) -> Mapping[str, Counts]:
    """What a worker said in its last heartbeat of each of its jobs, by id. Pure."""
    return {str(entry.get("jobId")): Counts.of_entry(entry) for entry in worker.consumers}


def orphaned(jobs: Iterable[UnfinishedJob], held: Collection[Any], workers: Iterable[Worker]) -> list[UnfinishedJob]:
    """The jobs that neither have an assignment (`held` are the job ids of all) nor run in a live worker. Pure.

    A worker that has given an assignment up, for it receives nothing more, reports the job until its handlers end.
    """
    reported = {(worker.worker_id, job_id) for worker in workers for job_id in last_counts(worker)}
    return [job for job in jobs if job.job_id not in held and (job.worker_id, str(job.job_id)) not in reported]
