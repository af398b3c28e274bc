"""Helps a loop survive an outage of a server: logs it once, backs off with jitter, and logs its end."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from queuesite.foundation.logs import get_logger

log = get_logger(__name__)

#: Seconds that the first and the longest pause last, before jitter.
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 5.0


class Outage:
    """The state of a server that may be away. Threads that use the same server share one, so it is logged only once."""

    def __init__(self, what: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.what = what
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._since: float | None = None
        self._pause = FIRST_PAUSE

    @property
    def active(self) -> bool:
        """Whether the last attempt failed."""
        return self._since is not None

    def failed(self, error: Exception) -> float:
        """Record a failed attempt. Returns how many seconds to wait before the next."""
        with self._lock:
            if self._since is None:
                self._since = self._monotonic()
                log.warning("outage_began", what=self.what, error=f"{type(error).__name__}: {error}"[:500])
            pause = self._pause
            self._pause = min(self._pause * 2, LONGEST_PAUSE)
        return pause * random.uniform(0.5, 1.0)

    def over(self) -> None:
        """Record an attempt that succeeded."""
        with self._lock:
            if self._since is not None:
                log.info("outage_over", what=self.what, seconds=round(self._monotonic() - self._since, 1))
                self._since = None
                self._pause = FIRST_PAUSE
