"""The PRODUCER span of a send, and the trace context in its messages, if OpenTelemetry's API is installed.

A handler's span finds its parent by the attribute `traceparent` (or what OTEL_PROPAGATORS says). Without the SDK, or if
nothing is being traced, messages stay as they are.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from typing import Any

from queues.message_rules import problem_of
from queues.sending.destinations import Target
from queues.sqs import OutgoingMessage
from queues.sqs.batches import Placed, SendReport
from queuesite.foundation.logs import get_logger

log = get_logger(__name__)


class Untraced:
    """A send that nobody traces."""

    def carry(self, messages: Iterable[Placed]) -> Iterable[Placed]:
        """The messages as they are sent."""
        return messages

    def ended(self, report: SendReport, error: Exception | None) -> None:
        """The send is over."""


class Traced(Untraced):
    """A send with a span."""

    def __init__(self, target: Target, span: Any, carrier: dict[str, str]) -> None:
        self._target = target
        self._span = span
        self._attributes = {
            name: {"DataType": "String", "StringValue": value} for name, value in carrier.items() if value
        }

    def carry(self, messages: Iterable[Placed]) -> Iterator[Placed]:
        for place, message in messages:
            yield place, self._stamped(message)

    def _stamped(self, message: OutgoingMessage) -> OutgoingMessage:
        """The message with the context; as it is if it has its own, or if SQS would take no more of it."""
        if not self._attributes or not self._attributes.keys().isdisjoint(message.attributes):
            return message
        stamped = replace(message, attributes={**message.attributes, **self._attributes})
        return stamped if problem_of(self._target, stamped) is None else message

    def ended(self, report: SendReport, error: Exception | None) -> None:
        total = report.sent + len(report.failures)
        if total != 1:
            self._span.set_attribute("messaging.batch.message_count", total)
        elif report.message_ids:
            self._span.set_attribute("messaging.message.id", next(iter(report.message_ids.values())))
        if error is not None or report.failures:
            trace = import_module("opentelemetry.trace")
            reason = str(error) if error is not None else next(iter(report.failures.values()))
            self._span.set_attribute("error.type", "_OTHER" if error is None else type(error).__name__)
            self._span.set_status(trace.Status(trace.StatusCode.ERROR, reason))


@contextmanager
def sending(target: Target) -> Iterator[Untraced]:
    """Surrounds a send to a queue."""
    if not _is_installed():
        yield Untraced()
        return
    # Imported by whoever sends, and not with this module, which all processes load.
    from opentelemetry import propagate, trace

    name = target.url.rpartition("/")[2]
    with trace.get_tracer("queuesite").start_as_current_span(
        f"send {name}",
        kind=trace.SpanKind.PRODUCER,
        attributes={
            "messaging.system": "aws_sqs",
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
            "messaging.destination.name": name,
            "aws.sqs.queue.url": target.url,
        },
    ) as span:
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        yield Traced(target, span, carrier)


@functools.cache
def _is_installed() -> bool:
    try:
        import_module("opentelemetry.trace")
    except ImportError:
        return False
    except Exception:
        log.exception("opentelemetry_not_loaded", meaning="what is sent is not traced")
        return False
    return True
