"""Telling MongoDB what became of runs: of those that ended, gave up their places, or have been going on for long."""

from __future__ import annotations

from contextlib import suppress

from jobs.repositories import jobs
from jobs.worker import ending
from jobs.worker.runs import ActiveRun, Runs
from queuesite.config import Config
from queuesite.errors import StaleTransition

#: Assignments begun, and runs recorded, in one turn of the worker at most: each takes some milliseconds, and heartbeats
#: must go on while there are hundreds.
STEPS_PER_TURN = 10


def record(runs: Runs, config: Config, now: float) -> bool:
    """Record what is due at `now` (monotonic clock); whether there is more than one turn should do.

    Raises pymongo's errors, and finds what MongoDB did not take still then.
    """
    steps = 0
    for run in runs:
        if steps >= STEPS_PER_TURN:
            return True
        if run.report is not None:
            if run.place_given_up:
                assert run.released is not None
                ending.finish(run.assignment, run.queue, run.worker_id, run.report, run.released)
            else:
                ending.record(run.assignment, run.queue, run.worker_id, run.report)
            runs.remove(run)
        elif run.released is not None and not run.place_given_up and _may_finish(run, runs, config):
            ending.give_up_place(run.assignment, run.queue, run.worker_id, run.released)
            run.place_given_up = True
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
    """Whether a run may give up its place: each is a process, and no more may finish than may be at work.

    Those of a pruned worker have lost their places already.
    """
    return run in runs.finishing or len(runs.finishing) < config.max_load
