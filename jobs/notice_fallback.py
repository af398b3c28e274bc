"""Notices while nobody runs the background tasks: the master that leads looks for what to send instead."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from jobs import alerts
from jobs.outage_notice import OutageNotice
from queuesite.foundation.databases import MongoError, database_clock, mongodb_errors
from queuesite.foundation.errors import MongoUnavailable, ServerError
from queuesite.foundation.logs import get_logger
from queuesite.foundation.threads import joined, supervised

log = get_logger(__name__)

#: Seconds between two looks.
EACH_SECONDS = 60.0
#: How long background tasks that have just been started, or that MongoDB answers again, have for their next look.
GRACE_SECONDS = 100.0


class NoticeFallback:
    """A thread of a master, which never fails it. `leads` says whether the master leads now."""

    def __init__(self, leads: Callable[[], bool], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._leads = leads
        self._monotonic = monotonic
        self._stopped = threading.Event()
        self._thread = threading.Thread()
        #: Since when this master knows that the background tasks have not looked for too long.
        self._since: float | None = None
        self._outage = OutageNotice(monotonic)

    def start(self) -> None:
        """Start the thread."""
        self._thread = supervised("notices", self._run, on_death=lambda error: None)  # it is logged
        self._thread.start()

    def stop(self, timeout: float = 0.0) -> bool:
        """Have the thread end, and wait for it at most this long; whether it has ended."""
        self._stopped.set()
        return joined(self._thread, timeout)

    def _run(self) -> None:
        while not self._stopped.wait(EACH_SECONDS * random.uniform(0.9, 1.1)):
            self.turn()

    def turn(self) -> int:
        """Look, if it is for this master to do; return of how many alerts notices were sent."""
        try:
            with mongodb_errors():
                return self._turn()
        except (MongoError, ServerError) as error:
            log.warning("notices_not_checked", error=str(error)[:300])
            if isinstance(error, MongoUnavailable):
                self._outage.away()
            return 0

    def _turn(self) -> int:
        # A standby asks, too, since it does not lead while MongoDB is away.
        if not (alerts.unchecked() and self._leads()):
            self._since = None
            self._outage.answers(stands_in=False)
            return 0
        if self._since is None:
            self._since = self._monotonic()
        stands_in = self._monotonic() - self._since >= GRACE_SECONDS
        self._outage.answers(stands_in=stands_in)
        if stands_in:
            return alerts.check(by_leader=True)
        alerts.look(database_clock.now(), by_leader=True)  # so that it is known how long it lasts
        return 0
