"""`deliver`: one message through a handler and the real judging."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jobs.consumer.foreground import attempt, attempt_async
from jobs.consumer.outcome import Done, GiveUp, Outcome, TryAgain, Unreachable
from jobs.consumer.turn import HandlerSpec, Turn
from jobs.testing.sandbox import handler_of, some_sandbox
from queues.sending.outgoing import Attributes, outgoing, text_body
from queues.sqs import ReceivedMessage

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Delivery:
    """What came of a message. Exactly one of `done`, `retried`, `rejected` and `unavailable` is true."""

    outcome: Outcome
    #: What the handler raised, or None.
    error: BaseException | None = None
    #: What it returned.
    result: Any = None

    @property
    def done(self) -> bool:
        """The message would be deleted."""
        return isinstance(self.outcome, Done)

    @property
    def retried(self) -> bool:
        """It would be visible again after `delay` seconds."""
        return isinstance(self.outcome, TryAgain)

    @property
    def rejected(self) -> bool:
        """It would go to the dead-letter queue at once."""
        return isinstance(self.outcome, GiveUp)

    @property
    def unavailable(self) -> bool:
        """What the handler needs is down: the queue would trip."""
        return isinstance(self.outcome, Unreachable)

    @property
    def delay(self) -> int | None:
        """Seconds until it is visible again; a random number within the backoff's limits unless the handler says so."""
        return getattr(self.outcome, "delay", None)

    @property
    def reason(self) -> str:
        """The text of the error or of the answer; empty if it is done."""
        return str(getattr(self.outcome, "reason", "") or getattr(self.outcome, "error", ""))

    @property
    def timed_out(self) -> bool:
        """It took longer than its time limit."""
        return bool(getattr(self.outcome, "timed_out", False))

    def raise_for_error(self) -> Delivery:
        """Raise what the handler raised, so that a test shows its traceback."""
        if self.error is not None:
            raise self.error
        return self

    @classmethod
    def of(cls, turn: Turn) -> Delivery:
        """What came of a turn."""
        return cls(turn.outcome, turn.error, turn.result)


def deliver(handler: str | Any, body: Any = "", **message: Any) -> Delivery:
    """Have `handler` (its name, or its function) handle one message, in this thread; return the outcome.

    `body` is the message's body if it is text, and is written as JSON else. The message may be described further:
    `receive_count` (1), `attributes`, `group`, `queue` (the handler's name), `id`, `sent_at`, `system` (SQS's own
    attributes, such as AWSTraceHeader), `options` (of the queue for its handler) and `timeout` (seconds).

    HANDLER_MIDDLEWARE, payloads and time limits work as in a consumer; what the handler sends is kept in the sandbox. A
    plain function that exceeds its limit fails when it returns. Raises `InvalidInput` for a handler or options that do
    not exist, and `RuntimeError` for an async handler in an async test, where `await adeliver(…)` is needed.
    """
    received, spec = _prepared(handler, body, **message)
    if spec.handler.is_async and _loop_is_running():
        raise RuntimeError(f"handler {spec.handler.name!r} is async: in an async test, `await adeliver(…)`")
    with some_sandbox():
        return Delivery.of(attempt(received, spec))


async def adeliver(handler: str | Any, body: Any = "", **message: Any) -> Delivery:
    """As `deliver`, on the event loop that is running."""
    received, spec = _prepared(handler, body, **message)
    with some_sandbox():
        return Delivery.of(await attempt_async(received, spec))


def _prepared(
    handler: str | Any,
    body: Any,
    *,
    queue: str | None = None,
    options: Mapping[str, Any] | None = None,
    timeout: float | None = None,
    **message: Any,
) -> tuple[ReceivedMessage, HandlerSpec]:
    found = handler_of(handler)
    limit = found.timeout if timeout is None else timeout
    spec = HandlerSpec(queue or found.queue or found.name, found, found.parse_options(options or {}), limit)
    _ = found.attempt  # what is wrong with middleware is not an outcome
    return described(body, **message), spec


def described(
    body: Any,
    *,
    receive_count: int = 1,
    attributes: Attributes | None = None,
    group: str | None = None,
    id: str | None = None,  # noqa: A002 - as the message's own
    sent_at: datetime | None = None,
    system: Mapping[str, str] | None = None,
) -> ReceivedMessage:
    """A message as if SQS had given it out. Raises `InvalidInput` for attributes that SQS has not."""
    made = outgoing(body, text_body, {"attributes": attributes, "group": group})
    moment = time.time() if sent_at is None else sent_at.timestamp()
    return ReceivedMessage(
        id or f"test-message-{next(_numbers)}",
        "test-receipt-handle",
        made.body,
        made.attributes,
        {
            "ApproximateReceiveCount": str(receive_count),
            "SentTimestamp": str(round(moment * 1_000)),
            **({} if group is None else {"MessageGroupId": group}),
            **(system or {}),
        },
    )


def _loop_is_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
