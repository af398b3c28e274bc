"""Messages in requests and answers."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from queues.message_rules import MAX_ATTRIBUTES, MAX_NAME, NAME_PATTERN, TOKEN_PATTERN
from queues.messages import REJECTION_PREFIX
from queues.sqs import MAX_DELAY_SECONDS, MAX_MESSAGE_BYTES, OutgoingMessage, ReceivedMessage
from queuesite.api.schemas import In, Out, Timestamp
from queuesite.foundation.config import get_config
from queuesite.foundation.errors import InvalidInput

#: Most messages in one request.
MAX_MESSAGES = 1_000


class AttributeIn(In):
    """An attribute with its type."""

    data_type: str = Field(
        pattern=r"^(String|Number|Binary)(\.[A-Za-z0-9_.-]{1,200})?$",
        description="String, Number or Binary, or one of them with .LABEL",
        examples=["String"],
    )
    string_value: str | None = Field(None, min_length=1, description="of a String or Number", examples=["blue"])
    binary_value: str | None = Field(None, min_length=1, description="of a Binary, as base64", examples=[None])

    @model_validator(mode="after")
    def _fitting(self) -> AttributeIn:
        binary = self.data_type.startswith("Binary")
        if (self.binary_value is not None) != binary or (self.string_value is not None) == binary:
            raise ValueError("expected binaryValue for a Binary, stringValue for a String or Number, and not both")
        return self

    @field_validator("binary_value")
    @classmethod
    def _base64(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                base64.b64decode(value, validate=True)
            except (binascii.Error, ValueError):
                raise ValueError("expected base64") from None
        return value


def _kind(value: object) -> str | None:
    if isinstance(value, str):
        return "<text>"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "<number>"
    return "<object>" if isinstance(value, dict) else None


# Each type is validated by itself, so that an error is reported once. Names in <> are left out of the field's path.
Attribute = Annotated[
    Annotated[str, Field(min_length=1), Tag("<text>")]
    | Annotated[int | float, Tag("<number>")]
    | Annotated[AttributeIn, Tag("<object>")],
    Discriminator(
        _kind,
        custom_error_type="attribute",
        custom_error_message="expected a text, a number, or an object with dataType and its value",
    ),
]
AttributeName = Annotated[str, Field(pattern=NAME_PATTERN, max_length=MAX_NAME)]


class MessageIn(In):
    """A message to send."""

    body: Any = Field(
        description=f"text, sent as it is, or any other JSON, sent as JSON text; at most {MAX_MESSAGE_BYTES:,} bytes "
        "with the attributes",
        examples=[{"number": 4711}],
    )
    attributes: dict[AttributeName, Attribute] = Field(
        {},
        max_length=MAX_ATTRIBUTES,
        description="by name: a text, a number, or an object with its type",
        examples=[{"colour": "blue"}],
    )
    delay: int | None = Field(
        None, ge=0, le=MAX_DELAY_SECONDS, description="seconds until it can be received; not on FIFO queues"
    )
    group: str | None = Field(
        None,
        pattern=TOKEN_PATTERN,
        description="message group, which a FIFO queue needs; on others, SQS lets no group delay the rest",
        examples=[None],
    )
    deduplication_id: str | None = Field(
        None,
        pattern=TOKEN_PATTERN,
        description="only for FIFO queues; generated if missing, unless the queue has contentBasedDeduplication",
        examples=[None],
    )

    def outgoing(self) -> OutgoingMessage:
        """The message for the services."""
        body = self.body if isinstance(self.body, str) else json.dumps(self.body, ensure_ascii=False)
        attributes = {name: _attribute(value) for name, value in self.attributes.items()}
        return OutgoingMessage(body, attributes, self.delay, self.group, self.deduplication_id)


def _attribute(value: str | float | AttributeIn) -> dict[str, Any]:
    if isinstance(value, AttributeIn):
        if value.binary_value is not None:
            return {"DataType": value.data_type, "BinaryValue": base64.b64decode(value.binary_value)}
        return {"DataType": value.data_type, "StringValue": value.string_value}
    if isinstance(value, str):
        return {"DataType": "String", "StringValue": value}
    return {"DataType": "Number", "StringValue": json.dumps(value)}


class MessagesIn(In):
    """Messages to send."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"messages": [{"body": {"number": 4711}}, {"body": "plain text", "delay": 60}]}]
        }
    )

    messages: list[MessageIn] = Field(min_length=1, max_length=MAX_MESSAGES, description="one or many")


