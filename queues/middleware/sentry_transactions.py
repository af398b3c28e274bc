"""An attempt as a transaction of Sentry's, with the span and the data of its queue monitoring.

https://docs.sentry.io/platforms/python/tracing/instrumentation/custom-instrumentation/queues-module/. A trace that the
sender began is continued, by Sentry's own headers or by a W3C `traceparent`. What handlers raise is captured, except
`Retry` and `Reject`, which are answers.
"""

from __future__ import annotations

import re
import time
from collections.abc import Generator
from typing import Any

import sentry_sdk

from queues.handlers.contract import Message
from queues.handlers.middleware import CLOSE_SECONDS
from queues.middleware import outcome_of

_ORIGIN = "auto.queue.queuesite"
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


def around(message: Message) -> Generator[Attempt, None, None]:
    """A transaction while the message is being handled."""
    raised: BaseException | None = None
    with sentry_sdk.isolation_scope() as scope:
        scope.set_tag("queue", message.queue)
        scope.set_context("message", {"id": message.id, "receive_count": message.receive_count})
        transaction = sentry_sdk.continue_trace(
            headers_of(message), op="queue.task", name=message.queue, source="task", origin=_ORIGIN
        )
        with (
            sentry_sdk.start_transaction(transaction),
            sentry_sdk.start_span(op="queue.process", name=message.queue, origin=_ORIGIN) as span,
        ):
            for name, value in data_of(message).items():
                span.set_data(name, value)
            attempt = Attempt(span, transaction)
            try:
                yield attempt
            except BaseException as error:
                attempt.answered(error)
                if outcome_of(error) == "failed":
                    sentry_sdk.capture_exception(error)
                raised = error
    if raised is not None:
        raise raised  # only here: Sentry's spans take whatever passes through them for an internal error


class Attempt:
    """The span of an attempt."""

    def __init__(self, span: Any, transaction: Any) -> None:
        self._spans = (span, transaction)

    def answered(self, answer: object) -> None:
        """As `Span.answered`."""
        status = {"done": "ok", "retry": "unavailable", "rejected": "invalid_argument", "failed": "internal_error"}
        for span in self._spans:
            span.set_status(status[outcome_of(answer)])


def data_of(message: Message) -> dict[str, Any]:
    """What Sentry's queue monitoring counts; the latency is in milliseconds."""
    return {
        "messaging.system": "aws_sqs",
        "messaging.message.id": message.id,
        "messaging.destination.name": message.queue,
        "messaging.message.body.size": len(message.body.encode(errors="replace")),
        "messaging.message.receive.latency": max(0, round((time.time() - message.sent_at.timestamp()) * 1_000)),
        "messaging.message.retry.count": message.receive_count - 1,
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
