"""The database server's clock, from which all times come that two machines compare.

`DatabaseClock` learns the server's time from `hello.localTime` and extrapolates it with the monotonic clock, so
neither a wrong host clock nor a step of it (NTP, a suspended machine) changes a lease or a heartbeat's age.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

#: How long a reading is used before the next one: crystal clocks drift by less than 100 ppm, 6 ms a minute.
REFRESH_SECONDS = 60.0
#: How long a reading is used after the server did not answer. An attempt may take as long as MongoDB's client waits for
#: a server (5 s), and the caller waits for it.
RETRY_SECONDS = 30.0
#: How far off a reading may be, in seconds, to be used for as long as that. One that took longer says more of a machine
#: that was busy just then, and a standby that was off by 30 % of the lease would take it from a leader that still acts.
EXACT_SECONDS = 0.1
#: How long a reading that is less exact is used.
INEXACT_SECONDS = 2.0


class DatabaseClock:
    """The database server's time, off by at most half a round trip of its reading (`error_seconds`).

    A reading that took long is soon repeated, and does not replace a more exact one that it agrees with.
    """

    def __init__(self, read: Callable[[], datetime], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._taken_at: float | None = None
        self._server_time = datetime.min.replace(tzinfo=UTC)
        self._next_reading = float("-inf")
        self.error_seconds = 0.0

    def now(self) -> datetime:
        """The server's time (aware, UTC). Asks the server once a minute, and raises its errors at the first call."""
        return self.at(self._monotonic())

    def at(self, moment: float) -> datetime:
        """The server's time at a reading of the monotonic clock.

        Only one caller waits for a new reading, and only the first reading may raise. After that, the last one is right
        to some milliseconds, and the caller's own operation will show that the server is away.
        """
        with self._lock:
            if self._taken_at is None:
                self._take(self._reading())
            due = self._monotonic() >= self._next_reading
            if due:
                self._next_reading = self._monotonic() + RETRY_SECONDS
        if due:
            with suppress(Exception):
                reading = self._reading()
                with self._lock:
                    self._take(reading)
        with self._lock:
            assert self._taken_at is not None
            return self._server_time + timedelta(seconds=moment - self._taken_at)

    def _reading(self) -> tuple[float, datetime, float]:
        """The time of the request, the server's time, and the time of the answer."""
        asked_at = self._monotonic()
        return asked_at, self._read(), self._monotonic()

    def _take(self, reading: tuple[float, datetime, float]) -> None:
        asked_at, said, answered_at = reading
        said = said if said.tzinfo else said.replace(tzinfo=UTC)
        moment, error = (asked_at + answered_at) / 2, (answered_at - asked_at) / 2
        exact = error <= EXACT_SECONDS
        self._next_reading = answered_at + (REFRESH_SECONDS if exact else INEXACT_SECONDS)
        if self._taken_at is not None and not exact and error > self.error_seconds:
            apart = said - (self._server_time + timedelta(seconds=moment - self._taken_at))
            if abs(apart.total_seconds()) <= error + self.error_seconds:
                return
        self._server_time, self._taken_at, self.error_seconds = said, moment, error


def rfc3339(moment: datetime) -> str:
    """An aware datetime as RFC 3339 in UTC with milliseconds: `2026-01-31T08:15:00.123Z`."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
