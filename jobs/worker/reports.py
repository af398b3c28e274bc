"""What the consumers reported, noted in the worker's runs and statistics."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from bson import ObjectId

from jobs.worker.announcer import Announcer
from jobs.worker.pool import Pool
from jobs.worker.runs import Runs
from jobs.worker.stats_buffer import StatsBuffer


def take_note(
    pool: Pool,
    runs: Runs,
    stats: StatsBuffer,
    announcer: Announcer,
    followed: dict[ObjectId, dict[str, Any]],
    monotonic: Callable[[], float] = time.monotonic,
) -> None:
    """Note runs that ended or only finish, and what was done or failed in them.

    `followed` gets what SQS was found to hold of queues that others own, by their ids.
    """
    ended = pool.ended()
    now = monotonic()
    for job_id, news in pool.news():
        if (run := runs.of_job(job_id)) is not None:
            stats.tasks.add(news.tasks, run.worker_id, job_id)
            stats.failed(run.queue, news.failures)
            stats.worked(run.queue, news.work, now, run.settings.handler, announcer.version_of(run.settings.handler))
            stats.attempts.add(news.attempts, news.attempts_dropped, run, announcer.version_of(run.settings.handler))
            if news.followed:
                followed[run.queue.id] = news.followed
    for job_id, report in pool.finishing():
        if (run := runs.of_job(job_id)) is not None:
            run.finishing_report = report
    for job_id, report in ended:
        if (run := runs.of_job(job_id)) is not None:
            run.report, run.consumer = report, None
