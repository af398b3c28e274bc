"""Counts what a run does, for its report and for the throughput that its worker records."""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable
from dataclasses import dataclass

from jobs import histogram
from jobs.consumer.turn import Stage, Turn
from queues.sqs import PURPOSES

#: No request of any purpose.
_NO_REQUESTS = (0,) * len(PURPOSES)
#: Weight of the newest duration in the running mean.
_NEWEST = 0.2


@dataclass(frozen=True)
class WorkCounts:
    """What was done, in all or since the last report. `durations` are counts by `jobs.histogram`, `seconds` their sum.

    `waits` and `waited` are the same of how long messages waited that were received for the first time.
    `failed` counts attempts, including those that were rejected or timed out; those for which the handler asked for a
    retry are no failures and are counted apart (`retried`). `requests` are those made to SQS, `purposes` the same in
    the order of `queues.sqs.PURPOSES`.
    """

    processed: int = 0
    failed: int = 0
    rejected: int = 0
    timed_out: int = 0
    requests: int = 0
    durations: tuple[int, ...] = (0,) * histogram.BUCKETS
    seconds: float = 0.0
    purposes: tuple[int, ...] = _NO_REQUESTS
    retried: int = 0
    waits: tuple[int, ...] = (0,) * histogram.WAIT_BUCKETS
    waited: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.processed or self.failed or self.retried or self.requests)

    def plus(self, more: WorkCounts) -> WorkCounts:
        """The sum of both."""
        return WorkCounts(
            self.processed + more.processed,
            self.failed + more.failed,
            self.rejected + more.rejected,
            self.timed_out + more.timed_out,
            self.requests + more.requests,
            histogram.added(self.durations, more.durations),
            self.seconds + more.seconds,
            tuple(map(operator.add, self.purposes, more.purposes)),
            self.retried + more.retried,
            histogram.added(self.waits, more.waits),
            self.waited + more.waited,
        )

    def since(self, before: WorkCounts) -> WorkCounts:
        """The difference from `before`."""
        return WorkCounts(
            self.processed - before.processed,
            self.failed - before.failed,
            self.rejected - before.rejected,
            self.timed_out - before.timed_out,
            self.requests - before.requests,
            tuple(map(operator.sub, self.durations, before.durations)),
            self.seconds - before.seconds,
            tuple(map(operator.sub, self.purposes, before.purposes)),
            self.retried - before.retried,
            tuple(map(operator.sub, self.waits, before.waits)),
            self.waited - before.waited,
        )


#: No work at all.
NONE = WorkCounts()


class Meter(Stage):
    """Counts the work of one run; safe for all its threads.

    `requests` answers how many the process has made so far, `purposes` those of the run by purpose.
    """

    def __init__(
        self, requests: Callable[[], int], purposes: Callable[[], tuple[int, ...]] = lambda: _NO_REQUESTS
    ) -> None:
        self._purposes = purposes
        self._requests = requests
        self._requests_before = requests()
        self._lock = threading.Lock()
        self._processed = self._failed = self._rejected = self._timed_out = self._retried = 0
        self._durations = [0] * histogram.BUCKETS
        self._seconds = 0.0
        self._waits = [0] * histogram.WAIT_BUCKETS
        self._waited = 0.0
        self._reported = WorkCounts()
        #: When the first handling began and the last one ended (monotonic clock); None before there was one.
        self.first_start: float | None = None
        self.last_end: float | None = None
        self.last_error: str | None = None
        #: Running mean of how long a message takes, in seconds; None before the first.
        self.mean_seconds: float | None = None

    def after(self, turn: Turn) -> None:
        """Count the handler's time; of a batch's, each message has its share."""
        took = self.handled(turn, turn.ended)
        mean = self.mean_seconds
        self.mean_seconds = took if mean is None else mean + _NEWEST * (took - mean)

    def handled(self, turn: Turn, ended: float) -> float:
        """Record the times of a message whose handler has ended, in whatever way. Return the seconds that it took.

        Only the wait for a first receive is the queue's; later ones also wait for a retry's delay or a time limit.
        """
        took = (ended - turn.started) / turn.share
        waited = turn.waited if turn.held.message.receive_count == 1 else None
        with self._lock:
            self._durations[histogram.bucket_of(took)] += 1
            self._seconds += took
            if waited is not None:
                self._waits[histogram.bucket_of(waited, histogram.WAIT_BOUNDS)] += 1
                self._waited += waited
            self.last_end = ended
            if self.first_start is None or turn.started < self.first_start:
                self.first_start = turn.started
        return took

    def done(self) -> None:
        """Record a handled message."""
        with self._lock:
            self._processed += 1

    def failed(self, error: str, *, rejected: bool = False, timed_out: bool = False) -> None:
        """Record a failed attempt."""
        with self._lock:
            self._failed += 1
            self._rejected += rejected
            self._timed_out += timed_out
            self.last_error = error

    def retried(self, reason: str) -> None:
        """Record an attempt for which the handler asked for a retry."""
        with self._lock:
            self._retried += 1
            self.last_error = reason

    @property
    def total(self) -> WorkCounts:
        """What the run has done so far."""
        with self._lock:
            return WorkCounts(
                self._processed,
                self._failed,
                self._rejected,
                self._timed_out,
                self._requests() - self._requests_before,
                tuple(self._durations),
                self._seconds,
                self._purposes(),
                self._retried,
                tuple(self._waits),
                self._waited,
            )

    def news(self) -> WorkCounts:
        """What the run has done since the last call. For one caller."""
        total = self.total
        news, self._reported = total.since(self._reported), total
        return news
