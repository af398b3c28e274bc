"""Caution: how a queue is handled for a while after one of its messages did harm.

Each receive brings a message closer to the dead-letter queue, whether it was handled or not. So if one message kills
its consumer, or holds up its FIFO group by failing, those received with it would get there unseen. While a queue is in
such trouble, messages are received one by one, and a message that was received before (a suspect) is handled while
nothing else is held.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from queuesite.foundation.logs import with_log_context

#: How long a queue is handled with caution after its troublesome messages are visible again, in seconds; and the
#: longest in all, since a retry may be hours away.
CAUTION_SECONDS = 30.0
LONGEST_CAUTION = 900.0


def caution(hidden: float) -> float:
    """For how many seconds to be cautious with a queue whose troublesome message is hidden for `hidden` seconds."""
    return min(hidden + CAUTION_SECONDS, LONGEST_CAUTION)


class Caution:
    """Whether to be cautious now. For one lock's holder; `on_over` is called in a thread, which does not hold it."""

    def __init__(self, on_over: Callable[[], None], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._on_over = on_over
        self._monotonic = monotonic
        self._until = 0.0
        self._timer: threading.Timer | None = None

    @property
    def active(self) -> bool:
        """Whether to be cautious."""
        until = self._until
        return until > 0 and self._monotonic() < until

    def prolong(self, until: float) -> bool:
        """Be cautious until then (monotonic clock) at least; whether that is longer than before."""
        if until <= self._until:
            return False
        self._until = until
        return True

    def start_timer(self) -> None:
        """Have `on_over` called when caution may be over, for those who wait for it."""
        if self._timer is None:
            left = min(max(0.0, self._until - self._monotonic()), threading.TIMEOUT_MAX)
            self._timer = threading.Timer(left, with_log_context(self._on_over))
            self._timer.daemon = True
            self._timer.start()

    def timer_ended(self) -> bool:
        """Note that `on_over` was called; whether caution is over. It may have been prolonged since."""
        self._timer = None
        return not self.active

    def cancel_timer(self) -> None:
        """Do without the timer: nobody waits any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
