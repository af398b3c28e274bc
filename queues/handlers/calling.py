"""Calling a handler that declares a payload: once for each payload of its message, in order."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from concurrent.futures import Future
from inspect import isawaitable
from typing import Any, NoReturn

from queues.handlers.contract import OUTCOMES, Message, Reject
from queues.handlers.declaring import Invoke
from queues.handlers.payloads import Payload, WrongPayload

#: Values that stand for work which nobody has done yet.
UNFINISHED = (Awaitable, Generator, AsyncGenerator, Future, map, filter)

Payloads = Sequence[tuple[Any, Message]]


def caller(payload: Payload, invoke: Invoke, *, is_async: bool) -> Callable[[Message], Any]:
    """What a slot calls with the message.

    A body that does not fit is answered by a `Reject`, and the handler is not called. If a message has several
    payloads, the first of them that fails ends the attempt; its place is in the error's notes or in the reason. The
    next attempt begins with the first payload again.
    """

    def call(message: Message) -> Any:
        try:
            payloads = payload.of(message)
        except WrongPayload as error:
            return error
        if len(payloads) == 1:
            return invoke(*payloads[0])
        for place, one in enumerate(payloads):
            try:
                result = invoke(*one)
            except BaseException as error:
                _raise_placed(error, place, len(payloads))
            if result is not None:
                if isawaitable(result):  # of a function that does not look async
                    return _rest(invoke, payloads, place, result)
                if decides(result):
                    return _placed(result, place, len(payloads))
        return None

    async def call_async(message: Message) -> Any:
        try:
            payloads = payload.of(message)
        except WrongPayload as error:
            return error
        if len(payloads) == 1:
            return await invoke(*payloads[0])
        return await _rest(invoke, payloads)

    return call_async if is_async else call


async def _rest(invoke: Invoke, payloads: Payloads, first: int = 0, begun: Awaitable[Any] | None = None) -> Any:
    """Call the handler for the payloads from `first` on, for which it has been called already if `begun` is given."""
    for place in range(first, len(payloads)):
        try:
            result = await (invoke(*payloads[place]) if begun is None else begun)
        except BaseException as error:
            _raise_placed(error, place, len(payloads))
        begun = None
        if result is not None and decides(result):
            return _placed(result, place, len(payloads))
    return None


def decides(result: object) -> bool:
    """Whether a handler's answer for one payload is the answer for the whole message."""
    kind = result if isinstance(result, type) else type(result)
    return issubclass(kind, OUTCOMES) or isinstance(result, UNFINISHED)


def _placed(answer: Any, place: int, count: int) -> Any:
    """The same answer; a rejection's reason names the payload."""
    kind = answer if isinstance(answer, type) else type(answer)
    if not issubclass(kind, Reject):
        return answer
    # A new one: the handler may use its own for every message.
    return Reject(f"{_where(place, count)}: {(None if answer is kind else answer.reason) or 'rejected'}")


def _raise_placed(error: BaseException, place: int, count: int) -> NoReturn:
    placed = _placed(error, place, count)
    if placed is not error:
        raise placed.with_traceback(error.__traceback__) from error.__cause__
    if (where := _where(place, count)) not in getattr(error, "__notes__", ()):
        error.add_note(where)
    raise error


def _where(place: int, count: int) -> str:
    return f"record {place + 1} of {count}"
