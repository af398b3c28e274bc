"""Time that two machines compare is the database server's, never one host's own.

`DatabaseClock` learns the server's time from `hello.localTime` and carries it on by the monotonic clock, so that
neither a wrong host clock nor a step of it (NTP, a suspended machine) moves a lease or a heartbeat's age.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

#: How long a reading is carried on before the next one: crystal clocks drift by less than 100 ppm, 6 ms a minute.
REFRESH_SECONDS = 60.0


class DatabaseClock:
    """The database server's time, off by at most half a round trip of the last reading."""

    def __init__(self, read: Callable[[], datetime], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._taken_at = float("-inf")
        self._server_time = datetime.min.replace(tzinfo=UTC)
        self.error_seconds = 0.0

    def now(self) -> datetime:
        """The server's time (aware, UTC). Asks the server at the first call and once a minute; raises what it does."""
        return self.at(self._monotonic())

    def at(self, moment: float) -> datetime:
        """The server's time at a reading of the monotonic clock, as `now` gives it for the present one."""
        with self._lock:
            if self._monotonic() - self._taken_at > REFRESH_SECONDS:
                self._refresh()
            return self._server_time + timedelta(seconds=moment - self._taken_at)

    def _refresh(self) -> None:
        before = self._monotonic()
        try:
            read = self._read()
        except Exception:
            if self._taken_at == float("-inf"):
                raise
            return  # the last reading is still good to some milliseconds; the caller's own operation will tell
        after = self._monotonic()
        self._server_time = read if read.tzinfo else read.replace(tzinfo=UTC)
        self._taken_at = (before + after) / 2
        self.error_seconds = (after - before) / 2


def rfc3339(moment: datetime) -> str:
    """An aware datetime as RFC 3339 in UTC with milliseconds: `2026-01-31T08:15:00.123Z`."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
