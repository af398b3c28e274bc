"""The indexes' upkeep: they vanish with a dropped collection, or with all data, and no write fails for that."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

from jobs.indexes import ensure_deciding, ensure_indexes
from jobs.repositories import assignments
from queuesite.databases import MongoError
from queuesite.errors import ServerError
from queuesite.logs import get_logger
from queuesite.threads import joined, supervised

log = get_logger(__name__)

#: Seconds between two times that all indexes are ensured.
EACH_SECONDS = 3_600.0
#: Seconds until the next try after one that failed.
RETRY_SECONDS = 60.0


class IndexUpkeep:
    """Restores missing indexes at each term's start, and each hour."""

    def __init__(self, ensure: Callable[[], None] = ensure_indexes) -> None:
        self._ensure = ensure
        self._due = float("-inf")
        self._thread = threading.Thread()

    def begin(self) -> None:
        """Ensure the index that decides races before the term's first insert; all others are due from now on.

        Raises `ServerError` and pymongo's errors.
        """
        try:
            ensure_deciding()
        except (ServerError, MongoError):
            # While it was missing, one queue's consumer may have been assigned twice.
            if not assignments.remove_duplicates():
                raise
            ensure_deciding()
        self._due = float("-inf")

    def turn(self, now: float) -> None:
        """Ensure all indexes if that is due, in a thread: an index of millions of documents takes minutes to build."""
        if now >= self._due and not self._thread.is_alive():
            self._due = now + EACH_SECONDS * random.uniform(0.9, 1.1)
            self._thread = supervised("indexes", lambda: self._run(now))
            self._thread.start()

    def join(self, timeout: float) -> bool:
        """Wait for the thread; whether it has ended, or was never started."""
        return joined(self._thread, timeout)

    def _run(self, now: float) -> None:
        try:
            self._ensure()
        except (ServerError, MongoError) as error:
            self._due = now + RETRY_SECONDS
            log.warning("indexes_not_ensured", error=str(error)[:300])
