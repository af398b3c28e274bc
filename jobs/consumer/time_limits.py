"""Time limits of handlers: a watch that says which slots are to be given up.

A thread cannot be ended from outside. So where a handler in a thread is past its limit, its slot is given up, its run
ends, and the whole process is replaced. An async handler is cancelled, and given up only if it does not heed that.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

from jobs.consumer.turn import Stage, Turn
from queuesite.threads import OnDeath, end_process, supervised

#: How long an async handler that was cancelled may take to end, in seconds.
CANCEL_SECONDS = 1.0


class TimeLimits(Stage):
    """Calls `give_up` with each turn that is past its deadline, from a thread that starts with the first limit."""

    def __init__(self, give_up: Callable[[Turn], None], on_death: OnDeath = end_process) -> None:
        self._give_up = give_up
        self._on_death = on_death
        self._running: set[Turn] = set()
        self._changed = threading.Condition()
        self._watching = self._closed = False
        self._next_look = float("inf")

    def before(self, turn: Turn) -> None:
        """Watch it from now on."""
        if turn.spec.timeout is None:
            return
        with self._changed:
            self._running.add(turn)
            if not self._watching:
                supervised("time-limits", self._watch, self._on_death).start()
                self._watching = True  # not before: a thread that cannot be started fails this attempt alone
            elif deadline_of(turn) < self._next_look:
                self._changed.notify_all()

    def after(self, turn: Turn) -> None:
        """Watch it no longer. Whether it was given up is settled from here on."""
        if turn.spec.timeout is not None:
            with self._changed:
                self._running.discard(turn)

    def close(self) -> None:
        """End the watch."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _watch(self) -> None:
        while True:
            with self._changed:
                if self._closed:
                    return
                now = time.monotonic()
                late = [turn for turn in self._running if deadline_of(turn) <= now]
                for turn in late:
                    turn.given_up = True
                    self._running.discard(turn)
                if not late:
                    self._next_look = min(map(deadline_of, self._running), default=float("inf"))
                    # An earlier deadline, or the first, ends the wait; a minute is a limit of no meaning.
                    self._changed.wait(min(self._next_look - now, 60.0))
                    continue
            for turn in late:
                self._give_up(turn)


def deadline_of(turn: Turn) -> float:
    """When a turn is given up (monotonic clock)."""
    if turn.spec.timeout is None:
        return float("inf")
    return turn.started + turn.spec.timeout + (2 * CANCEL_SECONDS if turn.cancellable else 0.0)


def stack_of(turn: Turn) -> str:
    """Where a turn's handler is at the moment, as a traceback's text."""
    task = turn.task
    if task is None or asyncio.current_task(task.get_loop()) is task:
        frame = sys._current_frames().get(turn.thread)
        return "".join(traceback.format_stack(frame)) if frame is not None else ""
    lines: list[str] = []
    awaited: Any = task.get_coro()
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
        if frame is not None:
            lines += traceback.format_stack(frame, limit=1)
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
    return "".join(lines)
