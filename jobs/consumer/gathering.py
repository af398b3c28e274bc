"""Gathering batches: a slot that has a message waits for others to be handled with it.

A slot that gathers asks for what it misses as idle slots do, and has the first claim to what comes. While the queue is
handled with caution, or probed, messages are still handled one by one.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from jobs.consumer.buffer import Buffer
from jobs.consumer.held import Held
from jobs.consumer.turn import HandlerSpec
from queues.handlers.batching import Batch


class GatheringBuffer(Buffer):
    """A buffer that gives out batches too. `hurried` says whether batches are to begin as they are: the run ends."""

    hurried: Callable[[], bool] = staticmethod(lambda: False)

    @property
    def waiting(self) -> list[Held]:
        """The messages that wait, in order."""
        with self._lock:
            return list(self._waiting)

    def gather(self, first: Held, wanted: Batch) -> list[Held]:
        """The batch that begins with `first`, once it is full or the time for it is over. In a slot's thread."""
        batch = [first]
        until = time.monotonic() + wanted.linger
        with self._lock:
            while (missing := self.complete(batch, wanted.most)) and not self.hurried():
                left = until - time.monotonic()
                if left <= 0:
                    break
                self.expect(missing)
                self._available.wait(left)
                self.expect(-missing)
        return batch

    def complete(self, batch: list[Held], most: int) -> int:
        """Add what waits to a batch, without waiting; how many messages it still misses.

        In a FIFO queue those of a group that it has already may follow, in order.
        """
        with self._lock:
            if self._caution.active or self.probing or self._limit == 0:
                return 0
            self._drop_lost()
            groups = {held.message.group for held in batch} if self._fifo else set()
            passed: deque[Held] = deque()
            while self._waiting and len(batch) < most:
                held = self._waiting.popleft()
                group = held.message.group
                if self._fifo and group not in groups and group in self._busy_groups:
                    passed.append(held)
                    continue
                if self._fifo:
                    groups.add(group)
                    self._busy_groups.add(group)
                held.begun = held.beside = True
                self._beside += 1
                batch.append(held)
            self._waiting.extendleft(reversed(passed))
            self._tell_receiver()
            return most - len(batch)

    def expect(self, change: int) -> None:
        """Note how many more messages gathering slots need."""
        with self._lock:
            self._missing += change
            self._tell_receiver()


@dataclass(eq=False)
class _Growing:
    batch: list[Held]
    spec: HandlerSpec
    until: float
    missing: int = 0


class Gatherings:
    """The batches of async handlers that still grow. For the loop's thread, which must not wait."""

    def __init__(self, buffer: GatheringBuffer) -> None:
        self._buffer = buffer
        self._growing: list[_Growing] = []

    def begin(self, first: Held, spec: HandlerSpec, wanted: Batch) -> None:
        """Gather a batch that begins with `first`."""
        self._growing.append(_Growing([first], spec, time.monotonic() + wanted.linger))

    def ready(self) -> list[tuple[list[Held], HandlerSpec]]:
        """Add what waits to the batches, and take those that are full, or whose time is over."""
        found = []
        now = time.monotonic()
        for growing in list(self._growing):
            wanted = growing.spec.handler.batch
            missing = 0 if wanted is None else self._buffer.complete(growing.batch, wanted.most)
            if not missing or now >= growing.until or self._buffer.hurried():
                missing = 0
                self._growing.remove(growing)
                found.append((growing.batch, growing.spec))
            if missing != growing.missing:
                self._buffer.expect(missing - growing.missing)
                growing.missing = missing
        return found
