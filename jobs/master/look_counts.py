"""Counting the sweep's requests, so that people see what they cost."""

from __future__ import annotations

import random
import threading
from collections import Counter
from itertools import islice

from jobs.repositories import throughput
from jobs.repositories.throughput import Row
from queues.models import Queue
from queuesite.foundation.databases import MongoError, database_clock
from queuesite.foundation.logs import get_logger
from queuesite.foundation.threads import joined, supervised

log = get_logger(__name__)

#: Seconds between writes: ten thousand queues are thirty thousand updates, which must not keep a server busy.
WRITE_SECONDS = 600.0
#: How many queues are written at once, and how long to rest in between, in seconds.
WRITTEN_AT_ONCE = 200
REST_SECONDS = 1.0


class LookCounts:
    """Counts looks by queue, and adds them to the throughput in a thread. Those of a leader that dies are lost."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._queues: dict[str, Queue] = {}
        self._due = float("-inf")
        self._stopping = threading.Event()
        self._thread = threading.Thread()

    def note(self, queue: Queue) -> None:
        """Count a look at a queue."""
        self._counts[queue.queue_url] += 1
        self._queues[queue.queue_url] = queue

    def turn(self, now: float) -> None:
        """Write if that is due at `now` (monotonic clock)."""
        if self._due == float("-inf"):
            self._due = now + WRITE_SECONDS * random.uniform(0.5, 1.0)
        if now < self._due or not self._counts or self._thread.is_alive():
            return
        self._due = now + WRITE_SECONDS
        counts, queues = self._counts, self._queues
        self._counts, self._queues = Counter(), {}
        self._thread = supervised("look-counts", lambda: self._write(counts, queues))
        self._thread.start()

    def stop(self) -> None:
        """Have the thread end after what it writes now."""
        self._stopping.set()

    def join(self, timeout: float) -> bool:
        """Wait for the thread; whether it has ended, or was never started."""
        return joined(self._thread, timeout)

    def _write(self, counts: Counter[str], queues: dict[str, Queue]) -> None:
        left = iter(counts.items())
        while (some := list(islice(left, WRITTEN_AT_ONCE))) and not self._stopping.is_set():
            try:
                minute = database_clock.now().replace(second=0, microsecond=0)
                throughput.add(
                    Row(queues[url].id, queues[url].name, minute, requests=n, purposes={"sweep": n}) for url, n in some
                )
            except MongoError as error:
                log.warning("looks_not_counted", count=len(some), error=str(error)[:300])
            self._stopping.wait(REST_SECONDS)
