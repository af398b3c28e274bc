"""Whose silence means something: a worker that was itself stopped has heard nobody."""

from __future__ import annotations


class OwnPauses:
    """Notices that this process did not run for a while. Times are the monotonic clock's."""

    def __init__(self, now: float) -> None:
        #: When it last ran, as far as is known.
        self.looked_at = now

    def since(self, now: float, patience: float) -> float:
        """Seconds since the last call, if they are too many to judge a silence of `patience` seconds by; otherwise 0.

        By so much later everybody counts as last heard.
        """
        gap, self.looked_at = now - self.looked_at, now
        return gap if gap > patience / 2 else 0.0
