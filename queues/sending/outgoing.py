"""What a sender says of a message, and the message that is made of it. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any, TypedDict

from pydantic_core import to_json

from queues.sqs import OutgoingMessage
from queuesite.foundation.errors import InvalidInput

#: An attribute is of the type String, Number (int, float, Decimal) or Binary.
AttributeValue = str | bytes | int | float | Decimal
Attributes = Mapping[str, AttributeValue]


class Options(TypedDict, total=False):
    """What may be said of a message.

    `delay`: seconds until it can be received, 0 to 900, else the queue's own; not on FIFO queues. `group`: the message
    group, which a FIFO queue needs; on others, SQS lets no group delay the rest. `deduplication_id`: for FIFO queues; a
    random one by default, unless the queue has content-based deduplication. `attributes`: up to 10, by name.
    """

    delay: float | timedelta | None
    group: str | None
    deduplication_id: str | None
    attributes: Attributes | None


class Each(TypedDict, total=False):
    """The same of each of many messages. An option may be a function, which gets the payload and returns its value."""

    delay: float | timedelta | Callable[[Any], float | timedelta | None] | None
    group: str | Callable[[Any], str | None] | None
    deduplication_id: str | Callable[[Any], str | None] | None
    attributes: Attributes | Callable[[Any], Attributes | None] | None


#: Makes a body of a payload. Raises `InvalidInput`.
Encode = Callable[[Any], str]


def text_body(value: object) -> str:
    """The body for a value of no declared type: text as it is, anything else as JSON. Raises `InvalidInput`."""
    if isinstance(value, str):
        return value
    try:
        return to_json(value).decode()
    except ValueError as error:
        raise InvalidInput(f"the body cannot be written as JSON: {error}", field="body") from None


def outgoing(payload: object, encode: Encode, options: Options) -> OutgoingMessage:
    """The message that carries a payload. Raises `InvalidInput`; SQS's own rules are checked later."""
    delay = options.get("delay")
    if isinstance(delay, timedelta):
        delay = delay.total_seconds()
    if delay is not None and not (_is_number(delay) and math.isfinite(delay)):
        raise InvalidInput(f"delay={delay!r}: expected seconds or a timedelta", field="delay")
    for name in ("group", "deduplication_id"):
        if not isinstance(options.get(name, ""), str | None):
            raise InvalidInput(f"{name}={options.get(name)!r}: expected text", field=name)
    attributes = options.get("attributes") or {}
    if not isinstance(attributes, Mapping):
        raise InvalidInput(f"attributes are a {type(attributes).__name__}: expected a mapping", field="attributes")
    return OutgoingMessage(
        encode(payload),
        {str(name): _attribute(name, value) for name, value in attributes.items()},
        None if delay is None else math.ceil(delay),
        options.get("group"),
        options.get("deduplication_id"),
    )


def each(payload: object, options: Each) -> Options:
    """The options of one payload, with its own value in place of each function."""
    found: Any = {name: value(payload) if callable(value) else value for name, value in options.items()}
    return found  # type: ignore[no-any-return]


def _attribute(name: str, value: object) -> dict[str, Any]:
    if isinstance(value, str):
        return {"DataType": "String", "StringValue": value}
    if isinstance(value, bytes):
        return {"DataType": "Binary", "BinaryValue": value}
    if _is_number(value):
        return {"DataType": "Number", "StringValue": str(value)}
    raise InvalidInput(
        f"attribute {name!r} is a {type(value).__name__}: expected text, a number or bytes", field="attributes"
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def check_names(options: Mapping[str, Any]) -> None:
    """Raise `TypeError` for an option that there is not, as Python does for an argument."""
    unknown = sorted(set(options) - set(Options.__annotations__))
    if unknown:
        known = ", ".join(Options.__annotations__)
        raise TypeError(f"unexpected option {unknown[0]!r}: expected {known}")
