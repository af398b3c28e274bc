"""The span of an attempt: its parent, its attributes, how it ends."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

import queues.middleware
from queues.handlers import Message, MessageBatch, Reject, Retry, Unavailable, middleware
from queues.handlers.batching import Batch
from queues.handlers.middleware import MiddlewareError
from queues.handlers.registry import Handler
from queues.middleware import consumer_spans
from tests.conftest import Configure
from tests.support.memory_sqs import OneQueue, handle_all
from tests.support.spans import Spans, recorded

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
HEADER = "Root=1-67891233-abcdef012345678912345678;Parent=53995c3f42cd8ad8;Sampled=1"


@pytest.fixture
def spans(configure: Configure) -> Iterator[Spans]:
    configure(handler_middleware="queues.middleware.opentelemetry", queue_name_prefix="")
    with recorded() as spans:
        yield spans


def attempt(message: Message, function: Any = lambda message: None) -> None:
    Handler("h", function).attempt(message)


def message(**values: Any) -> Message:
    return Message(**{"id": "m-1", "body": "żółw", "queue": "orders", **values})


class TestSpan:
    def test_attributes_are_those_of_the_conventions(self, spans: Spans, configure: Configure) -> None:
        configure(queue_name_prefix="shop-")
        attempt(message(receive_count=3))

        span = spans.one("process shop-orders")
        assert span.kind is SpanKind.CONSUMER
        assert span.parent is None
        assert span.status.status_code is StatusCode.UNSET
        assert dict(span.attributes or {}) == {
            "messaging.system": "aws_sqs",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": "shop-orders",
            "messaging.message.id": "m-1",
            "messaging.message.body.size": 7,
            "queuesite.receive_count": 3,
            "queuesite.outcome": "done",
        }

    @pytest.mark.parametrize("is_async", [False, True])
    def test_it_is_the_current_span_of_the_handler_in_a_run(self, spans: Spans, is_async: bool) -> None:
        def handle(message: Message) -> None:
            with trace.get_tracer("shop").start_as_current_span("charge"):
                logging.getLogger("shop").debug("charged")

        async def handle_async(message: Message) -> None:
            handle(message)

        sqs = OneQueue("a", "b", "c")
        ids = {stored.message_id for stored in sqs.messages}
        handle_all(handle_async if is_async else handle, sqs, concurrency=3)

        attempts = {span.context.span_id: span for span in spans.all if span.name.startswith("process")}
        inner = [span for span in spans.all if span.name == "charge"]
        assert {(span.attributes or {})["messaging.message.id"] for span in attempts.values()} == ids
        assert len({span.context.trace_id for span in attempts.values()}) == 3
        assert {span.parent.span_id for span in inner if span.parent is not None} == set(attempts)

    @pytest.mark.parametrize(
        ("answer", "outcome", "error_type"),
        [
            (Retry("later"), "retry", None),
            (Retry, "retry", None),
            (Reject("no"), "rejected", "queues.handlers.contract.Reject"),
            (Reject, "rejected", "queues.handlers.contract.Reject"),
            (Unavailable("stripe"), "unavailable", "queues.handlers.contract.Unavailable"),
            (Unavailable, "unavailable", "queues.handlers.contract.Unavailable"),
        ],
    )
    def test_answers(self, spans: Spans, answer: Any, outcome: str, error_type: str | None) -> None:
        attempt(message(), lambda message: answer)

        span = spans.one("process orders")
        assert (span.attributes or {})["queuesite.outcome"] == outcome
        assert (span.attributes or {}).get("error.type") == error_type
        assert span.status.status_code is (StatusCode.UNSET if error_type is None else StatusCode.ERROR)

    def test_errors(self, spans: Spans) -> None:
        def fail(message: Message) -> None:
            raise KeyError("number")

        with pytest.raises(KeyError):
            attempt(message(), fail)

        span = spans.one("process orders")
        assert (span.attributes or {})["error.type"] == "KeyError"
        assert (span.attributes or {})["queuesite.outcome"] == "failed"
        assert span.status.status_code is StatusCode.ERROR
        assert [event.name for event in span.events] == ["exception"]

    def test_a_raised_retry_is_no_error(self, spans: Spans) -> None:
        def ask(message: Message) -> None:
            raise Retry("later")

        with pytest.raises(Retry):
            attempt(message(), ask)

        span = spans.one("process orders")
        assert (span.status.status_code, span.events) == (StatusCode.UNSET, ())


class TestBatch:
    """A batch is one span, with links to where its messages were sent."""

    def attempt(self, function: Any, is_async: bool = False) -> None:
        batch = MessageBatch(
            [message(attributes={"traceparent": TRACEPARENT}), message(id="m-2"), message(id="m-3", system={"a": "b"})]
        )
        Handler("h", function, batch=Batch(10)).attempt(batch)

    def test_attributes_and_links(self, spans: Spans) -> None:
        self.attempt(lambda batch: None)

        span = spans.one("process orders")
        assert (span.kind, span.parent) == (SpanKind.CONSUMER, None)
        assert dict(span.attributes or {}) == {
            "messaging.system": "aws_sqs",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": "orders",
            "messaging.batch.message_count": 3,
            "queuesite.outcome": "done",
            "queuesite.failed_count": 0,
        }
        [link] = span.links
        assert link.context.span_id == 0x00F067AA0BA902B7
        assert dict(link.attributes or {}) == {"messaging.message.id": "m-1"}

    @pytest.mark.parametrize(
        ("answer", "outcome", "count", "error_type", "events"),
        [
            ({"m-2": KeyError("a"), "m-3": KeyError("b")}, "partial", 2, "KeyError", 1),
            ({"m-2": Retry("later")}, "partial", 1, None, 0),
            (Retry, "retry", 3, None, 0),
            (Unavailable("stripe"), "unavailable", 3, "queues.handlers.contract.Unavailable", 0),
            (
                {"batchItemFailures": [{"itemIdentifier": "m-1"}]},
                "partial",
                1,
                "queues.handlers.batching.ItemFailed",
                1,
            ),
            (5, "failed", 3, "queues.handlers.batching.WrongAnswer", 1),
        ],
    )
    def test_answers(
        self, spans: Spans, answer: Any, outcome: str, count: int, error_type: str | None, events: int
    ) -> None:
        self.attempt(lambda batch: answer)

        span = spans.one("process orders")
        found = dict(span.attributes or {})
        assert (found["queuesite.outcome"], found["queuesite.failed_count"]) == (outcome, count)
        assert found.get("error.type") == error_type
        assert len(span.events) == events
        assert span.status.status_code is (StatusCode.UNSET if error_type is None else StatusCode.ERROR)

    def test_errors(self, spans: Spans) -> None:
        def fail(batch: MessageBatch) -> None:
            raise KeyError("number")

        with pytest.raises(KeyError):
            self.attempt(fail)
        span = spans.one("process orders")
        assert (span.attributes or {})["queuesite.outcome"] == "failed"
        assert (span.status.description, len(span.events)) == ("3 of 3 messages failed", 1)


class TestParent:
    def test_traceparent_comes_first(self, spans: Spans) -> None:
        attempt(
            message(
                attributes={"traceparent": TRACEPARENT, "tracestate": "a=b", "picture": b"\0"},
                system={"AWSTraceHeader": HEADER},
            )
        )

        parent = spans.one("process orders").parent
        assert parent is not None
        assert (parent.trace_id, parent.span_id) == (0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7)
        assert parent.is_remote
        assert parent.trace_state.get("a") == "b"

    @pytest.mark.parametrize("attributes", [{}, {"traceparent": "nonsense"}, {"traceparent": b"\0"}])
    def test_else_the_header_of_x_ray(self, spans: Spans, attributes: dict[str, Any]) -> None:
        attempt(message(attributes=attributes, system={"AWSTraceHeader": HEADER}))

        parent = spans.one("process orders").parent
        assert parent is not None
        assert (parent.trace_id, parent.span_id) == (0x67891233ABCDEF012345678912345678, 0x53995C3F42CD8AD8)
        assert parent.trace_flags.sampled

    def test_what_is_not_sampled_is_not_recorded(self, spans: Spans) -> None:
        attempt(message(system={"AWSTraceHeader": HEADER.replace("Sampled=1", "Sampled=0")}))

        assert spans.all == ()

    @pytest.mark.parametrize(
        "header",
        [
            "",
            "Root=1-67891233-abcdef012345678912345678",
            "Root=1-67891233-abc;Parent=53995c3f42cd8ad8",
            "Root=1-00000000-000000000000000000000000;Parent=53995c3f42cd8ad8;Sampled=1",
            "Parent=53995c3f42cd8ad8;Sampled=1",
            "Self=1-67891233-12456789abcdef012345678;Roots=1-67891233-abcdef012345678912345678;Parent=1",
        ],
    )
    def test_headers_that_name_no_parent(self, spans: Spans, header: str) -> None:
        attempt(message(system={"AWSTraceHeader": header}))

        assert consumer_spans.x_ray_context(header) is None
        assert spans.one("process orders").parent is None

    def test_the_trace_of_another_task_is_not_the_parent(self, spans: Spans) -> None:
        with trace.get_tracer("shop").start_as_current_span("around"):
            attempt(message())

        assert spans.one("process orders").parent is None

    def test_a_run_asks_sqs_for_the_header(self, spans: Spans) -> None:
        assert "AWSTraceHeader" in middleware.system_attributes()


@pytest.mark.parametrize(("name", "package"), [("opentelemetry", "opentelemetry-api"), ("sentry", "sentry-sdk")])
def test_a_missing_package_is_named_with_its_file(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, name: str, package: str
) -> None:
    configure(handler_middleware=f"queues.middleware.{name}")
    missing = {"opentelemetry", "sentry_sdk"}
    monkeypatch.setattr(queues.middleware, "find_spec", lambda module: None if module in missing else find_spec(module))

    with pytest.raises(MiddlewareError) as caught:
        middleware.check([(False, None)])

    assert str(caught.value) == (
        f"HANDLER_MIDDLEWARE: queues.middleware.{name}: the package {package} is missing: "
        f"pip install -r requirements-{name}.txt"
    )
