"""Tripping: a run ends, and its queue backs off, because what the handler needs is down.

    unreachable, or a breaker's last failure -> halt the buffer -> give back what waits -> the run ends as `tripped`

The run after the pause probes: it holds one message at a time until one of them is handled, and trips with the first
that shows the dependency down.

None of this is the messages' fault, so none may end in the dead-letter queue by it. A receive cannot be undone. A
message that has used up its last one is therefore sent again as a copy, as a redrive would do, and then deleted. A FIFO
queue's messages are not, since a copy would come after the others of its group.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Sequence

from jobs.consumer.backoff import trip_pause
from jobs.consumer.holdings import Holdings
from jobs.consumer.outcome import Outcome, TryAgain, Unreachable
from jobs.models import EndReason
from queues.handlers.retrying import MOST_FAILURES, Breaker
from queuesite.foundation.logs import get_logger

log = get_logger(__name__)

#: How much longer than its queue a message waits, in seconds: the next probe takes another one, if there is one.
BEHIND_SECONDS = 5


class Tripping:
    """Whether a run has tripped, or probes; safe for all slots."""

    def __init__(self, holdings: Holdings, trips: int, counted: Sequence[tuple[float, int]] = ()) -> None:
        """`trips` is how many runs in a row before this one tripped.

        `counted` are failures of earlier runs that a handler's time limit ended: how many seconds ago, and how many.
        """
        self._holdings = holdings
        self._trips = trips
        self._lock = threading.Lock()
        now = time.monotonic()
        self._failures: deque[float] = deque()
        for ago, count in sorted(counted, reverse=True):
            self._failures.extend([now - ago] * min(count, MOST_FAILURES))
        self.probing = holdings.buffer.probing = trips > 0

    def handled(self) -> None:
        """A probe was handled: the dependency is there again."""
        self._trips = 0
        self.probing = self._holdings.buffer.probing = False
        log.info("queue_recovered", meaning="a message was handled, and the others follow")

    def judged(self, outcome: TryAgain | Unreachable, breaker: Breaker | None) -> Outcome:
        """Settle a failed attempt: if the dependency is down, the run ends, and the message waits for it."""
        if isinstance(outcome, TryAgain):
            if breaker is None or outcome.asked or not self._opens(breaker):
                return outcome
            # The text of an error is for those who may see failures; the reason is for all who may see the queue.
            why = outcome.error.partition(":")[0]
            self._trip(f"{breaker.failures} failed attempts within {breaker.within:g} s, the last by {why}", None)
            return Unreachable(outcome.error, timed_out=outcome.timed_out)
        self._trip(outcome.error, outcome.retry_after)
        return outcome

    @property
    def counted(self) -> tuple[tuple[float, int], ...]:
        """The failures that count, for the next run: moments (monotonic clock, whole seconds), and how many each."""
        with self._lock:
            return tuple(sorted(Counter(float(int(moment)) for moment in self._failures).items()))

    @property
    def delay(self) -> int:
        """For how many seconds to hide a message whose attempt showed that the dependency is down."""
        pause = self._holdings.ending.pause or trip_pause(self._trips + 1)
        return int(pause) + BEHIND_SECONDS

    def _opens(self, breaker: Breaker) -> bool:
        if self.probing or self._holdings.ending.reason is EndReason.TRIPPED:
            return True
        now = time.monotonic()
        with self._lock:
            failures = self._failures
            failures.append(now)
            while failures and (len(failures) > breaker.failures or failures[0] <= now - breaker.within):
                failures.popleft()
            return len(failures) >= breaker.failures

    def _trip(self, because: str, retry_after: float | None) -> None:
        end = self._holdings.ending
        end.tripped(because, trip_pause(self._trips + 1, retry_after))
        if end.reason is EndReason.TRIPPED:
            # Here and not by the run's thread: a slot that came free first would begin the next message.
            self._holdings.give_back(self._holdings.buffer.halt())
