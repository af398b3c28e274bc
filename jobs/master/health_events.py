"""Records events when queues begin and cease to have problems: the leader looks, in a thread."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from jobs.placement import context_of
from jobs.repositories import assignments, workers
from queues.health import changes
from queues.state import Context
from queuesite.foundation.databases import MongoError, database_clock
from queuesite.foundation.errors import ServerError
from queuesite.foundation.logs import get_logger
from queuesite.foundation.threads import joined, supervised

log = get_logger(__name__)

#: Shortest time between two looks, in seconds.
EACH_SECONDS = 5.0
#: A look is followed by a pause of so many times as long, so that it costs a hundredth of a core at most.
TIMES = 100


class HealthEvents:
    """Looks when that is due; `leads` says whether this process still does."""

    def __init__(self, leads: Callable[[], bool], stalled_after: float) -> None:
        """`stalled_after`: seconds without a heartbeat after which a worker counts as dead."""
        self._leads = leads
        self._stalled_after = stalled_after
        self._due = float("-inf")
        self._thread = threading.Thread()

    def turn(self, now: float) -> None:
        """Look if that is due at `now` (monotonic clock), without waiting for it."""
        if now >= self._due and not self._thread.is_alive():
            self._due = now + EACH_SECONDS * random.uniform(0.9, 1.0)
            self._thread = supervised("health-events", lambda: self._look(now))
            self._thread.start()

    def join(self, timeout: float) -> bool:
        """Wait for the thread; whether it has ended, or was never started."""
        return joined(self._thread, timeout)

    def _look(self, now: float) -> None:
        began = time.monotonic()
        try:
            while self._leads() and changes.report(self._context()) == changes.MOST:
                pass
        except (ServerError, MongoError) as error:
            log.warning("health_not_reported", error=str(error)[:300])
        self._due = max(self._due, now + TIMES * (time.monotonic() - began))

    def _context(self) -> Context:
        held, present, now = assignments.all_assignments(), workers.all_workers(), database_clock.now()
        return context_of(held, [one for one in present if one.is_alive(now, self._stalled_after)], now)