class BulkIn(MessagesIn):
    """Messages to send in the background, each of them as often as `repeat` says."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"messages": [{"body": "test"}], "repeat": 100}]})

    repeat: int = Field(
        1,
        ge=1,
        le=get_config().api_max_bulk,
        description="how often each message is sent; at most API_MAX_BULK messages in all",
        examples=[1],
    )


def with_deduplication(messages: list[OutgoingMessage], seed: str) -> list[OutgoingMessage]:
    """Derive missing deduplication ids from `seed`, so that a repeated send makes no second copy."""
    digest = hashlib.sha256(seed.encode()).hexdigest()[:40]
    return [
        message
        if message.deduplication_id is not None
        else OutgoingMessage(message.body, message.attributes, message.delay, message.group, f"{digest}-{place}")
        for place, message in enumerate(messages)
    ]


def bulk_total(payload: BulkIn) -> int:
    """How many messages a bulk send has. Raises `InvalidInput` if there are too many."""
    total = len(payload.messages) * payload.repeat
    if total > (most := get_config().api_max_bulk):
        raise InvalidInput(
            f"{len(payload.messages)} messages {payload.repeat:,} times are {total:,}: a bulk send takes {most:,} "
            "(API_MAX_BULK)",
            field="repeat",
        )
    return total


class ResultOut(Out):
    """The outcome for one message."""

    index: int = Field(description="its position in the request, from 0", examples=[0])
    message_id: str | None = Field(description="its id in SQS", examples=["b1946ac9-2d4f-4a7d-8f3e-5c2b1a0f9e8d"])
    error: str | None = Field(description="why it was not sent", examples=[None])


class SentOut(Out):
    """The outcomes for the messages of a request."""

    sent: int = Field(examples=[1])
    failed: int = Field(examples=[0])
    results: list[ResultOut]


class MessageOut(Out):
    """A message in a queue."""

    message_id: str = Field(examples=["b1946ac9-2d4f-4a7d-8f3e-5c2b1a0f9e8d"])
    body: str = Field(examples=['{"number": 4711}'])
    attributes: dict[str, AttributeOut] = Field(description="by name")
    receive_count: int = Field(description="how often it was received, including this look", examples=[1])
    sent_at: Timestamp | None
    group: str | None = Field(examples=[None])
    deduplication_id: str | None = Field(examples=[None])

    @classmethod
    def of(cls, message: ReceivedMessage) -> MessageOut:
        """From what SQS gave out."""
        return cls(**_values(message))


class AttributeOut(Out):
    """An attribute with its type."""

    data_type: str = Field(examples=["String"])
    string_value: str | None = Field(None, examples=["blue"])
    binary_value: str | None = Field(None, description="base64", examples=[None])


class DeadLetterOut(MessageOut):
    """A dead letter."""

    reason: str = Field(description="why it is a dead letter, as far as known", examples=["no such customer"])
    rejected: bool = Field(description="whether a handler rejected it; otherwise it was received too often")

    @classmethod
    def of(cls, message: ReceivedMessage) -> DeadLetterOut:
        """The answer for a received message. The attributes with the reason are not the sender's."""
        values = _values(message)
        found = values["attributes"].get(f"{REJECTION_PREFIX}Reason")
        values["attributes"] = {
            name: value for name, value in values["attributes"].items() if not name.startswith(REJECTION_PREFIX)
        }
        reason = "received as often as maxReceiveCount allows" if found is None else found.string_value
        return cls(**values, reason=reason, rejected=found is not None)


def _values(message: ReceivedMessage) -> dict[str, Any]:
    sent = message.system.get("SentTimestamp")
    return {
        "message_id": message.message_id,
        "body": message.body,
        "attributes": {name: _attribute_out(value) for name, value in message.attributes.items()},
        "receive_count": message.receive_count,
        "sent_at": None if sent is None else datetime.fromtimestamp(int(sent) / 1000, UTC),
        "group": message.group,
        "deduplication_id": message.system.get("MessageDeduplicationId"),
    }


def _attribute_out(value: dict[str, Any]) -> AttributeOut:
    binary = value.get("BinaryValue")
    return AttributeOut(
        data_type=value.get("DataType", "String"),
        string_value=value.get("StringValue"),
        binary_value=None if binary is None else base64.b64encode(binary).decode(),
    )


class PeekOut(Out):
    """Messages of a queue."""

    items: list[MessageOut]
    warning: str | None = Field(
        description="which messages have no further receive before they go to the dead-letter queue", examples=[None]
    )


MessageOut.model_rebuild()
