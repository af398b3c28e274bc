"""Envelopes: what other services wrap around the payloads that they put into a queue.

An envelope is a name below, a function, or several of them from the outside in, such as `("sns", "s3")`. Each yields
the payloads of a message; a body that is not in its envelope raises `WrongBody`, whose text shows none of the body.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from pydantic_core import to_json

from queues.handlers.contract import Message

#: A function gets the message and returns an iterable of payloads: text, parsed values, or `Message`s whose bodies are
#: the payloads and whose attributes the handler is to see. `ValueError` and `LookupError` mean that the body is not in
#: the envelope; anything else fails the attempt.
Unwrap = Callable[[Message], Iterable[Any]]
Envelope = str | Unwrap | Sequence[str | Unwrap]


class WrongBody(ValueError):
    """A body is not in the envelope that its handler expects."""


class Form(Enum):
    """What form a payload has before it is checked against the handler's type."""

    TEXT = "text"
    #: What JSON was parsed into.
    JSON = "json"
    #: Whatever a function made.
    VALUE = "value"


@dataclass(frozen=True)
class Piece:
    """One payload of a message, not yet checked. `attributes`: those that it has in place of the message's own."""

    value: Any
    form: Form
    attributes: Mapping[str, str | bytes] | None = None

    def within(self, message: Message) -> Message:
        """The message that the handler gets with this payload."""
        return message if self.attributes is None else replace(message, attributes=self.attributes)

    def as_body(self, message: Message) -> Message:
        """A message whose body is this payload, for the next envelope."""
        text = self.value if self.form is Form.TEXT else to_json(self.value).decode()
        return replace(self.within(message), body=text)


Step = Callable[[Message], Iterator[Piece]]


def steps_of(envelope: Envelope | None) -> tuple[Step, ...]:
    """What each part of the envelope does, from the outside in. Raises `ValueError` for what is not an envelope."""
    if envelope is None:
        return ()
    parts = [envelope] if isinstance(envelope, str) or callable(envelope) else envelope
    if not isinstance(parts, Sequence) or not parts:  # type: ignore[redundant-expr]
        raise ValueError(_unknown(envelope))
    return tuple(_step(part) for part in parts)


def name_of(envelope: Envelope | None) -> str:
    """The envelope in words, such as `sns of s3`; empty if there is none."""
    if envelope is None:
        return ""
    parts = [envelope] if isinstance(envelope, str) or callable(envelope) else envelope
    return " of ".join(part if isinstance(part, str) else getattr(part, "__name__", repr(part)) for part in parts)


def unwrap(steps: Sequence[Step], message: Message) -> list[Piece]:
    """The payloads of a message; several, or none. Raises `WrongBody`, and what a function of the envelope raises."""
    pieces = [Piece(message.body, Form.TEXT)]
    for step in steps:
        pieces = [
            inner if inner.attributes is not None else replace(inner, attributes=piece.attributes)
            for piece in pieces
            for inner in step(piece.as_body(message))
        ]
    return pieces


# --- the services ---


def _sns(message: Message) -> Iterator[Piece]:
    """A notification, or with raw message delivery the text that was published."""
    try:
        body = message.json()
    except ValueError:
        body = None
    if not isinstance(body, dict) or "TopicArn" not in body or "Type" not in body:
        yield Piece(message.body, Form.TEXT)
        return
    if body["Type"] in {"SubscriptionConfirmation", "UnsubscribeConfirmation"}:
        raise WrongBody(f"it is SNS's {body['Type']}, not a notification; open its SubscribeURL to confirm")
    text = body.get("Message")
    if not isinstance(text, str):
        raise WrongBody("Message: expected the text of an SNS notification")
    attributes = dict(message.attributes)
    for name, value in _mapping(body.get("MessageAttributes") or {}, "MessageAttributes").items():
        attributes[name] = _attribute(_mapping(value, path := f"MessageAttributes.{name}"), path)
    yield Piece(text, Form.TEXT, attributes)


def _s3(message: Message) -> Iterator[Piece]:
    """The records of an event notification. The test event, which S3 sends when notifications are set up, has none."""
    body = _mapping(_json(message), "body")
    if body.get("Event") == "s3:TestEvent":
        return
    records = body.get("Records")
    if not isinstance(records, list):
        raise WrongBody("Records: expected the list of an S3 event notification")
    for place, record in enumerate(records):
        _mapping(_mapping(record, f"Records.{place}").get("s3"), f"Records.{place}.s3")
        yield Piece(record, Form.JSON)


def _eventbridge(message: Message) -> Iterator[Piece]:
    """The detail of an event."""
    body = _mapping(_json(message), "body")
    for name in ("source", "detail-type", "detail"):
        if name not in body:
            raise WrongBody(f"{name}: missing, but every EventBridge event has it")
    yield Piece(body["detail"], Form.JSON)


def _lambda(message: Message) -> Iterator[Piece]:
    """What a Lambda function answered to an asynchronous invocation; if it failed, what it had been called with."""
    body = _mapping(_json(message), "body")
    context = _mapping(body.get("requestContext"), "requestContext")
    name = "responsePayload" if context.get("condition") == "Success" else "requestPayload"
    if name not in body:
        raise WrongBody(f"{name}: missing from the record of an invocation")
    yield Piece(body[name], Form.JSON)


ENVELOPES: Mapping[str, Step] = {"sns": _sns, "s3": _s3, "eventbridge": _eventbridge, "lambda": _lambda}


def _step(part: object) -> Step:
    if isinstance(part, str):
        if part not in ENVELOPES:
            raise ValueError(_unknown(part))
        return ENVELOPES[part]
    if not callable(part):
        raise ValueError(_unknown(part))
    return _own(part)


def _unknown(envelope: object) -> str:
    return f"envelope={envelope!r}: expected {', '.join(ENVELOPES)}, a function, or several of them from the outside in"


def _own(function: Unwrap) -> Step:
    name = getattr(function, "__qualname__", repr(function))

    def step(message: Message) -> Iterator[Piece]:
        try:
            found = function(message)
            if isinstance(found, str | bytes | Mapping) or not isinstance(found, Iterable):
                raise TypeError(f"the envelope {name} returned {type(found).__name__}: expected a list of payloads")
            items = list(found)
        except (ValueError, LookupError) as error:
            if isinstance(error, WrongBody):
                raise
            # What it says may quote the body.
            raise WrongBody(f"{name} raised {type(error).__name__}") from error
        for item in items:
            if isinstance(item, Message):
                yield Piece(item.body, Form.TEXT, item.attributes)
            else:
                yield Piece(item, Form.TEXT if isinstance(item, str) else Form.VALUE)

    return step


def _attribute(attribute: Mapping[str, Any], path: str) -> str | bytes:
    """An attribute of an SNS notification as it would come with raw message delivery."""
    value = str(attribute.get("Value", ""))
    if attribute.get("Type") != "Binary":
        return value
    try:
        return base64.b64decode(value, validate=True)
    except ValueError:
        raise WrongBody(f"{path}.Value: expected base64") from None


def _json(message: Message) -> Any:
    try:
        return message.json()
    except json.JSONDecodeError as error:
        raise WrongBody(f"not JSON: {error}") from None
    except RecursionError:
        raise WrongBody("not JSON: nested too deeply") from None


def _mapping(value: object, path: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise WrongBody(f"{path}: expected an object")
    return value
