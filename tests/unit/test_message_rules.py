"""What SQS takes as a message, and what it does not."""

from __future__ import annotations

from typing import Any

import pytest

from queues.codec import as_json, from_json
from queues.message_rules import printable, problem_of
from queues.models import Queue
from queues.sqs import OutgoingMessage

STANDARD = Queue(name="orders")
FIFO = Queue(name="orders.fifo")


def text(value: str, kind: str = "String") -> dict[str, Any]:
    return {"DataType": kind, "StringValue": value}


def with_attributes(**attributes: dict[str, Any]) -> OutgoingMessage:
    return OutgoingMessage("x", attributes)


@pytest.mark.parametrize(
    ("queue", "message"),
    [
        (STANDARD, OutgoingMessage("x")),
        (STANDARD, OutgoingMessage("x", delay=900)),
        (STANDARD, OutgoingMessage("x", group="tenant-1")),
        (STANDARD, OutgoingMessage("\t\n\r \ud7ff\ue000\U00010000")),
        (STANDARD, OutgoingMessage("x" * 1_048_576)),
        (STANDARD, OutgoingMessage("x", {f"a{n}": text("x") for n in range(10)})),
        (STANDARD, OutgoingMessage("x", {"a.b-c_D9": text("x"), "n": text("-1.5e10", "Number.float")})),
        (STANDARD, with_attributes(raw={"DataType": "Binary.png", "BinaryValue": b"\x00"})),
        (FIFO, OutgoingMessage("x", group="g" * 128, deduplication_id="!~")),
        (FIFO, OutgoingMessage("x", group="g", delay=0)),
    ],
)
def test_taken(queue: Queue, message: OutgoingMessage) -> None:
    assert problem_of(queue, message) is None


@pytest.mark.parametrize(
    ("queue", "message", "field", "words"),
    [
        (STANDARD, OutgoingMessage("x" * 1_048_570, {"abc": text("wxyz")}), "body", "1,048,583 bytes"),
        (STANDARD, OutgoingMessage("x", {f"a{n}": text("x") for n in range(11)}), "attributes", "11 attributes"),
        (STANDARD, OutgoingMessage("x", {"a" * 257: text("x")}), "attributes", "256 letters"),
        *((STANDARD, OutgoingMessage("x", {name: text("x")}), "attributes", "attribute name")
          for name in ("", "a b", "a..b", ".a", "a.", "é", "AWS.x", "aws.x", "Amazon.x", "a\n")),
        (STANDARD, with_attributes(a={"DataType": "Float", "StringValue": "1"}), "attributes", "type 'Float'"),
        (STANDARD, with_attributes(a={}), "attributes", "type ''"),
        (STANDARD, with_attributes(a=text("")), "attributes", "empty"),
        (STANDARD, with_attributes(a={"DataType": "Binary", "BinaryValue": b""}), "attributes", "empty"),
        (STANDARD, with_attributes(a=text("\x00")), "attributes", "U+0000"),
        (STANDARD, with_attributes(a=text("1,5", "Number")), "attributes", "expected a number"),
        (STANDARD, OutgoingMessage("x", group="g" * 129), "group", "1 to 128"),
        (STANDARD, OutgoingMessage("x", group="é"), "group", "punctuation"),
        (STANDARD, OutgoingMessage("x", deduplication_id="d"), "deduplication_id", "not a FIFO queue"),
        (FIFO, OutgoingMessage("x", group="g", deduplication_id="a b"), "deduplication_id", "without spaces"),
        (FIFO, OutgoingMessage("x"), "group", "needs a message group"),
    ],
)  # fmt: skip
def test_refused(queue: Queue, message: OutgoingMessage, field: str, words: str) -> None:
    found = problem_of(queue, message)

    assert found is not None
    assert found[0] == field
    assert words in found[1]


def test_printable_is_taken() -> None:
    assert problem_of(STANDARD, OutgoingMessage(printable("a\x00\ud800\ufffeb"))) is None
    assert printable("a\x00b\n") == "a\ufffdb\n"


def test_messages_as_json() -> None:
    message = OutgoingMessage(
        "x", {"a": text("b"), "raw": {"DataType": "Binary", "BinaryValue": b"\x00\xff"}}, 5, "g", "d"
    )

    assert from_json(as_json(message)) == message
    assert message.attributes["raw"]["BinaryValue"] == b"\x00\xff"
