"""An attempt as a transaction of Sentry's, with the span and the data of its queue monitoring.

https://docs.sentry.io/platforms/python/tracing/instrumentation/custom-instrumentation/queues-module/. A trace that the
sender began is continued, by Sentry's own headers or by a W3C `traceparent`. What handlers raise is captured, except
`Retry`, `Reject` and `Unavailable`, which are answers. A batch is one transaction, of a trace of its own.
"""

from __future__ import annotations

import re
import time
from collections.abc import Generator, Sequence
from typing import Any

import sentry_sdk

from queues.handlers.batching import MessageBatch
from queues.handlers.contract import Message
from queues.handlers.middleware import CLOSE_SECONDS
from queues.middleware import failures_in, kinds_of, outcome_of

_ORIGIN = "auto.queue.queuesite"
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


def around(message: Message | MessageBatch) -> Generator[AttemptTransaction, None, None]:
    """A transaction while the message, or the batch, is being handled."""
    raised: BaseException | None = None
    with sentry_sdk.isolation_scope() as scope:
        scope.set_tag("queue", message.queue)
        scope.set_context("batch" if isinstance(message, MessageBatch) else "message", context_of(message))
        transaction = sentry_sdk.continue_trace(
            {} if isinstance(message, MessageBatch) else headers_of(message),
            op="queue.task",
            name=message.queue,
            source="task",
            origin=_ORIGIN,
        )
        with (
            sentry_sdk.start_transaction(transaction),
            sentry_sdk.start_span(op="queue.process", name=message.queue, origin=_ORIGIN) as span,
        ):
            for name, value in data_of(message).items():
                span.set_data(name, value)
            attempt = AttemptTransaction(message, span, transaction)
            try:
                yield attempt
            except BaseException as error:
                attempt.ended(error, [error] if outcome_of(error) == "failed" else [])
                raised = error
    if raised is not None:
        raise raised  # only here: Sentry's spans take whatever passes through them for an internal error


class AttemptTransaction:
    """The span of an attempt."""

    def __init__(self, message: Message | MessageBatch, span: Any, transaction: Any) -> None:
        self._message = message
        self._spans = (span, transaction)

    def answered(self, answer: object) -> None:
        """As `Span.answered`. Of a batch, the errors that it names are captured, and one of them is its status."""
        if not isinstance(self._message, MessageBatch):
            self.ended(answer, [])
            return
        failed = failures_in(self._message, answer)
        errors = kinds_of(failed.values())
        self.ended(errors[0] if errors else next(iter(failed.values()), None), errors)

    def ended(self, answer: object, errors: Sequence[BaseException]) -> None:
        """Set the status by an answer, and capture errors."""
        for span in self._spans:
            span.set_status(_STATUS[outcome_of(answer)])
        for error in errors:
            sentry_sdk.capture_exception(error)


_STATUS = {
    "done": "ok",
    "retry": "unavailable",
    "unavailable": "unavailable",
    "rejected": "invalid_argument",
    "failed": "internal_error",
}


def context_of(message: Message | MessageBatch) -> dict[str, Any]:
    """What an error's page shows of the message."""
    if isinstance(message, MessageBatch):
        return {"id": message.id, "messages": len(message)}
    return {"id": message.id, "receive_count": message.receive_count}


def data_of(message: Message | MessageBatch) -> dict[str, Any]:
    """What Sentry's queue monitoring counts; the latency is in milliseconds. Of a batch, the longest and the most."""
    messages = message if isinstance(message, MessageBatch) else [message]
    now = time.time()
    return {
        "messaging.system": "aws_sqs",
        "messaging.message.id": message.id,
        "messaging.destination.name": message.queue,
        "messaging.message.body.size": sum(len(one.body.encode(errors="replace")) for one in messages),
        "messaging.message.receive.latency": max(
            0, *(round((now - one.sent_at.timestamp()) * 1_000) for one in messages)
        ),
        "messaging.message.retry.count": max(one.receive_count for one in messages) - 1,
        **({"messaging.batch.message_count": len(messages)} if isinstance(message, MessageBatch) else {}),
    }


def headers_of(message: Message) -> dict[str, str]:
    """The trace that the sender began, in Sentry's headers."""
    found = {
        name: value for name in ("sentry-trace", "baggage") if isinstance(value := message.attributes.get(name), str)
    }
    given = message.attributes.get("traceparent")
    if "sentry-trace" not in found and isinstance(given, str) and (parts := _TRACEPARENT.fullmatch(given)):
        found["sentry-trace"] = f"{parts[1]}-{parts[2]}-{int(parts[3], 16) & 1}"
    return found


def flush() -> None:
    """Send what is waiting: a process of multiprocessing's ends without Sentry's own `atexit` function."""
    sentry_sdk.flush(CLOSE_SECONDS)
