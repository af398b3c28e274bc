"""The CONSUMER span of an attempt, by OpenTelemetry's semantic conventions for messaging and for SQS.

A batch has one span, which has no parent, and a link to the context of each message.

https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/ and …/messaging/sqs/. The parent is what the
sender put into the message's attributes (`traceparent`, or what OTEL_PROPAGATORS says), else X-Ray's AWSTraceHeader.
"""

from __future__ import annotations

import re
from collections.abc import Generator

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from queues.handlers.batching import MessageBatch
from queues.handlers.contract import Message
from queues.handlers.middleware import CLOSE_SECONDS
from queues.middleware import failures_in, kinds_of, outcome_of, reason_of
from queuesite.foundation.config import get_config
from queuesite.foundation.log_tails import tails

# https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader
_ROOT = re.compile(r"(?:^|;)\s*Root=1-([0-9a-fA-F]{8})-([0-9a-fA-F]{24})\s*(?:;|$)")
_PARENT = re.compile(r"(?:^|;)\s*Parent=([0-9a-fA-F]{16})\s*(?:;|$)")
_SAMPLED = re.compile(r"(?:^|;)\s*Sampled=1\s*(?:;|$)")


def around(message: Message | MessageBatch) -> Generator[AttemptSpan | BatchAttempt, None, None]:
    """A span while the message, or the batch, is being handled."""
    name = get_config().queue_name_prefix + message.queue
    attributes: dict[str, str | int] = {
        "messaging.system": "aws_sqs",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": name,
    }
    if isinstance(message, MessageBatch):
        parent, links = Context(), list(map(link_to, message))
        attributes["messaging.batch.message_count"] = len(message)
    else:
        parent, links = parent_of(message), []
        attributes["messaging.message.id"] = message.id
        attributes["messaging.message.body.size"] = len(message.body.encode(errors="replace"))
        attributes["queuesite.receive_count"] = message.receive_count
    # Asked for each time: a provider may be set later than this module is imported.
    with trace.get_tracer("queuesite").start_as_current_span(
        f"process {name}",
        parent,
        SpanKind.CONSUMER,
        attributes,
        [link for link in links if link is not None],
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        context = span.get_span_context()
        if context.is_valid:
            for one in message if isinstance(message, MessageBatch) else [message]:
                tails.trace(one.id, trace.format_trace_id(context.trace_id))
        attempt = BatchAttempt(span, message) if isinstance(message, MessageBatch) else AttemptSpan(span)
        try:
            yield attempt
        except BaseException as error:
            attempt.raised(error)
            raise


class AttemptSpan:
    """The span of an attempt."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def answered(self, answer: object) -> None:
        """As `Span.answered`: a `Reject` and an `Unavailable` are errors, a `Retry` is not."""
        outcome = outcome_of(answer)
        self._span.set_attribute("queuesite.outcome", outcome)
        if outcome in ("rejected", "unavailable"):
            _fail(self._span, answer, reason_of(answer) if outcome == "rejected" else outcome)

    def raised(self, error: BaseException) -> None:
        """The handler raised `error`."""
        self.answered(error)
        if outcome_of(error) == "failed":
            if isinstance(error, Exception):
                self._span.record_exception(error)
            _fail(self._span, error, type(error).__qualname__)


class BatchAttempt:
    """The span of an attempt at a batch."""

    def __init__(self, span: Span, batch: MessageBatch) -> None:
        self._span = span
        self._batch = batch

    def answered(self, answer: object) -> None:
        """As `Span.answered`. An outcome that all messages have is the span's; else it is `partial`."""
        failed = failures_in(self._batch, answer)
        outcomes = set(map(outcome_of, failed.values()))
        if len(failed) < len({message.id for message in self._batch}):
            outcomes.add("done")
        self._span.set_attribute("queuesite.outcome", outcomes.pop() if len(outcomes) == 1 else "partial")
        self._span.set_attribute("queuesite.failed_count", len(failed))
        for error in kinds_of(failed.values()):
            if isinstance(error, Exception):
                self._span.record_exception(error)
        wrong = [one for one in failed.values() if outcome_of(one) != "retry"]
        if wrong:
            _fail(self._span, wrong[0], f"{len(failed)} of {len(self._batch)} messages failed")

    raised = answered


def _fail(span: Span, answer: object, description: str) -> None:
    kind = answer if isinstance(answer, type) else type(answer)
    span.set_attribute("error.type", f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins."))
    span.set_status(Status(StatusCode.ERROR, description))


def link_to(message: Message) -> Link | None:
    """A link to the context in which the message was sent; None if it says nothing that can be read."""
    context = trace.get_current_span(parent_of(message)).get_span_context()
    return Link(context, {"messaging.message.id": message.id}) if context.is_valid else None


def parent_of(message: Message) -> Context:
    """The context in which the message was sent; an empty one if it says nothing that can be read."""
    carrier = {name: value for name, value in message.attributes.items() if isinstance(value, str)}
    context = propagate.extract(carrier, Context())
    if trace.get_current_span(context).get_span_context().is_valid:
        return context
    found = x_ray_context(message.system.get("AWSTraceHeader", ""))
    return context if found is None else trace.set_span_in_context(NonRecordingSpan(found), context)


def x_ray_context(header: str) -> SpanContext | None:
    """What an AWSTraceHeader names as the parent, as in Root=1-67891233-abcdef012345678912345678;Parent=…;Sampled=1."""
    root, parent = _ROOT.search(header), _PARENT.search(header)
    if root is None or parent is None:
        return None
    flags = TraceFlags(TraceFlags.SAMPLED if _SAMPLED.search(header) else TraceFlags.DEFAULT)
    found = SpanContext(int(root[1] + root[2], 16), int(parent[1], 16), is_remote=True, trace_flags=flags)
    return found if found.is_valid else None


def flush() -> None:
    """Export what has ended: a process of multiprocessing's ends without the exporters' own `atexit` functions."""
    provider = trace.get_tracer_provider()
    if hasattr(provider, "force_flush"):  # the SDK's; the API has none
        provider.force_flush(int(CLOSE_SECONDS * 1_000))
