"""Slots that are tasks of the event loop."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Any

from jobs.consumer.batch_turns import BatchTurns
from jobs.consumer.forks import end_if_forked
from jobs.consumer.gathering import GatheringBuffer, Gatherings
from jobs.consumer.handler_loop import HandlerLoop
from jobs.consumer.held import Held
from jobs.consumer.outcome import Done, TimedOut
from jobs.consumer.time_limits import CANCEL_SECONDS
from jobs.consumer.turn import HandlerSpec, Pipeline, Turn
from queues.handlers.batching import Batch
from queuesite.foundation.logs import get_logger, log_message, with_log_context
from queuesite.foundation.threads import OnDeath, end_process

log = get_logger(__name__)

#: Threads that settle what may wait for SQS, which the loop must not. On a FIFO queue each message waits.
SETTLERS = 32
#: Seconds between looks whether what a thread waits for can still come.
LOOK_SECONDS = 1.0


class LoopSlots:
    """Takes messages whenever the buffer has changed, and handles each in a task.

    The handler's call is all that the task does: its outcome is settled when the task is over, so that a handler
    that cancels its own task, or all tasks of the loop, cannot keep a message from being settled.
    """

    def __init__(
        self,
        buffer: GatheringBuffer,
        pipeline: Pipeline,
        spec: Callable[[], HandlerSpec],
        loop: HandlerLoop,
        on_death: OnDeath,
        *,
        settling_blocks: bool = False,
    ) -> None:
        self._buffer = buffer
        self._pipeline = pipeline
        self._spec = spec
        self._handler_loop = loop
        self._on_death = on_death
        self._settling_blocks = settling_blocks
        self._settlers: ThreadPoolExecutor | None = None
        self._pid = os.getpid()
        #: Log events of the loop's callbacks have the fields of this run; the loop outlives it.
        self._context = copy_context()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake_due = False
        self._gatherings = Gatherings(buffer)
        #: The loop itself holds its tasks weakly.
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> asyncio.AbstractEventLoop:
        """The event loop, running."""
        if self._loop is None:
            self._handler_loop.on_death = self._on_death
            self._loop = self._handler_loop.running()
        return self._loop

    def wake(self) -> None:
        """The buffer has changed. One call into the loop serves all changes until it is carried out."""
        loop = self._loop
        if loop is not None and not self._wake_due:
            self._wake_due = True
            with suppress(RuntimeError):  # it has been closed
                loop.call_soon_threadsafe(self._take, context=self._context)

    def wait_for(self, turn: Turn, awaitable: Awaitable[Any]) -> None:
        """Have what a handler in a thread returned awaited in the loop, and wait for that, in the handler's thread."""
        over = threading.Event()
        for one in (turn, *turn.others):
            one.cancellable = True

        def begin() -> None:
            self._begin(turn, self._handle(turn, awaitable), lambda turn: over.set())

        self.start().call_soon_threadsafe(begin)
        while not over.wait(LOOK_SECONDS) and not turn.given_up:
            if not self._handler_loop.alive:
                raise RuntimeError("the event loop of this process has ended")

    def close(self) -> bool:
        """Cancel what is left of the run's own tasks; whether they have ended. For any thread but the loop's.

        Tasks that handlers started and did not wait for are theirs: they go on, as threads of handlers do.
        """
        loop, left = self._loop, list(self._tasks)
        self._handler_loop.on_death = end_process  # until the next run
        if self._settlers is not None:
            self._settlers.shutdown(wait=False)
        if loop is None:
            return True
        log.debug("tasks_of_handlers_go_on", tasks=len(asyncio.all_tasks(loop)) - len(left))
        if not left:
            return True
        over = threading.Event()

        def cancel() -> None:
            for task in left:
                task.cancel()
            asyncio.gather(*left, return_exceptions=True).add_done_callback(lambda _: over.set())

        loop.call_soon_threadsafe(cancel)
        return over.wait(CANCEL_SECONDS)

    # --- in the loop's thread ---

    def _take(self) -> None:
        self._wake_due = False
        try:
            self._begin_batches()
            # Settings may have changed to a handler for threads: these take the rest.
            while (spec := self._spec()).handler.is_async and (held := self._buffer.take_at_once()) is not None:
                if spec.handler.batch is not None:
                    self._gather(held, spec, spec.handler.batch)
                    continue
                turn = self._pipeline.begin(held, spec)
                turn.cancellable = True
                if turn.message is None:
                    self._over(turn)
                else:
                    self._begin(turn, self._handle(turn), self._over)
        except BaseException as error:  # asyncio would log it and go on, with a message that nobody looks after
            log.critical("loop_slots_failed", exc_info=True)
            self._on_death(error)

    def _gather(self, first: Held, spec: HandlerSpec, wanted: Batch) -> None:
        self._gatherings.begin(first, spec, wanted)
        self._begin_batches()
        if wanted.linger:
            asyncio.get_running_loop().call_later(wanted.linger, self._take)

    def _begin_batches(self) -> None:
        for messages, spec in self._gatherings.ready():
            batch = BatchTurns(self._pipeline, messages, spec)
            for turn in batch.turns:
                turn.cancellable = True
            if batch.lead is None:
                self._batch_over(batch)
            else:
                self._begin(batch.lead, self._handle(batch.lead), partial(self._lead_over, batch))

    def _lead_over(self, batch: BatchTurns, lead: Turn) -> None:
        self._batch_over(batch)

    def _begin(self, turn: Turn, work: Any, over: Callable[[Turn], None]) -> None:
        # Its message's id is what asyncio's debug mode and a dump of all tasks show of it.
        task = turn.task = asyncio.get_running_loop().create_task(work, name=turn.held.message.message_id)
        turn.thread = threading.get_ident()
        self._tasks.add(task)

        def done(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if task.cancelled():
                turn.error = asyncio.CancelledError("the handler's task was cancelled")
            over(turn)

        task.add_done_callback(done)

    async def _handle(self, turn: Turn, awaitable: Awaitable[Any] | None = None) -> None:
        """Call the handler, or await what it returned, and note the outcome.

        Nothing is raised: a SystemExit that left its task would end the loop under all others.
        """
        spec, scope = turn.spec, None
        log_message(turn.held.message.message_id)  # in this task's context, which ends with it
        try:
            if awaitable is None:
                awaitable = spec.handler.attempt(turn.message)
            if spec.timeout is None:
                turn.result = await awaitable
            else:
                # The loop's clock is the monotonic one.
                async with asyncio.timeout_at(turn.started + spec.timeout) as scope:
                    turn.result = await awaitable
        except BaseException as error:
            turn.error = error
        if scope is not None and scope.expired():
            assert spec.timeout is not None
            turn.error = TimedOut(spec.timeout)
        end_if_forked(self._pid, turn.error)

    def _over(self, turn: Turn) -> None:
        try:
            if not self._pipeline.end(turn):
                return
            if isinstance(turn.outcome, Done) and not self._settling_blocks:
                self._pipeline.settle(turn)
            else:
                self._settle_elsewhere(self._pipeline.settle, turn)
        except BaseException as error:
            log.critical("loop_slots_failed", exc_info=True)
            self._on_death(error)

    def _batch_over(self, batch: BatchTurns) -> None:
        try:
            turns = batch.end()
            if all(isinstance(turn.outcome, Done) for turn in turns) and not self._settling_blocks:
                self._pipeline.settle_batch(turns)
            else:
                self._settle_elsewhere(self._pipeline.settle_batch, turns)
        except BaseException as error:
            log.critical("loop_slots_failed", exc_info=True)
            self._on_death(error)

    def _settle_elsewhere(self, settle: Callable[[Any], None], what: Any) -> None:
        if self._settlers is None:
            self._settlers = ThreadPoolExecutor(SETTLERS, "settle")
        try:
            self._settlers.submit(with_log_context(settle), what)
        except RuntimeError:  # the run has ended, and nothing else of it is in the loop
            settle(what)
