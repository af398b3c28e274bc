"""Calling a handler of batches that declares a payload: once, with the payloads of all messages that fit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any

from queues.handlers.batching import Failure, MessageBatch, failures
from queues.handlers.calling import UNFINISHED
from queues.handlers.contract import Message
from queues.handlers.declaring import Invoke
from queues.handlers.payloads import Payload


def batch_caller(payload: Payload, invoke: Invoke, *, is_async: bool) -> Callable[[MessageBatch], Any]:
    """What a slot calls with a batch.

    The function gets two lists of the same length, the payloads and their messages; a message with several payloads is
    in the second one several times. A message whose body does not fit is not among them: the answer says that it is
    rejected. If no message has a payload, the function is not called.
    """

    def call(batch: MessageBatch) -> Any:
        parsed = _Parsed(payload, batch)
        if not parsed.payloads:
            return parsed.failed
        try:
            answer = invoke(parsed.payloads, parsed.messages)
        except Exception as error:
            return parsed.with_error(error)
        return awaited(parsed, answer) if isawaitable(answer) else parsed.with_answer(answer)

    async def awaited(parsed: _Parsed, awaitable: Awaitable[Any]) -> Any:
        try:
            answer = await awaitable
        except Exception as error:
            return parsed.with_error(error)
        return parsed.with_answer(answer)

    async def call_async(batch: MessageBatch) -> Any:
        parsed = _Parsed(payload, batch)
        return await awaited(parsed, invoke(parsed.payloads, parsed.messages)) if parsed.payloads else parsed.failed

    return call_async if is_async else call


class _Parsed:
    """A batch, taken apart."""

    def __init__(self, payload: Payload, batch: MessageBatch) -> None:
        self.payloads: list[Any] = []
        self.messages: list[Message] = []
        #: What is wrong with the messages that are not handled, by id.
        self.failed: dict[str, Failure] = {}
        for message in batch:
            try:
                found = payload.of(message)
            except Exception as error:  # a body that does not fit, or a fault in the team's own envelope or validator
                self.failed[message.id] = error
                continue
            self.payloads += [value for value, _ in found]
            self.messages += [seen for _, seen in found]

    def with_answer(self, answer: object) -> Any:
        """What the function answered, together with what is wrong with the other messages."""
        if not self.failed or isinstance(answer, UNFINISHED):
            return answer
        try:
            return {**failures(answer, self._called), **self.failed}
        except Exception as error:
            return self.with_error(error)

    def with_error(self, error: Exception) -> dict[str, Failure]:
        """What the function raised is the outcome of its messages. It is raised again if these are the whole batch."""
        if not self.failed:
            raise error
        return {**dict.fromkeys(self._called, error), **self.failed}

    @property
    def _called(self) -> set[str]:
        return {message.id for message in self.messages}
