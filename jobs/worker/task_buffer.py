"""Keeps what consumers reported of Django's tasks until MongoDB has taken it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from queues import task_results
from queues.task_calls import Change
from queuesite.foundation.logs import get_logger

log = get_logger(__name__)

#: Least seconds between two writes: somebody may be waiting for a result.
FLUSH_SECONDS = 0.5
#: Most characters (of arguments, results and tracebacks) that are kept while MongoDB is away; the oldest are dropped.
MAX_CHARACTERS = 32_000_000


class TaskBuffer:
    """Changes of tasks, in the order in which they were reported."""

    def __init__(self, most: int = MAX_CHARACTERS) -> None:
        self._most = most
        self._changes: dict[tuple[str, str], Change] = {}
        self._size = 0
        self._dropped = 0
        self._not_before = 0.0

    def add(self, changes: Iterable[Change], worker: str, job_id: object = "") -> None:
        """Keep what consumers of this worker reported, each change in place of an earlier one of the same attempt."""
        for change in changes:
            if change.attempt is not None:  # a consumer may have been forked before its worker had its id
                change = replace(change, attempt=replace(change.attempt, worker=worker, job=str(job_id)))
            before = self._changes.pop(change.key, None)
            self._size += change.size - (before.size if before is not None else 0)
            self._changes[change.key] = change
        while self._size > self._most and len(self._changes) > 1:
            oldest = self._changes.pop(next(iter(self._changes)))
            self._size -= oldest.size
            self._dropped += 1

    def due(self) -> float:
        """When there is something to write (monotonic clock)."""
        return self._not_before if self._changes else float("inf")

    def flush_if_due(self, now: float) -> None:
        """Write what there is, unless that was done a moment ago. Raises as `flush` does."""
        if now >= self.due():
            self.flush(now)

    def flush(self, now: float) -> None:
        """Write what there is. Raises pymongo's errors, and then keeps it."""
        if self._dropped:
            log.error("task_results_dropped", count=self._dropped, meaning="MongoDB was away for too long")
            self._dropped = 0
        self._not_before = now + FLUSH_SECONDS
        if self._changes:
            task_results.write(self._changes.values())
            self._changes, self._size = {}, 0
