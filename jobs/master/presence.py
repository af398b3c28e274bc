"""A master's own document: that it is there, and what its last plan found."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Callable, Mapping

from jobs.repositories import masters


class Presence:
    """Writes it when that is due; times are the monotonic clock's."""

    def __init__(self, holder: str, monotonic: Callable[[], float]) -> None:
        self._holder = holder
        self._monotonic = monotonic
        self._due = float("-inf")
        #: The consumers that the queues want, by pool, as the last plan found it.
        self.slots_wanted: Mapping[str, int] = {}

    def turn(self, *, leads: bool) -> None:
        """Write it if that is due. Raises pymongo's errors."""
        if self._monotonic() >= self._due:
            self._due = self._monotonic() + masters.HEARTBEAT_SECONDS * random.uniform(0.9, 1.0)
            masters.heartbeat(self._holder, socket.gethostname(), os.getpid(), self.slots_wanted if leads else None)

    def leave(self) -> None:
        """Remove it: the master ends. Raises pymongo's errors."""
        masters.leave(self._holder)
