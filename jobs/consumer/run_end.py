"""Why and when a run ends: all its parts ask for its end here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from jobs.consumer.outcome import describe
from jobs.models import EndReason, Trait
from queuesite.foundation.errors import ServerError


class RunEnd:
    """The end of one run; safe for all threads. The first reason stands, unless a thread of the run dies."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked = threading.Event()
        self.reason: EndReason | None = None
        #: What the report says of the end, in place of the last error of a handler.
        self.because: str | None = None
        #: When the end was asked for (monotonic clock).
        self.asked_at = float("inf")
        #: When the queue was seen empty (monotonic clock); None if it was not.
        self.empty_at: float | None = None
        #: How long the queue is to back off, in seconds, because the run tripped.
        self.pause = 0.0
        #: One of the run's threads has died.
        self.broken = False

    @property
    def asked(self) -> bool:
        """Whether the run is to end."""
        return self._asked.is_set()

    def wait(self) -> None:
        """Wait until the run is to end."""
        self._asked.wait()

    def unless_asked(self, action: Callable[[], None]) -> bool:
        """Do something if the run is not to end; whether it was done. Nobody asks for the end meanwhile.

        `action` must not ask for the end itself.
        """
        with self._lock:
            if self.reason is not None:
                return False
            action()
            return True

    def ask(self, reason: EndReason, because: str | None = None) -> None:
        """Have the run end."""
        with self._lock:
            if self.reason is None:
                self.reason, self.because = reason, because
                self.asked_at = time.monotonic()
        self._asked.set()

    def drained(self, empty_at: float, quiet: Callable[[], bool] = lambda: True) -> bool:
        """The queue has been empty, and nothing under way, for the idle time; `empty_at` is the last look's moment.

        A yield whose last request finds this is a drain: its queue would be woken for nothing, and two empty queues
        could have each other yield forever if TIME_SLICE_SECONDS is no longer than IDLE_SECONDS. False if it is not
        `quiet` after all, since a listener has handed something over.
        """
        with self._lock:
            if not quiet():
                return False
            self.empty_at = empty_at
            if self.reason is EndReason.YIELDED:
                self.reason = EndReason.DRAINED
            elif self.reason is None:
                self.reason, self.because = EndReason.DRAINED, None
                self.asked_at = time.monotonic()
        self._asked.set()
        return True

    def tripped(self, because: str, pause: float) -> None:
        """End the run because what the handler needs is down.

        This replaces a reason that would handle the buffer first, and a handler's time limit, which was one of the
        failures that showed it.
        """
        with self._lock:
            if self.reason in (None, EndReason.TIMED_OUT) or self.reason.has(Trait.EMPTIES_BUFFER):
                self.reason, self.because, self.pause = EndReason.TRIPPED, because, pause
                self.asked_at = min(self.asked_at, time.monotonic())
        self._asked.set()

    def queue_missing(self) -> None:
        """The queue is not in SQS any more."""
        self.ask(EndReason.QUEUE_MISSING)

    def refused(self, error: ServerError) -> None:
        """SQS refuses what the run needs, and has done so for a while."""
        self.ask(EndReason.ERROR, str(error))

    def thread_died(self, error: BaseException) -> None:
        """End the run because a thread has died from an unexpected error; this replaces any other reason."""
        with self._lock:
            if not self.broken:
                self.broken = True
                self.reason, self.because = EndReason.ERROR, f"a thread of the consumer died: {describe(error)}"
                self.asked_at = min(self.asked_at, time.monotonic())
        self._asked.set()
