"""The slots: threads that run the handler, as many as the queue's concurrency says at the moment.

An `async def` handler runs on one event loop beside them; its slot waits for it, so the concurrency is the same.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from django.db import close_old_connections, reset_queries
from pydantic import BaseModel

from jobs.consumer.buffer import Buffer, Held
from jobs.consumer.outcome import Done, Outcome, judge
from queues.handlers import Message
from queues.handlers.registry import Handler
from queuesite.logs import get_logger

log = get_logger(__name__)

#: Weight of the newest duration in the running mean.
_NEWEST = 0.2


@dataclass(frozen=True)
class Work:
    """What the slots do with a message, as of the queue's present settings."""

    queue: str
    handler: Handler
    options: BaseModel | None


class Executor:
    """Runs handlers in slots, and hands each message's outcome to `settle`."""

    def __init__(self, buffer: Buffer, work: Work, settle: Callable[[Held, Outcome], None]) -> None:
        self._buffer = buffer
        self._settle = settle
        #: Slots that there are, and that there should be.
        self._slots = self._wanted = 0
        self._slots_lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_lock = threading.Lock()
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
            threading.Thread(target=self._run, name="slot", daemon=True).start()
        self._buffer.wake()

    def _surplus(self) -> bool:
        """Whether the slot that asks is one too many; it must end then."""
        with self._slots_lock:
            if self._slots <= self._wanted:
                return False
            self._slots -= 1
            return True

    def close(self) -> None:
        """Stop the event loop of async handlers; the slots end with their buffer."""
        with self._loop_lock:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._loop = None

    def _run(self) -> None:
        while (held := self._buffer.take(self._surplus)) is not None:
            started = time.monotonic()
            outcome = self._handle(held)
            took = time.monotonic() - started
            mean = self.mean_seconds
            self.mean_seconds = took if mean is None else mean + _NEWEST * (took - mean)
            try:
                self._settle(held, outcome)
            except Exception:
                # It is kept no longer, so its visibility runs out, and it is handled again; the slot must live.
                log.exception("settling_failed", message_id=held.message.message_id)
            finally:
                self._buffer.finished(held)

    def _handle(self, held: Held) -> Outcome:
        work = self.work
        result: object = None
        error: BaseException | None = None
        try:
            message = Message.received(held.message, work.queue, work.options)
            result = work.handler.function(message)
            if isinstance(result, Coroutine):
                result, error = asyncio.run_coroutine_threadsafe(_guarded(result), self._running_loop()).result()
        except BaseException as raised:  # SystemExit and its like must not end a slot either
            error = raised
        finally:
            # As after a request: a handler may use Django's databases, and its thread lives on.
            reset_queries()
            close_old_connections()
        outcome = judge(result, error, held.message.receive_count)
        if not isinstance(outcome, Done):
            log.info(
                "message_failed",
                queue=work.queue,
                message_id=held.message.message_id,
                receive_count=held.message.receive_count,
                outcome=type(outcome).__name__,
                error=getattr(outcome, "error", None) or getattr(outcome, "reason", None),
            )
        return outcome

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._loop_lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=_serve, args=(self._loop,), name="async-handlers", daemon=True).start()
            return self._loop


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
