"""When silence means death: workers are judged only while their heartbeats could have been seen. Pure.

An old heartbeat says nothing if nobody could write one, or if this process looked at nothing for a while: MongoDB was
away or slow, the leader has just been elected (perhaps because MongoDB was away), or was frozen. Each of these begins a
time in which every worker may show itself; a worker that is dead is pruned at its end.
"""

from __future__ import annotations

from datetime import datetime


class Liveness:
    """Whether the leader may take silent workers for dead. Times are the monotonic clock's unless they are dates."""

    def __init__(self, stalled_after: float) -> None:
        self._stalled_after = stalled_after
        self._prune_from = float("-inf")
        self._read: tuple[float, datetime] | None = None

    def begin(self, now: float) -> None:
        """A term has begun: nothing that this process saw before counts."""
        self._read = None
        self._wait(now)

    def lost(self, now: float, pause: float) -> None:
        """MongoDB is away, and is asked again in `pause` seconds."""
        self._wait(now + pause)

    def may_prune(self, now: float, date: datetime) -> bool:
        """Whether a worker may be pruned by its heartbeat's age, as read just now (`date` by the database's clock).

        Half of WORKER_STALLED_AFTER without a reading is a gap: either clock may show it, since the monotonic one
        stands still while a machine is suspended, and the date follows the server's only when it is read again.
        """
        before, self._read = self._read, (now, date)
        if before is not None and max(now - before[0], (date - before[1]).total_seconds()) > self._stalled_after / 2:
            self._wait(now)
        return now >= self._prune_from

    def _wait(self, since: float) -> None:
        self._prune_from = max(self._prune_from, since + self._stalled_after)
