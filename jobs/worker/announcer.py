"""What a worker announces of itself, and that the dates of its handlers' versions are kept."""

from __future__ import annotations

import random
from functools import cached_property

from jobs.placement import Announcement, announcement
from jobs.repositories import handlers
from queues.fleet import Offer
from queuesite.foundation.config import Config

#: Seconds between writes that keep the dates of its handlers' versions, which expire after JOB_RETENTION_DAYS.
ANNOUNCE_SECONDS = 3_600.0


class Announcer:
    """A worker's announcement, which stays the same while its process lives."""

    def __init__(self, config: Config, pool: str | None = None) -> None:
        """`pool` is the pool of workers that it is in; None: WORKER_POOL."""
        self._pool = pool or config.worker_pool
        self._app_version = config.app_version
        self._next = float("-inf")

    @cached_property
    def announcement(self) -> Announcement:
        """All that it announces. Raises `HandlerError` if a module of handlers fails."""
        return announcement(self._pool, self._app_version)

    @property
    def offer(self) -> Offer:
        """What of it decides which queues the worker can serve."""
        return self.announcement.offer

    def version_of(self, handler: str) -> str | None:
        """The version that the worker has of a handler; None: it has none."""
        return (self.offer.versions or {}).get(handler)

    def keep(self, now: float) -> None:
        """Write the versions if that is due (monotonic clock). Raises pymongo's errors."""
        if now >= self._next:
            handlers.announce(self.offer.versions or {})
            self._next = now + ANNOUNCE_SECONDS * random.uniform(0.9, 1.0)
