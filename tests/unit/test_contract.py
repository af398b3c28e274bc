"""What a handler meets."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queues.handlers import Message, Reject, Retry
from queues.sqs import OutgoingMessage, ReceivedMessage


def received(**changes: Any) -> ReceivedMessage:
    values: dict[str, Any] = {
        "message_id": "the-id",
        "receipt_handle": "the-handle",
        "body": "the body",
        "attributes": {},
        "system": {"SentTimestamp": "1767355200123", "ApproximateReceiveCount": "4"},
    }
    return ReceivedMessage(**{**values, **changes})


class TestMessage:
    def test_received_message_as_a_handler_gets_it(self) -> None:
        attributes = {
            "text": {"DataType": "String", "StringValue": "é"},
            "number": {"DataType": "Number", "StringValue": "7"},
            "bytes": {"DataType": "Binary", "BinaryValue": b"\x00"},
            "empty": {"DataType": "String"},
        }

        message = Message.received(received(attributes=attributes), "orders")

        assert (message.id, message.body, message.queue) == ("the-id", "the body", "orders")
        assert message.receive_count == 4
        assert message.sent_at == datetime(2026, 1, 2, 12, 0, 0, 123_000, tzinfo=UTC)
        assert message.group is None
        assert message.attributes == {"text": "é", "number": "7", "bytes": b"\x00", "empty": ""}
        assert message.receipt_handle == "the-handle"
        assert message.options is None

    def test_group_of_a_fifo_queue(self) -> None:
        assert Message.received(received(system={"MessageGroupId": "g"}), "orders.fifo").group == "g"

    def test_message_with_nothing_said_of_it(self) -> None:
        message = Message.received(received(system={}), "orders")

        assert message.receive_count == 1
        assert message.sent_at == datetime(1970, 1, 1, tzinfo=UTC)

    def test_json(self) -> None:
        assert Message("i", '{"a": ["é"]}', "q").json() == {"a": ["é"]}

    @pytest.mark.parametrize("body", ["plain", "", "   ", '{"a":'])
    def test_body_that_is_no_json(self, body: str) -> None:
        with pytest.raises(ValueError, match="Expecting"):
            Message("i", body, "q").json()

    @pytest.mark.parametrize(
        "body",
        [
            json.dumps({"Records": [{"eventSource": "aws:s3", "s3": {"object": {"key": "a+b.csv"}}}]}),
            json.dumps({"Type": "Notification", "Message": json.dumps({"inner": "é"})}),
            "plain text",
            "   ",
        ],
    )
    def test_body_is_handed_on_as_it_is(self, body: str) -> None:
        assert Message.received(received(body=body), "orders").body == body

    def test_message_cannot_be_changed(self) -> None:
        with pytest.raises(AttributeError):
            Message("i", "b", "q").body = "other"  # type: ignore[misc]

    def test_message_can_be_made_by_hand_for_a_users_own_tests(self) -> None:
        message = Message(id="1", body="{}", queue="orders")

        assert message.receive_count == 1
        assert message.sent_at.tzinfo is UTC


class TestOutcomes:
    @pytest.mark.parametrize("delay", [None, 0, 0.5, 43_200])
    def test_retry(self, delay: float | None) -> None:
        retry = Retry("busy", delay=delay)

        assert (retry.reason, retry.delay, str(retry)) == ("busy", delay, "busy")

    @pytest.mark.parametrize("delay", [-1, 43_201, float("nan"), float("inf")])
    def test_delay_beyond_what_sqs_can_do(self, delay: float) -> None:
        with pytest.raises(ValueError, match="expected 0 to 43200 seconds"):
            Retry(delay=delay)

    def test_reject(self) -> None:
        assert (Reject("bad").reason, str(Reject("bad"))) == ("bad", "bad")

    def test_reasons_are_optional(self) -> None:
        assert str(Retry()) == "retry requested"
        assert str(Reject()) == "rejected"


class TestSize:
    """What SQS counts towards its 1 MiB."""

    @given(st.text())
    def test_body_counts_in_bytes(self, body: str) -> None:
        assert OutgoingMessage(body).size == len(body.encode("utf-8", "surrogatepass"))

    def test_attributes_count_with_their_names_and_types(self) -> None:
        attributes: dict[str, dict[str, Any]] = {
            "é": {"DataType": "String", "StringValue": "日本"},
            "b": {"DataType": "Binary", "BinaryValue": b"\x00\x01\x02"},
        }

        assert OutgoingMessage("xx", attributes).size == 2 + (2 + 6 + 6) + (1 + 6 + 3)
