"""Time limits of handlers: a watch that tells which slots are to be given up."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from queuesite.logs import carrying

#: How long an async handler that was cancelled may take to end, in seconds.
CANCEL_SECONDS = 1.0


@dataclass(eq=False, kw_only=True)
class Timed:
    """Something that runs in `thread` since `started` (monotonic clock), for `timeout` seconds at the most."""

    started: float
    thread: int
    timeout: float | None
    #: Cancelled first: it is given up where that does not help, or where it blocks its loop.
    patient: bool = False
    given_up: bool = False

    @property
    def deadline(self) -> float:
        """When it is given up."""
        if self.timeout is None:
            return float("inf")
        return self.started + self.timeout + (2 * CANCEL_SECONDS if self.patient else 0.0)


T = TypeVar("T", bound=Timed)


class TimeLimits(Generic[T]):
    """Calls `give_up` with whatever is past its deadline, from a thread that there is once something has a limit."""

    def __init__(self, give_up: Callable[[T], None]) -> None:
        self._give_up = give_up
        self._running: set[T] = set()
        self._changed = threading.Condition()
        self._watching = self._closed = False
        self._next_look = float("inf")

    def begin(self, one: T) -> None:
        """Watch it from now on."""
        if one.timeout is None:
            return
        with self._changed:
            self._running.add(one)
            if not self._watching:
                self._watching = True
                threading.Thread(target=carrying(self._watch), name="time-limits", daemon=True).start()
            elif one.deadline < self._next_look:
                self._changed.notify_all()

    def end(self, one: T) -> bool:
        """It has come to its end; whether it had been given up."""
        if one.timeout is None:
            return False
        with self._changed:
            self._running.discard(one)
            return one.given_up

    def close(self) -> None:
        """Watch no longer."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _watch(self) -> None:
        while True:
            with self._changed:
                if self._closed:
                    return
                now = time.monotonic()
                late = [one for one in self._running if one.deadline <= now]
                for one in late:
                    one.given_up = True
                    self._running.discard(one)
                if not late:
                    self._next_look = min((one.deadline for one in self._running), default=float("inf"))
                    # An earlier deadline, or the first, ends the wait; a minute is a limit of no meaning.
                    self._changed.wait(min(self._next_look - now, 60.0))
                    continue
            for one in late:
                self._give_up(one)


def stack_of(thread: int) -> str:
    """Where a thread is, as a traceback's text."""
    frame = sys._current_frames().get(thread)
    return "".join(traceback.format_stack(frame)) if frame is not None else ""
