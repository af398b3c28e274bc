"""The slots: threads that run the handler, as many as the queue's concurrency says at the moment.

For an `async def` handler they are tasks of one event loop instead: a thread that waits for a task costs more than most
handlers take.

A handler that is past its time limit cannot be ended where it runs in a thread. Its slot is given up then: the run is
told (`stuck`), ends, and the whole process is replaced. An async one is cancelled, and only one that does not heed
that counts as stuck.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from django.db import close_old_connections, reset_queries
from pydantic import BaseModel

from jobs.consumer.buffer import Buffer, Held
from jobs.consumer.meter import Meter
from jobs.consumer.outcome import Done, GiveUp, Outcome, TimedOut, TryAgain, judge
from jobs.consumer.recorder import Recorder
from jobs.consumer.time_limits import Timed, TimeLimits, stack_of
from queues.handlers import Message, Retry
from queues.handlers.registry import Handler
from queuesite.logs import carrying, get_logger

log = get_logger(__name__)

#: Weight of the newest duration in the running mean.
_NEWEST = 0.2
#: Seconds between looks, in each thread, whether Django's connections are still usable.
_CLEAN_SECONDS = 1.0


@dataclass(frozen=True)
class Work:
    """What the slots do with a message, as of the queue's present settings."""

    queue: str
    handler: Handler
    options: BaseModel | None
    #: Seconds that the handler may take; None: no limit.
    timeout: float | None = None


@dataclass(eq=False, kw_only=True)
class Turn(Timed):
    """A message in a slot."""

    held: Held
    work: Work


