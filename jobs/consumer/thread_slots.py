"""Slots that are threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from inspect import isawaitable

from jobs.consumer.batch_turns import BatchTurns
from jobs.consumer.forks import end_if_forked
from jobs.consumer.gathering import GatheringBuffer
from jobs.consumer.held import Held
from jobs.consumer.loop_slots import LoopSlots
from jobs.consumer.turn import HandlerSpec, Pipeline, Turn
from queues.handlers.batching import Batch
from queuesite.foundation.logs import log_message
from queuesite.foundation.threads import OnDeath, supervised


class ThreadSlots:
    """Threads that take messages one after another. Each ends with the buffer, or when it is one too many."""

    def __init__(
        self,
        buffer: GatheringBuffer,
        pipeline: Pipeline,
        spec: Callable[[], HandlerSpec],
        tasks: LoopSlots,
        on_death: OnDeath,
    ) -> None:
        self._buffer = buffer
        self._pipeline = pipeline
        self._spec = spec
        self._tasks = tasks
        self._on_death = on_death
        self._pid = os.getpid()
        #: Threads that there are, and that there should be.
        self._count = self._wanted = 0
        self._lock = threading.Lock()

    def resize(self, count: int) -> None:
        """Have `count` threads; those that are too many end when they have no message."""
        with self._lock:
            self._wanted = count
            missing = max(0, count - self._count)
            self._count += missing
        for _ in range(missing):
            supervised("slot", self._run, self._on_death).start()

    def _surplus(self) -> bool:
        """Whether the thread that asks is one too many; it must end then."""
        if self._count <= self._wanted:  # looked at without the lock, for it is asked for each message
            return False
        with self._lock:
            if self._count <= self._wanted:
                return False
            self._count -= 1
            return True

    def _run(self) -> None:
        pipeline = self._pipeline
        while (held := self._buffer.take(self._surplus)) is not None:
            spec = self._spec()
            if spec.handler.batch is not None:
                if not self._handle_batch(held, spec, spec.handler.batch):
                    return
                continue
            turn = pipeline.begin(held, spec)
            if turn.message is not None:
                self._handle(turn)
            if not pipeline.end(turn):
                return  # it has been settled as timed out, and the run is ending
            pipeline.settle(turn)

    def _handle_batch(self, first: Held, spec: HandlerSpec, wanted: Batch) -> bool:
        batch = BatchTurns(self._pipeline, self._buffer.gather(first, wanted), spec)
        if batch.lead is not None:
            self._handle(batch.lead)
        turns = batch.end()
        self._pipeline.settle_batch(turns)
        return len(turns) == len(batch.turns)

    def _handle(self, turn: Turn) -> None:
        assert turn.message is not None
        log_message(turn.message.id)
        try:
            result = turn.spec.handler.attempt(turn.message)
            if result is not None and isawaitable(result):
                # Of a function that does not look like one that is async: a wrapper, say.
                self._tasks.wait_for(turn, result)
            else:
                turn.result = result
        except BaseException as error:  # SystemExit and its like must not end a slot either
            turn.error = error
        end_if_forked(self._pid, turn.error)
