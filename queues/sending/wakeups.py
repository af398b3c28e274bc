"""Announcing to the masters that a queue has messages. A send never waits for it or fails because of it.

Nothing depends on it: the master looks at every queue in time (`SWEEP_MAX_SECONDS`). A wake-up only makes it sooner.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from contextlib import suppress

from queues.sending.destinations import QUEUES, directory
from queuesite.foundation.errors import MongoUnavailable
from queuesite.foundation.threads import supervised

#: How long the end of a process waits for its last wake-ups, in seconds.
LAST_SECONDS = 1.0


class WakeUps:
    """Writes wake-ups in a thread of its own, those of one moment together. Safe for threads and across forks."""

    def __init__(self) -> None:
        self._reset()
        self._handed_over = False
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._due: set[str] = set()
        self._writing = False
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()

    def request(self, queue_url: str) -> None:
        """Have the queue looked at soon, if this process has MongoDB."""
        if not self._handed_over and not directory.mongodb.known:
            return
        with self._changed:
            self._due.add(queue_url)
            self._changed.notify_all()
            if self._thread is None and not self._handed_over:
                self._thread = supervised("wake-ups", self._write, self._died)
                self._thread.start()
                atexit.register(self.flush, LAST_SECONDS)

    def hand_over(self) -> None:
        """Keep this process from using MongoDB, and collect its wake-ups for its worker: for consumers."""
        self._handed_over = True
        directory.mongodb.allowed = False

    def take(self) -> tuple[str, ...]:
        """The URLs of queues to be woken that are handed over, since the last call."""
        if not self._handed_over:
            return ()
        with self._changed:
            taken, self._due = tuple(sorted(self._due)), set()
            return taken

    def flush(self, seconds: float) -> bool:
        """Wait until all wake-ups are written, for at most `seconds`; whether they are."""
        deadline = time.monotonic() + seconds
        with self._changed:
            return self._changed.wait_for(lambda: not self._due and not self._writing, deadline - time.monotonic())

    def _died(self, error: BaseException) -> None:
        """Have the next request start another thread: the process has more to do than this."""
        with self._changed:
            self._thread = None

    def _write(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._due))
                urls, self._due, self._writing = list(self._due), set(), True
            try:
                wake(urls)
            finally:
                with self._changed:
                    self._writing = False
                    self._changed.notify_all()


def wake(queue_urls: list[str]) -> None:
    """Ask the master to look at these queues. If MongoDB is away, it finds their messages later by itself."""
    change = {"$currentDate": {"wakeRequestedAt": True}}
    with suppress(MongoUnavailable):  # it has been logged
        directory.mongodb.ask(QUEUES, lambda queues: queues.update_many({"queueUrl": {"$in": queue_urls}}, change))


wake_ups = WakeUps()
