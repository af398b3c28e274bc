"""Keeps the number of recorded attempts within ATTEMPTS_MAX: the leader removes the oldest of the busiest queues."""

from __future__ import annotations

import random
import threading

from jobs.repositories import attempts
from queuesite.foundation.databases import MongoError
from queuesite.foundation.errors import ServerError
from queuesite.foundation.logs import get_logger
from queuesite.foundation.threads import joined, supervised

log = get_logger(__name__)

#: Seconds between two looks at their number.
EACH_SECONDS = 60.0
#: What is removed leaves room for more, so that it is not done at each look.
_LEFT = 0.9


class AttemptUpkeep:
    """Looks in a thread, once a minute."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._due = float("-inf")
        self._thread = threading.Thread()

    def turn(self, now: float) -> None:
        """Look if that is due, without waiting for it."""
        if now >= self._due and not self._thread.is_alive():
            self._due = now + EACH_SECONDS * random.uniform(0.9, 1.1)
            self._thread = supervised("attempts", self._run)
            self._thread.start()

    def join(self, timeout: float) -> bool:
        """Wait for the thread; whether it has ended, or was never started."""
        return joined(self._thread, timeout)

    def _run(self) -> None:
        try:
            removed = trim(self._most)
        except (ServerError, MongoError) as error:
            log.warning("attempts_not_trimmed", error=str(error)[:300])
        else:
            if removed:
                log.info("attempts_trimmed", removed=removed, most=self._most)


def trim(most: int) -> int:
    """Remove attempts if there are more than `most`; return how many. Raises pymongo's errors."""
    if attempts.estimated_count() <= most:
        return 0
    counts = attempts.counts_by_queue()
    each = attempts.share(counts, int(most * _LEFT))
    return sum(attempts.keep_newest(name, each) for name, count in counts.items() if count > each)
