"""A trace from the code that sends to the handler, across two processes."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.trace import SpanKind

from queues import sending, services
from queues.handlers import Message
from queues.sending import tracing
from queues.sending.destinations import directory
from queues.sqs import OutgoingMessage, SendResult, get_gateway
from queues.sqs.gateway import SqsGateway
from queuesite.foundation.errors import SqsUnavailable
from tests.conftest import Configure
from tests.support.memory_sqs import registered
from tests.support.processes import ROOT
from tests.support.runs import Running
from tests.support.spans import recorded

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient


def test_what_handles_a_message_is_below_what_sent_it(queues: SQSClient, configure: Configure) -> None:
    configure(handler_middleware="queues.middleware.opentelemetry")
    queue = services.create("orders")
    name = queue.queue_url.rpartition("/")[2]
    program = [sys.executable, "-m", "tests.support.traced_sender", "orders"]
    told = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert told.returncode == 0, told.stderr
    got: dict[str, Message] = {}

    def handle(message: Message) -> None:
        got[message.body] = message

    with registered(handle), recorded() as spans:
        report = Running(get_gateway(), queue, handler="under-test").report()
        attempts = {(span.attributes or {})["messaging.message.id"]: span for span in spans.all}

    assert (report.processed, report.failed) == (3, 0)
    single, batch, checkout = json.loads(told.stdout)
    assert checkout["name"] == "checkout"
    for body, sent in {"one": single, "two": batch, "three": batch}.items():
        span = attempts[got[body].id]
        assert span.parent is not None
        assert span.kind is SpanKind.CONSUMER
        assert (span.parent.trace_id, span.parent.span_id) == (sent["trace"], sent["span"])
        assert (sent["name"], sent["kind"], sent["parent"]) == (f"send {name}", "PRODUCER", checkout["span"])
        assert span.context.trace_id == checkout["trace"]
        assert span.name == f"process {name}"
    assert got["one"].attributes["tenant"] == "7"
    shared = {
        "messaging.system": "aws_sqs",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": name,
        "aws.sqs.queue.url": queue.queue_url,
    }
    assert single["attributes"] == {**shared, "messaging.message.id": got["one"].id}
    assert batch["attributes"] == {**shared, "messaging.batch.message_count": 2}


class TestSend:
    @pytest.fixture
    def sent(self, queues: SQSClient, monkeypatch: pytest.MonkeyPatch) -> list[OutgoingMessage]:
        """What goes to SQS."""
        services.create("orders")
        monkeypatch.setattr(directory, "_found", {})  # of an earlier test's queue
        found: list[OutgoingMessage] = []
        send = SqsGateway.send

        def noted(self: SqsGateway, url: str, messages: Any) -> SendResult:
            found.extend(messages)
            return send(self, url, messages)

        monkeypatch.setattr(SqsGateway, "send", noted)
        return found

    def test_untraced_messages_stay_as_they_are(
        self, sent: list[OutgoingMessage], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tracing, "_is_installed", lambda: False)
        with recorded() as spans:
            sending.send("orders", "b")

            assert spans.all == ()
        assert [message.attributes for message in sent] == [{}]

    def test_a_message_that_has_no_room_for_it_is_sent_without(self, sent: list[OutgoingMessage]) -> None:
        full = {f"a{number}": "1" for number in range(10)}
        large = "x" * 1_048_576
        own = {"traceparent": "the sender's own"}
        with recorded():
            sending.send("orders", "b", attributes=full)
            sending.send("orders", large)
            sending.send("orders", "b", attributes=own)

        assert [len(message.attributes) for message in sent] == [10, 0, 1]
        assert sent[2].attributes["traceparent"]["StringValue"] == "the sender's own"

    def test_a_send_that_fails_is_an_error_of_its_span(
        self, sent: list[OutgoingMessage], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def away(*args: Any) -> SendResult:
            raise SqsUnavailable("away")

        monkeypatch.setattr(SqsGateway, "send", away)
        with recorded() as spans:
            with pytest.raises(SqsUnavailable):
                sending.send("orders", "b")
            [span] = spans.all

        assert not span.status.is_ok
        assert (span.attributes or {})["error.type"] == "SqsUnavailable"


def test_the_header_of_x_ray_is_received_and_is_the_parent(
    queues: SQSClient, sqs_client: SQSClient, configure: Configure
) -> None:
    configure(handler_middleware="queues.middleware.opentelemetry")
    queue = services.create("orders")
    header = "Root=1-67891233-abcdef012345678912345678;Parent=53995c3f42cd8ad8;Sampled=1"
    sqs_client.send_message(
        QueueUrl=queue.queue_url,
        MessageBody="b",
        MessageSystemAttributes={"AWSTraceHeader": {"DataType": "String", "StringValue": header}},
    )

    with registered(lambda message: None), recorded() as spans:
        Running(get_gateway(), queue, handler="under-test").report()
        [span] = spans.all

    assert span.parent is not None
    assert span.parent.span_id == 0x53995C3F42CD8AD8
