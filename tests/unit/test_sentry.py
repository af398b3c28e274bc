"""Sentry: what an attempt sends."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from queues.handlers import Message, MessageBatch, Reject, Retry, Unavailable
from queues.handlers.batching import Batch
from queues.handlers.registry import Handler
from tests.conftest import Configure
from tests.support.memory_sqs import OneQueue, handle_all


class Kept(Transport):
    """Keeps what would be sent."""

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self.items: list[dict[str, Any]] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        self.items += [item.payload.json for item in envelope.items if item.payload.json is not None]

    @property
    def errors(self) -> list[dict[str, Any]]:
        return [item for item in self.items if "exception" in item]

    @property
    def transactions(self) -> list[dict[str, Any]]:
        return [item for item in self.items if item.get("type") == "transaction"]


@pytest.fixture
def kept(configure: Configure) -> Iterator[Kept]:
    configure(handler_middleware="queues.middleware.sentry")
    transport = Kept()
    with sentry_sdk.isolation_scope() as scope:
        scope.set_client(
            sentry_sdk.Client(
                "https://key@sentry.example/1", transport=transport, traces_sample_rate=1.0, default_integrations=False
            )
        )
        sentry_sdk.get_global_scope().set_client(scope.client)
        yield transport
    sentry_sdk.get_global_scope().set_client(None)


def message(**values: Any) -> Message:
    sent_at = datetime.now(UTC) - timedelta(seconds=90)
    return Message(**{"id": "m-1", "body": "{}", "queue": "orders", "sent_at": sent_at, "receive_count": 3, **values})


def attempt(message: Message, function: Any = lambda message: None) -> None:
    Handler("h", function).attempt(message)


def test_an_attempt_is_a_transaction_with_a_span_of_the_queue(kept: Kept) -> None:
    attempt(message())

    [transaction] = kept.transactions
    [span] = transaction["spans"]
    assert (transaction["transaction"], transaction["contexts"]["trace"]["op"]) == ("orders", "queue.task")
    assert span["op"] == "queue.process"
    latency = span["data"].pop("messaging.message.receive.latency")
    assert 90_000 <= latency < 600_000
    assert {
        "messaging.system": "aws_sqs",
        "messaging.message.id": "m-1",
        "messaging.destination.name": "orders",
        "messaging.message.body.size": 2,
        "messaging.message.retry.count": 2,
    }.items() <= span["data"].items()
    assert kept.errors == []


@pytest.mark.parametrize(
    "attributes",
    [
        {"sentry-trace": "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1", "traceparent": "nonsense"},
        {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
    ],
)
def test_the_senders_trace_is_continued(kept: Kept, attributes: dict[str, str]) -> None:
    attempt(message(attributes=attributes))

    [transaction] = kept.transactions
    found = transaction["contexts"]["trace"]
    assert (found["trace_id"], found["parent_span_id"]) == ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")


@pytest.mark.parametrize("is_async", [False, True])
def test_what_a_handler_raises_is_captured_once_with_its_message(kept: Kept, is_async: bool) -> None:
    def fail(message: Message) -> None:
        raise KeyError("number")

    async def fail_async(message: Message) -> None:
        fail(message)

    handle_all(fail_async if is_async else fail, OneQueue("m"))

    [error] = kept.errors
    [transaction] = kept.transactions
    assert [one["type"] for one in error["exception"]["values"]] == ["KeyError"]
    assert error["tags"]["queue"] == "orders"
    assert error["contexts"]["message"]["receive_count"] == 1
    assert error["contexts"]["trace"]["trace_id"] == transaction["contexts"]["trace"]["trace_id"]
    assert transaction["contexts"]["trace"]["status"] == "internal_error"


def test_a_batch_is_one_transaction_and_sends_one_error_of_each_kind(kept: Kept) -> None:
    failed = {"m-1": KeyError("a"), "m-2": KeyError("b"), "m-3": ValueError("c"), "m-4": Retry("later")}
    batch = MessageBatch(message(id=f"m-{place}", receive_count=place) for place in (1, 2, 3, 4, 5))
    Handler("h", lambda batch: failed, batch=Batch(10)).attempt(batch)

    [transaction] = kept.transactions
    [span] = transaction["spans"]
    assert {
        "messaging.message.id": "m-1 and 4 more",
        "messaging.batch.message_count": 5,
        "messaging.message.body.size": 10,
        "messaging.message.retry.count": 4,
    }.items() <= span["data"].items()
    assert [one["exception"]["values"][0]["type"] for one in kept.errors] == ["KeyError", "ValueError"]
    assert kept.errors[0]["contexts"]["batch"] == {"id": "m-1 and 4 more", "messages": 5}
    assert transaction["contexts"]["trace"]["status"] == "internal_error"


@pytest.mark.parametrize(
    ("answer", "status"),
    [(Retry("later"), "unavailable"), (Unavailable("stripe"), "unavailable"), (Reject("no"), "invalid_argument")],
)
def test_answers_are_no_errors(kept: Kept, answer: Exception, status: str) -> None:
    def ask(message: Message) -> None:
        raise answer

    with pytest.raises(type(answer)):
        attempt(message(), ask)
    attempt(message(), lambda message: answer)

    assert kept.errors == []
    assert [one["contexts"]["trace"]["status"] for one in kept.transactions] == [status, status]


def test_without_sentry_set_up_handlers_run_as_ever(configure: Configure) -> None:
    configure(handler_middleware="queues.middleware.sentry")

    assert handle_all(lambda message: None, OneQueue("m")).processed == 1
