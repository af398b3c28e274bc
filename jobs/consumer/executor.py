"""The slots: threads that run the handler, as many as the queue's concurrency says at the moment.

An `async def` handler runs on one event loop beside them; its slot waits for it, so the concurrency is the same.

A handler that is past its time limit cannot be ended where it runs in a thread. Its slot is given up then: the run is
told (`stuck`), ends, and the whole process is replaced. An async one is cancelled, and only one that does not heed
that counts as stuck.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from django.db import close_old_connections, reset_queries
from pydantic import BaseModel

from jobs.consumer.buffer import Buffer, Held
from jobs.consumer.meter import Meter
from jobs.consumer.outcome import Done, GiveUp, Outcome, TimedOut, TryAgain, judge
from jobs.consumer.recorder import Recorder
from queues.handlers import Message, Retry
from queues.handlers.registry import Handler
from queuesite.logs import carrying, get_logger

log = get_logger(__name__)

#: Weight of the newest duration in the running mean.
_NEWEST = 0.2
#: How long an async handler that was cancelled may take to end, in seconds.
CANCEL_SECONDS = 1.0


@dataclass(frozen=True)
class Work:
    """What the slots do with a message, as of the queue's present settings."""

    queue: str
    handler: Handler
    options: BaseModel | None
    #: Seconds that the handler may take; None: no limit.
    timeout: float | None = None


@dataclass(eq=False)
class _Turn:
    """A message in a slot. `deadline` is when the slot is given up (monotonic clock)."""

    held: Held
    work: Work
    started: float
    thread: int
    given_up: bool = False

    @property
    def deadline(self) -> float:
        limit = self.work.timeout
        if limit is None:
            return float("inf")
        # An async handler is cancelled first: it is stuck where that does not help, or where it blocks its loop.
        return self.started + limit + (2 * CANCEL_SECONDS if self.work.handler.is_async else 0.0)


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
    ) -> None:
        self._buffer = buffer
        self._settle = settle
        self._stuck = stuck
        self._recorder = recorder
        self._meter = meter
        #: Slots that there are, and that there should be.
        self._slots = self._wanted = 0
        self._slots_lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread = 0
        self._loop_lock = threading.Lock()
        self._turns: set[_Turn] = set()
        self._turns_changed = threading.Condition()
        self._watching = self._closed = False
        self._next_look = float("inf")
        self.work = work
        #: Running mean of how long a message takes, in seconds; None before the first.
        self.mean_seconds: float | None = None

    def resize(self, concurrency: int) -> None:
        """Have `concurrency` slots. While there are more, the first that has no message ends.

        None is started before those that are still to end have done so: never are more messages handled at once than
        were allowed when the last of them was begun.
        """
        with self._slots_lock:
            self._wanted = concurrency
            missing = max(0, concurrency - self._slots)
            self._slots += missing
        for _ in range(missing):
            threading.Thread(target=carrying(self._run), name="slot", daemon=True).start()
        self._buffer.wake()

    def _surplus(self) -> bool:
        """Whether the slot that asks is one too many; it must end then."""
        with self._slots_lock:
            if self._slots <= self._wanted:
                return False
            self._slots -= 1
            return True

    def close(self) -> None:
        """Stop the event loop of async handlers and the watch; the slots end with their buffer."""
        with self._loop_lock:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._loop = None
        with self._turns_changed:
            self._closed = True
            self._turns_changed.notify_all()

    # --- a slot ---

    def _run(self) -> None:
        while (held := self._buffer.take(self._surplus)) is not None:
            turn = self._begin(held)
            outcome = self._handle(turn)
            if self._end(turn):
                return  # it has been settled as timed out, and the run is ending
            ended = time.monotonic()
            self._meter.handled(turn.started, ended)
            took = ended - turn.started
            mean = self.mean_seconds
            self.mean_seconds = took if mean is None else mean + _NEWEST * (took - mean)
            try:
                self._settle(held, outcome)
            except Exception:
                # It is kept no longer, so its visibility runs out, and it is handled again; the slot must live.
                log.exception("settling_failed", message_id=held.message.message_id)
            finally:
                self._buffer.finished(held)

    def _begin(self, held: Held) -> _Turn:
        turn = _Turn(held, self.work, time.monotonic(), threading.get_ident())
        if turn.work.timeout is not None:
            with self._turns_changed:
                self._turns.add(turn)
                if not self._watching:
                    self._watching = True
                    threading.Thread(target=carrying(self._watch), name="time-limits", daemon=True).start()
                elif turn.deadline < self._next_look:
                    self._turns_changed.notify_all()
        return turn

    def _end(self, turn: _Turn) -> bool:
        """The handler has come back; whether its slot had been given up."""
        with self._turns_changed:
            self._turns.discard(turn)
            return turn.given_up

    def _handle(self, turn: _Turn) -> Outcome:
        work, received = turn.work, turn.held.message
        result: object = None
        error: BaseException | None = None
        try:
            message = Message.received(received, work.queue, work.options)
            result = work.handler.function(message)
            if isinstance(result, Coroutine):
                loop = self._running_loop()
                result, error = asyncio.run_coroutine_threadsafe(_within(result, work.timeout), loop).result()
        except BaseException as raised:  # SystemExit and its like must not end a slot either
            error = raised
        finally:
            # As after a request: a handler may use Django's databases, and its thread lives on.
            reset_queries()
            close_old_connections()
        outcome = judge(result, error, received.receive_count)
        if not isinstance(outcome, Done):
            self._note(turn, outcome, error)
        return outcome

    def _note(self, turn: _Turn, outcome: Outcome, error: BaseException | None) -> None:
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

    # --- time limits ---

    def _watch(self) -> None:
        """Give up the slots whose handlers are past their deadline."""
        while True:
            with self._turns_changed:
                if self._closed:
                    return
                now = time.monotonic()
                late = [turn for turn in self._turns if turn.deadline <= now]
                for turn in late:
                    turn.given_up = True
                    self._turns.discard(turn)
                if not late:
                    self._next_look = min((turn.deadline for turn in self._turns), default=float("inf"))
                    # Without a turn, or between two looks, a notification ends the wait: at the latest in a minute.
                    self._turns_changed.wait(min(self._next_look - now, 60.0))
                    continue
            for turn in late:
                self._give_up(turn)

    def _give_up(self, turn: _Turn) -> None:
        assert turn.work.timeout is not None
        error = TimedOut(turn.work.timeout)
        outcome = judge(None, error, turn.held.message.receive_count)
        assert isinstance(outcome, TryAgain)
        self._meter.handled(turn.started, time.monotonic())
        stack = _stack(self._loop_thread if turn.work.handler.is_async else turn.thread)
        log.error(
            "handler_stuck",
            queue=turn.work.queue,
            message_id=turn.held.message.message_id,
            seconds=turn.work.timeout,
            meaning="the run ends, and its consumer is replaced",
        )
        self._recorder.stuck(error, turn.held.message, turn.work.handler.path, stack)
        self._stuck(turn.held, outcome)

    # --- async handlers ---

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._loop_lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                thread = threading.Thread(
                    target=carrying(_serve), args=(self._loop,), name="async-handlers", daemon=True
                )
                thread.start()
                self._loop_thread = thread.ident or 0
            return self._loop


def _stack(thread: int) -> str:
    """Where a thread is, as a traceback's text without our own frames at its top."""
    frame = sys._current_frames().get(thread)
    return "".join(traceback.format_stack(frame)) if frame is not None else ""


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
