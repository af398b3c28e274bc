"""The failures that a worker's consumers told of, until MongoDB has taken them."""

from __future__ import annotations

from bson import ObjectId

from jobs import failures
from jobs.repositories import failures as repository
from jobs.repositories.failures import Seen
from queues.models import Queue


class FailureLog:
    """Counts by queue and kind. While MongoDB is away it grows by kinds alone, of which each queue has few."""

    def __init__(self) -> None:
        self._queues: dict[ObjectId, Queue] = {}
        self._kinds: dict[ObjectId, failures.Kinds] = {}

    def add(self, queue: Queue, seen: tuple[failures.Failure, ...]) -> None:
        """Count failures of a queue."""
        if seen:
            self._queues[queue.id] = queue
            self._kinds.setdefault(queue.id, failures.Kinds()).add(seen)

    def flush(self) -> None:
        """Write what there is. Raises pymongo's errors, and has everything still then."""
        taken = {queue_id: kinds.take() for queue_id, kinds in self._kinds.items() if len(kinds)}
        if not taken:
            return
        try:
            repository.add(Seen(self._queues[queue_id], one) for queue_id, kinds in taken.items() for one in kinds)
        except Exception:
            for queue_id, kinds in taken.items():
                self._kinds[queue_id].add(kinds)
            raise
        self._queues.clear()
        self._kinds.clear()
