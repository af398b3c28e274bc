"""Keeps what a worker's consumers reported of their work and its failures, until MongoDB has taken it.

Reports are kept by the monotonic clock, and get their minute by the database's clock only when they are written. So a
worker goes on taking reports while MongoDB is away.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime

from bson import ObjectId

from jobs import failures
from jobs.consumer.meter import NONE, WorkCounts
from jobs.repositories import failures as failure_repository
from jobs.repositories import handlers, throughput
from jobs.repositories.failures import Seen
from jobs.repositories.handlers import Done
from jobs.repositories.throughput import Row
from jobs.worker.attempt_buffer import AttemptBuffer
from jobs.worker.task_buffer import TaskBuffer
from queues.models import Queue
from queues.sqs import PURPOSES
from queuesite.foundation.databases import database_clock

#: Reports within so many seconds are kept as one, so a minute's counts may be off by as much.
STEP_SECONDS = 5.0


class StatsBuffer:
    """Counts by queue and time, and failures by queue and kind.

    While MongoDB is away it grows by a row for each queue and step in which there was work.
    """

    def __init__(self) -> None:
        self.tasks = TaskBuffer()
        self.attempts = AttemptBuffer()
        #: By queue and step of the monotonic clock.
        self._work: dict[tuple[ObjectId, int], tuple[Queue, WorkCounts]] = {}
        #: By handler, version and step.
        self._by_version: dict[tuple[str, str, int], WorkCounts] = {}
        self._queues: dict[ObjectId, Queue] = {}
        self._groups: dict[ObjectId, failures.FailureGroups] = {}

    def failed(self, queue: Queue, seen: tuple[failures.FailureGroup, ...]) -> None:
        """Count failures of a queue."""
        if seen:
            self._queues[queue.id] = queue
            self._groups.setdefault(queue.id, failures.FailureGroups()).add(seen)

    def worked(self, queue: Queue, work: WorkCounts, at: float, handler: str = "", version: str | None = None) -> None:
        """Count work on a queue, by a version of a handler, that was reported at `at` (monotonic clock)."""
        if not work:
            return
        step = int(at / STEP_SECONDS)
        before = self._work.get((queue.id, step))
        self._work[queue.id, step] = (queue, work if before is None else before[1].plus(work))
        if version is not None:
            key = (handler, version, step)
            self._by_version[key] = self._by_version.get(key, NONE).plus(work)

    def requested(self, queue: Queue, purposes: Mapping[str, int], at: float) -> None:
        """Count requests of the listener for a queue, by their purpose, that were reported at `at`."""
        counts = tuple(purposes.get(purpose, 0) for purpose in PURPOSES)
        self.worked(queue, WorkCounts(requests=sum(counts), purposes=counts), at)

    def flush(self) -> None:
        """Write what there is. Raises pymongo's errors, and then keeps what was not written."""
        self.tasks.flush(time.monotonic())
        self._flush_counts()
        self.attempts.flush()

    def _flush_counts(self) -> None:
        if self._work:
            throughput.add(self._rows())
            self._work.clear()
        if self._by_version:
            handlers.add(self._done())
            self._by_version.clear()
        taken = {queue_id: kinds.take() for queue_id, kinds in self._groups.items() if len(kinds)}
        if not taken:
            return
        try:
            failure_repository.add(
                Seen(self._queues[queue_id], one) for queue_id, kinds in taken.items() for one in kinds
            )
        except Exception:
            for queue_id, kinds in taken.items():
                self._groups[queue_id].add(kinds)
            raise
        self._queues.clear()
        self._groups.clear()

    def _done(self) -> list[Done]:
        """The work by handler, version and hour of the database's clock."""
        by_hour: dict[tuple[str, str, datetime], WorkCounts] = {}
        for (name, version, step), work in self._by_version.items():
            hour = database_clock.at(step * STEP_SECONDS).replace(minute=0, second=0, microsecond=0)
            by_hour[name, version, hour] = by_hour.get((name, version, hour), NONE).plus(work)
        return [
            Done(
                name,
                version,
                hour,
                processed=work.processed,
                failed=work.failed,
                rejected=work.rejected,
                timed_out=work.timed_out,
                retried=work.retried,
                duration_sum=work.seconds,
                durations=work.durations,
                waits=work.waits,
            )
            for (name, version, hour), work in by_hour.items()
        ]

    def _rows(self) -> list[Row]:
        """The work by queue and minute of the database's clock."""
        by_minute: dict[tuple[ObjectId, datetime], tuple[Queue, WorkCounts]] = {}
        for (queue_id, step), (queue, work) in self._work.items():
            minute = database_clock.at(step * STEP_SECONDS).replace(second=0, microsecond=0)
            before = by_minute.get((queue_id, minute))
            by_minute[queue_id, minute] = (queue, work if before is None else before[1].plus(work))
        return [
            Row(
                queue.id,
                queue.name,
                minute,
                processed=work.processed,
                failed=work.failed,
                rejected=work.rejected,
                timed_out=work.timed_out,
                retried=work.retried,
                requests=work.requests,
                durations=work.durations,
                duration_sum=work.seconds,
                purposes=dict(zip(PURPOSES, work.purposes, strict=True)),
                waits=work.waits,
                wait_sum=work.waited,
            )
            for (_, minute), (queue, work) in by_minute.items()
        ]
