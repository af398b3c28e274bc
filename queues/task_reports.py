"""What a consumer has to report of the tasks that it runs; its worker records it (consumers do not use MongoDB)."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import replace

from queues.task_calls import Attempt, Call, Change


class Reports:
    """The changes of one process since they were last taken, and the attempts that are under way. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changes: dict[tuple[str, str], Change] = {}
        #: By the id of their message.
        self._under_way: dict[str, Change] = {}
        #: Names a consumer to its tasks; empty in a process that is none, and records what it enqueues itself.
        self.worker = ""
        #: Messages whose last receive this is, which are about to be handled.
        self._last: set[str] = set()
        #: Reports what there is at once.
        self.urgent: Callable[[], None] = lambda: None

    def last_receive(self, message_id: str) -> None:
        """An attempt at this message is about to begin; if the process dies in it, the message is a dead letter."""
        with self._lock:
            self._last.add(message_id)

    def begin(self, call: Call, message_id: str) -> Attempt:
        """An attempt begins."""
        last = message_id in self._last
        attempt = Attempt(uuid.uuid4().hex[:12], self.worker or "no worker", time.monotonic(), last=last)
        change = Change(call, attempt)
        with self._lock:
            self._under_way[message_id] = change
        self.add(change)
        if last:
            self.urgent()  # nobody can say so once the process has died
        return attempt

    def returned(self, message_id: str, value: str) -> None:
        """The function has returned this (as JSON)."""
        with self._lock:
            change = self._under_way[message_id]
            assert change.attempt is not None
            self._under_way[message_id] = replace(change, attempt=replace(change.attempt, returned=value))

    def take_attempt(self, message_id: str) -> Change | None:
        """The attempt at this message, which has ended; None if it is not an attempt at a task."""
        if not self._under_way and not self._last:  # of other handlers' messages nothing else is asked
            return None
        with self._lock:
            self._last.discard(message_id)
            return self._under_way.pop(message_id, None)

    def add(self, change: Change) -> None:
        """Have this recorded."""
        with self._lock:
            self._changes[change.key] = change

    def take(self) -> tuple[Change, ...]:
        """What is to be recorded since the last call."""
        if not self._changes:
            return ()
        with self._lock:
            taken, self._changes = tuple(self._changes.values()), {}
        return taken


reports = Reports()