class Executor:
    """Runs handlers in slots. Each message's outcome goes to `settle`, or to `stuck` where its handler does not end."""

    def __init__(
        self,
        buffer: Buffer,
        work: Work,
        settle: Callable[[Held, Outcome], None],
        stuck: Callable[[Held, TryAgain], None],
        recorder: Recorder,
        meter: Meter,
        *,
        settling_blocks: bool = False,
    ) -> None:
        self._buffer = buffer
        self._settle = settle
        self._stuck = stuck
        self._recorder = recorder
        self._meter = meter
        self._settling_blocks = settling_blocks
        #: Threads that there are, and that there should be.
        self._threads = self._wanted = 0
        self._threads_lock = threading.Lock()
        self._concurrency = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_lock = threading.Lock()
        self._pump_due = False
        #: Tasks of the loop, which itself holds them weakly alone.
        self._tasks: set[asyncio.Task[None]] = set()
        self._limits = TimeLimits[Turn](self._give_up)
        self._work = work
        self._local = threading.local()
        #: Running mean of how long a message takes, in seconds; None before the first.
        self.mean_seconds: float | None = None

    @property
    def work(self) -> Work:
        """What is done with the messages from now on."""
        return self._work

    @work.setter
    def work(self, work: Work) -> None:
        before, self._work = self._work, work
        if before.handler.is_async != work.handler.is_async and self._concurrency:
            self.resize(self._concurrency)

    def resize(self, concurrency: int) -> None:
        """Have `concurrency` slots. Never are more messages handled at once than were allowed when the last was begun.

        While there are more threads, the first that has no message ends.
        """
        self._concurrency = concurrency
        in_loop = self._work.handler.is_async
        if in_loop:
            self._running_loop()
        self._buffer.serve(concurrency, self._wake_pump if in_loop else None)
        with self._threads_lock:
            self._wanted = 0 if in_loop else concurrency
            missing = max(0, self._wanted - self._threads)
            self._threads += missing
        for _ in range(missing):
            threading.Thread(target=carrying(self._run), name="slot", daemon=True).start()
        self._buffer.wake()

    def _surplus(self) -> bool:
        """Whether the thread that asks is one too many; it must end then."""
        if self._threads <= self._wanted:  # looked at without the lock, for it is asked for each message
            return False
        with self._threads_lock:
            if self._threads <= self._wanted:
                return False
            self._threads -= 1
            return True

    def close(self) -> None:
        """Stop the event loop of async handlers and the watch; the threads end with their buffer."""
        with self._loop_lock:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._loop = None
        self._limits.close()

    # --- a slot that is a thread ---

    def _run(self) -> None:
        while (held := self._buffer.take(self._surplus)) is not None:
            turn = self._begin(held)
            outcome = self._handle(turn)
            if self._end(turn):
                return  # it has been settled as timed out, and the run is ending
            self._finish(held, outcome)

    def _finish(self, held: Held, outcome: Outcome) -> None:
        try:
            self._settle(held, outcome)
        except Exception:
            # It is kept no longer, so its visibility runs out, and it is handled again; the slot must live.
            log.exception("settling_failed", message_id=held.message.message_id)
        finally:
            self._buffer.finished(held)

    def _begin(self, held: Held) -> Turn:
        work = self._work
        turn = Turn(
            held=held,
            work=work,
            started=time.monotonic(),
            thread=threading.get_ident(),
            timeout=work.timeout,
            patient=work.handler.is_async,
        )
        self._limits.begin(turn)
        return turn

    def _give_up(self, turn: Turn) -> None:
        """A handler is past its deadline: its slot is given up."""
        work, received = turn.work, turn.held.message
        assert work.timeout is not None
        error = TimedOut(work.timeout)
        outcome = judge(None, error, received.receive_count)
        assert isinstance(outcome, TryAgain)
        self._meter.handled(turn.started, time.monotonic())
        log.error(
            "handler_stuck",
            queue=work.queue,
            message_id=received.message_id,
            seconds=work.timeout,
            meaning="the run ends, and its consumer is replaced",
        )
        self._recorder.stuck(error, received, work.handler.path, stack_of(turn.thread))
        self._stuck(turn.held, outcome)

    def _end(self, turn: Turn) -> bool:
        """The handler has come back; whether its slot had been given up."""
        if self._limits.end(turn):
            return True
        ended = time.monotonic()
        self._meter.handled(turn.started, ended)
        took = ended - turn.started
        mean = self.mean_seconds
        self.mean_seconds = took if mean is None else mean + _NEWEST * (took - mean)
        return False

    def _handle(self, turn: Turn) -> Outcome:
        work, received = turn.work, turn.held.message
        result: object = None
        error: BaseException | None = None
        try:
            message = Message.received(received, work.queue, work.options)
            result = work.handler.function(message)
            if isinstance(result, Coroutine):
                # Of a function that does not look like one that is async: a wrapper, a callable object.
                loop = self._running_loop()
                result, error = asyncio.run_coroutine_threadsafe(_within(result, work.timeout), loop).result()
        except BaseException as raised:  # SystemExit and its like must not end a slot either
            error = raised
        if error is not None or turn.started >= getattr(self._local, "clean_at", 0.0):
            # As after a request: a handler may use Django's databases, and its thread lives on. For no-op handlers
            # doing so each time would be a tenth of the work; connections do not age faster than this.
            self._local.clean_at = time.monotonic() + _CLEAN_SECONDS
            reset_queries()
            close_old_connections()
        return self._judged(turn, result, error)

    def _judged(self, turn: Turn, result: object, error: BaseException | None) -> Outcome:
        outcome = judge(result, error, turn.held.message.receive_count)
        if not isinstance(outcome, Done):
            self._note(turn, outcome, error)
        return outcome

    def _note(self, turn: Turn, outcome: Outcome, error: BaseException | None) -> None:
        received = turn.held.message
        log.info(
            "message_failed",
            queue=turn.work.queue,
            message_id=received.message_id,
            receive_count=received.receive_count,
            outcome=type(outcome).__name__,
            error=getattr(outcome, "error", None) or getattr(outcome, "reason", None),
        )
        if error is not None and not isinstance(error, Retry):  # a retry that was asked for is no failure
            self._recorder.raised(error, received, turn.work.handler.path)
        elif isinstance(outcome, GiveUp):
            self._recorder.rejected(outcome.reason, received, turn.work.handler.path)

    # --- slots that are tasks of a loop ---

    def _wake_pump(self) -> None:
        """The buffer has changed. One call into the loop serves all changes until it is carried out."""
        loop = self._loop
        if loop is not None and not self._pump_due:
            self._pump_due = True
            with suppress(RuntimeError):  # it has been closed
                loop.call_soon_threadsafe(self._pump)

    def _pump(self) -> None:
        self._pump_due = False
        while (held := self._buffer.take_at_once()) is not None:
            task = asyncio.ensure_future(self._turn(held))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _turn(self, held: Held) -> None:
        turn = self._begin(held)
        work = turn.work
        result: object = None
        error: BaseException | None = None
        try:
            coroutine = work.handler.function(Message.received(held.message, work.queue, work.options))
            result, error = await _within(coroutine, work.timeout)
        except BaseException as raised:
            error = raised
        outcome = self._judged(turn, result, error)
        if self._end(turn):
            return
        if isinstance(outcome, Done) and not self._settling_blocks:
            self._finish(held, outcome)
        else:
            # It may wait for SQS, and the loop must not.
            await asyncio.to_thread(self._finish, held, outcome)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._loop_lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                serve = carrying(_serve)
                threading.Thread(target=serve, args=(self._loop,), name="async-handlers", daemon=True).start()
            return self._loop


async def _within(work: Coroutine[Any, Any, object], limit: float | None) -> tuple[object, BaseException | None]:
    """What the handler answered or raised, or `TimedOut`. One that does not end when cancelled is waited for."""
    if limit is None:
        return await _guarded(work)
    task = asyncio.ensure_future(_guarded(work))
    done, _ = await asyncio.wait({task}, timeout=limit)
    if done:
        return task.result()
    task.cancel()
    await asyncio.wait({task})
    return None, TimedOut(limit)


async def _guarded(work: Coroutine[Any, Any, object]) -> tuple[object, BaseException | None]:
    """What the handler answered or raised: a SystemExit that left its task would end the loop under all others."""
    try:
        return await work, None
    except BaseException as raised:
        return None, raised


def _serve(loop: asyncio.AbstractEventLoop) -> Any:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()
