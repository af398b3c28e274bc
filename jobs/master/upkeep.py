"""The indexes' upkeep: they vanish with a collection that is dropped, or with the data, and nothing fails for that."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from jobs.indexes import ensure_deciding, ensure_indexes
from jobs.repositories import assignments
from queuesite.databases import MongoError
from queuesite.errors import ServerError
from queuesite.logs import get_logger
from queuesite.threads import supervised

log = get_logger(__name__)

#: Seconds between two times that all indexes are ensured.
EACH_SECONDS = 3_600.0
#: Seconds until the next try after one that failed.
RETRY_SECONDS = 60.0


class IndexUpkeep:
    """Makes the indexes again that are missing: at each term's start, and each hour."""

    def __init__(self, ensure: Callable[[], None] = ensure_indexes) -> None:
        self._ensure = ensure
        self._due = float("-inf")
        self._thread = threading.Thread()

    def begin(self) -> None:
        """Make certain of what decides races before the term's first insert. Raises `ServerError`, pymongo's errors.

        All other indexes are due.
        """
        try:
            ensure_deciding()
        except (ServerError, MongoError):
            # While it was missing, one slot may have been given out twice.
            if not assignments.remove_duplicates():
                raise
            ensure_deciding()
        self._due = float("-inf")

    def turn(self, now: float) -> None:
        """Ensure all indexes if that is due, in a thread: an index of millions of documents takes minutes to build."""
        if now >= self._due and not self._thread.is_alive():
            self._due = now + EACH_SECONDS * random.uniform(0.9, 1.1)
            self._thread = supervised("indexes", self._run)
            self._thread.start()

    def _run(self) -> None:
        try:
            self._ensure()
        except (ServerError, MongoError) as error:
            self._due = time.monotonic() + RETRY_SECONDS
            log.warning("indexes_not_ensured", error=str(error)[:300])
