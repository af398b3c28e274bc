"""A turn in the thread that asks for it, for tests and for debuggers: no slot, no run, no SQS."""

from __future__ import annotations

import asyncio
import bdb
import time
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from functools import partial
from inspect import isawaitable
from typing import Any

from asgiref.sync import async_to_sync

from jobs.consumer.batch_turns import BatchTurns
from jobs.consumer.held import Held
from jobs.consumer.outcome import TimedOut
from jobs.consumer.turn import HandlerSpec, Pipeline, Turn
from queues.sqs import MAX_VISIBILITY_SECONDS, ReceivedMessage
from queuesite.foundation.logs import bind, log_message

#: Meant for whoever is at the keyboard, and no outcome.
_LEAVING = (KeyboardInterrupt, bdb.BdbQuit)

#: Judges, and settles nothing.
_JUDGING = Pipeline((), lambda held, outcome: None, lambda held: None)


def attempt(received: ReceivedMessage, spec: HandlerSpec) -> Turn:
    """Handle a message, and judge its outcome: `turn.outcome`. Raises only what a person at the keyboard causes.

    A plain function that exceeds its time limit is not ended, but it has failed. Coroutines run on an event loop of
    their own, whose `sync_to_async` is this thread, as Django's test cases need it.
    """
    turn, end = _begun(received, spec)
    handle(turn)
    end()
    return turn


async def attempt_async(received: ReceivedMessage, spec: HandlerSpec) -> Turn:
    """As `attempt`, on the event loop that is running."""
    turn, end = _begun(received, spec)
    if turn.message is not None:

        async def call() -> None:
            _enter(turn)
            try:
                result = spec.handler.attempt(turn.message)
                turn.result = await _in_time(result, spec.timeout) if isawaitable(result) else result
            except _LEAVING:
                raise
            except BaseException as error:
                turn.error = error

        await asyncio.get_running_loop().create_task(call())  # with a context of its own
    end()
    return turn


def begin(received: ReceivedMessage, spec: HandlerSpec) -> Turn:
    """A turn whose handler may be called."""
    return _begun(received, spec)[0]


def _begun(received: ReceivedMessage, spec: HandlerSpec) -> tuple[Turn, Callable[[], object]]:
    """A turn, and what judges it. To a handler of batches the message is a batch."""
    now = time.monotonic()
    held = Held(received, now, now + MAX_VISIBILITY_SECONDS, MAX_VISIBILITY_SECONDS)
    if spec.handler.batch is not None:
        batch = BatchTurns(_JUDGING, [held], spec)
        return batch.turns[0], batch.end
    turn = _JUDGING.begin(held, spec)
    return turn, partial(_JUDGING.end, turn)


def handle(turn: Turn) -> None:
    """Call the handler of a turn, if it has a message, and note what it returns or raises."""
    if turn.message is not None:
        copy_context().run(_handle, turn)


def _handle(turn: Turn) -> None:
    assert turn.message is not None
    _enter(turn)
    spec = turn.spec
    try:
        result = spec.handler.attempt(turn.message)
        turn.result = async_to_sync(_in_time)(result, spec.timeout) if isawaitable(result) else result
    except _LEAVING:
        raise
    except BaseException as error:
        turn.error = error
    if spec.timeout is not None and time.monotonic() - turn.started > spec.timeout:
        turn.error = TimedOut(spec.timeout)


def _enter(turn: Turn) -> None:
    bind(queue=turn.spec.queue)
    log_message(turn.held.message.message_id)


async def _in_time(awaitable: Awaitable[Any], timeout: float | None) -> Any:
    try:
        async with asyncio.timeout(timeout) as scope:
            return await awaitable
    except TimeoutError:
        if timeout is not None and scope.expired():
            raise TimedOut(timeout) from None
        raise
