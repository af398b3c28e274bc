"""What each envelope makes of real bodies of AWS's services, and of bodies that are none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from queues.handlers import Message
from queues.handlers.declaring import declared
from queues.handlers.envelopes import Envelope
from queues.handlers.payloads import NOTHING, WrongPayload
from tests.support.bodies import (
    EVENTBRIDGE,
    LAMBDA_FAILURE,
    LAMBDA_SUCCESS,
    S3_TEST_EVENT,
    SNS,
    SNS_CONFIRMATION,
    in_sns,
    s3_event,
    s3_record,
)


def opened(envelope: Envelope, body: object, payload: Any = NOTHING, **message: Any) -> list[tuple[Any, Message]]:
    found = declared(payload, envelope)
    assert found is not None
    text = body if isinstance(body, str) else json.dumps(body)
    return found.of(Message("1", text, "q", **message))


def payloads(envelope: Envelope, body: object, payload: Any = NOTHING) -> list[Any]:
    return [value for value, _ in opened(envelope, body, payload)]


def by_hand(message: Message) -> Iterator[Any]:
    yield from message.json()["items"]


@pytest.mark.parametrize(
    ("envelope", "body", "expected"),
    [
        ("sns", SNS, ['{"number": 1}']),
        ("sns", {**SNS, "Message": "plain text"}, ["plain text"]),
        ("sns", "raw message delivery", ["raw message delivery"]),
        ("sns", {"number": 1}, ['{"number": 1}']),
        ("s3", s3_event("a.jpg"), [s3_record("a.jpg")]),
        ("s3", s3_event("a.jpg", "b.jpg"), [s3_record("a.jpg"), s3_record("b.jpg")]),
        ("s3", S3_TEST_EVENT, []),
        ("s3", {"Records": []}, []),
        (("sns", "s3"), in_sns(s3_event("a.jpg", "b.jpg")), [s3_record("a.jpg"), s3_record("b.jpg")]),
        (("sns", "s3"), s3_event("raw.jpg"), [s3_record("raw.jpg")]),
        (["sns", "s3"], in_sns(S3_TEST_EVENT), []),
        ("eventbridge", EVENTBRIDGE, [EVENTBRIDGE["detail"]]),
        (("sns", "eventbridge"), in_sns(EVENTBRIDGE), [EVENTBRIDGE["detail"]]),
        ("lambda", LAMBDA_SUCCESS, [{"number": 1}]),
        ("lambda", LAMBDA_FAILURE, [{"number": 1}]),
        ("lambda", {**LAMBDA_SUCCESS, "responsePayload": "done"}, ["done"]),
        (by_hand, {"items": [1, "two"]}, [1, "two"]),
        (("sns", by_hand), in_sns({"items": [{"a": 1}]}), [{"a": 1}]),
    ],
)
def test_real_bodies(envelope: Envelope, body: object, expected: list[Any]) -> None:
    assert payloads(envelope, body) == expected


def test_attributes_of_a_notification_are_those_that_raw_delivery_gives() -> None:
    ((_, message),) = opened("sns", SNS, attributes={"own": "1"})

    assert message.attributes == {"own": "1", "tenant": "seven", "digest": b"\x01\x02"}
    assert message.body == json.dumps(SNS), "the body stays what was received"


def test_attributes_are_kept_through_a_second_envelope() -> None:
    ((_, message),) = opened(("sns", "s3"), in_sns(s3_event("a.jpg")))

    assert message.attributes["tenant"] == "seven"


def test_a_function_may_set_attributes() -> None:
    def one(message: Message) -> list[Message]:
        return [replace(message, body="inner", attributes={"colour": "blue"})]

    ((value, message),) = opened(one, "outer")

    assert (value, message.body, message.attributes) == ("inner", "outer", {"colour": "blue"})


SECRET = "4111-1111"


@pytest.mark.parametrize(
    ("envelope", "body", "reason"),
    [
        ("sns", SNS_CONFIRMATION, "sns: it is SNS's SubscriptionConfirmation, not a notification; open its Subscribe"),
        ("sns", {**SNS, "Message": 3}, "sns: Message: expected the text"),
        ("sns", {**SNS, "MessageAttributes": {"a": {"Type": "Binary", "Value": "?"}}}, "attributes.a.value"),
        ("sns", {**SNS, "MessageAttributes": [SECRET]}, "MessageAttributes: expected an object"),
        ("s3", SECRET + "{", "s3: not JSON: Extra data: line 1 column 5"),
        ("s3", [SECRET], "s3: body: expected an object"),
        ("s3", {"number": SECRET}, "s3: Records: expected the list of an S3 event notification"),
        ("s3", {"Records": [s3_record(), {"s3": SECRET}]}, r"Records\.1\.s3: expected an object"),
        ("s3", "[" * 100_000, "nested too deeply"),
        (("sns", "s3"), in_sns({"number": SECRET}), "sns of s3: Records"),
        ("eventbridge", {"source": SECRET, "detail": {}}, "eventbridge: detail-type: missing"),
        ("lambda", {"requestPayload": SECRET}, "lambda: requestContext: expected an object"),
        ("lambda", {"requestContext": {"condition": "Success"}}, "lambda: responsePayload: missing"),
        (by_hand, {"things": SECRET}, "by_hand: by_hand raised KeyError"),
        (by_hand, SECRET, "by_hand: by_hand raised JSONDecodeError"),
    ],
)
def test_what_is_not_in_its_envelope(envelope: Envelope, body: object, reason: str) -> None:
    with pytest.raises(WrongPayload, match=f"(?i)the body is not in the envelope .*{reason}") as caught:
        payloads(envelope, body)

    assert SECRET not in caught.value.reason


@pytest.mark.parametrize("answer", [None, "text", {"a": 1}, 3])
def test_a_function_that_returns_no_list_fails_the_attempt(answer: Any) -> None:
    def wrong(message: Message) -> Any:
        return answer

    with pytest.raises(TypeError, match=r"the envelope .*wrong returned .*: expected a list of payloads"):
        payloads(wrong, "{}")


def test_other_errors_of_a_function_fail_the_attempt() -> None:
    def broken(message: Message) -> list[Any]:
        raise ZeroDivisionError("a fault of the code, not of the body")

    with pytest.raises(ZeroDivisionError):
        payloads(broken, "{}")
