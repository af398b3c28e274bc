"""Recording runs in MongoDB: those that ended, those that only finish, and those that have lasted long."""

from __future__ import annotations

from contextlib import suppress

from jobs.models import EndReason
from jobs.repositories import jobs
from jobs.worker import completion
from jobs.worker.runs import ActiveRun, Runs
from jobs.worker.task_buffer import TaskBuffer
from queues.tripping import recovered
from queuesite.foundation.config import Config
from queuesite.foundation.errors import StaleTransition

#: Most assignments begun, and runs recorded, in one turn of the worker: each takes some milliseconds, and heartbeats
#: must go on while there are hundreds.
STEPS_PER_TURN = 10


def record(runs: Runs, tasks: TaskBuffer, config: Config, now: float) -> bool:
    """Record what is due at `now` (monotonic clock); whether there is more than one turn should do.

    `tasks` has what was reported of the runs' tasks: of a crashed run it is written first.

    Raises pymongo's errors; the next call then records what MongoDB did not take.
    """
    if any(run.report is not None and run.report.reason is EndReason.CRASHED for run in runs):
        tasks.flush(now)
    steps = 0
    for run in runs:
        if steps >= STEPS_PER_TURN:
            return True
        if run.queue.trip_count and run.report is None and (counts := run.counts()) is not None and counts.processed:
            recovered(run.queue.id)
            run.queue.trip_count = 0
        if run.report is not None:
            if run.capacity_freed:
                assert run.finishing_report is not None
                completion.finish(run.assignment, run.queue, run.worker_id, run.report, run.finishing_report)
            else:
                completion.record(run.assignment, run.queue, run.worker_id, run.report)
            runs.remove(run)
        elif run.finishing_report is not None and not run.capacity_freed and _may_finish(run, runs, config):
            completion.free_capacity(run.assignment, run.queue, run.worker_id, run.finishing_report)
            run.capacity_freed = True
            runs.only_finish(run)
        elif now >= run.counts_due and (counts := run.counts()) is not None:
            run.counts_due = now + config.job_max_seconds
            with suppress(StaleTransition):  # abandoned by a master that took this worker for dead
                jobs.progress(run.assignment.job_id, run.worker_id, counts)
        else:
            continue
        steps += 1
    return False


def _may_finish(run: ActiveRun, runs: Runs, config: Config) -> bool:
    """Whether a run's capacity may be freed. Each run is a process, so no more may finish than may be at work.

    The runs of a pruned worker have lost their assignments already.
    """
    return run in runs.finishing or len(runs.finishing) < config.max_load
