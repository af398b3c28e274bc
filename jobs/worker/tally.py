"""What a worker's consumers told of their work and its failures, until MongoDB has taken it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from bson import ObjectId

from jobs import failures, histogram
from jobs.consumer.meter import Work
from jobs.repositories import failures as failure_repository
from jobs.repositories import throughput
from jobs.repositories.failures import Seen
from jobs.repositories.throughput import Row
from queues.models import Queue
from queuesite.databases import database_clock


class Tally:
    """Counts by queue and minute, and failures by queue and kind. While MongoDB is away it grows by these alone."""

    def __init__(self) -> None:
        self._rows: dict[tuple[ObjectId, datetime], Row] = {}
        self._queues: dict[ObjectId, Queue] = {}
        self._kinds: dict[ObjectId, failures.Kinds] = {}

    def failed(self, queue: Queue, seen: tuple[failures.Failure, ...]) -> None:
        """Count failures of a queue."""
        if seen:
            self._queues[queue.id] = queue
            self._kinds.setdefault(queue.id, failures.Kinds()).add(seen)

    def worked(self, queue: Queue, work: Work, at: float) -> None:
        """Count work on a queue that was reported at `at` (monotonic clock)."""
        if not work:
            return
        minute = database_clock.at(at).replace(second=0, microsecond=0)
        key = (queue.id, minute)
        row = self._rows.get(key) or Row(queue.id, queue.name, minute, durations=(0,) * histogram.BUCKETS)
        self._rows[key] = replace(
            row,
            processed=row.processed + work.processed,
            failed=row.failed + work.failed,
            rejected=row.rejected + work.rejected,
            timed_out=row.timed_out + work.timed_out,
            requests=row.requests + work.requests,
            durations=histogram.added(row.durations, work.durations),
            duration_sum=row.duration_sum + work.seconds,
        )

    def flush(self) -> None:
        """Write what there is. Raises pymongo's errors, and has what was not written still then."""
        if self._rows:
            throughput.add(list(self._rows.values()))
            self._rows.clear()
        taken = {queue_id: kinds.take() for queue_id, kinds in self._kinds.items() if len(kinds)}
        if not taken:
            return
        try:
            failure_repository.add(
                Seen(self._queues[queue_id], one) for queue_id, kinds in taken.items() for one in kinds
            )
        except Exception:
            for queue_id, kinds in taken.items():
                self._kinds[queue_id].add(kinds)
            raise
        self._queues.clear()
        self._kinds.clear()
