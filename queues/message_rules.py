"""What SQS takes as a message. The rules are AWS's, because emulators take what AWS refuses. Pure.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol

from queues.sqs import MAX_DELAY_SECONDS, MAX_MESSAGE_BYTES, OutgoingMessage

MAX_ATTRIBUTES = 10
#: Message groups and deduplication ids: 1 to 128 letters, digits and punctuation.
TOKEN_PATTERN = "^[!-~]{1,128}$"  # noqa: S105 - no password
#: Names of attributes.
NAME_PATTERN = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$"
_RESERVED = ("aws.", "amazon.")
MAX_NAME = 256

# What SQS takes in a body (and XML 1.0 in a document): tab, newline, carriage return, and all that is not a control
# character, surrogate or one of U+FFFE and U+FFFF.
_REFUSED = re.compile("[^\\x09\\x0a\\x0d\\x20-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")
_TOKEN = re.compile(TOKEN_PATTERN)
_NAME = re.compile(NAME_PATTERN)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_TYPES = ("String", "Number", "Binary")


def printable(text: str) -> str:
    """`text`, with every character that SQS would refuse replaced."""
    return _REFUSED.sub("\ufffd", text)


class ToQueue(Protocol):
    """What the rules need to know of a queue."""

    @property
    def name(self) -> str:
        """Its name, for messages."""

    @property
    def fifo(self) -> bool:
        """Whether it is a FIFO queue."""

    @property
    def max_message_bytes(self) -> int | None:
        """The largest message that it takes; None: SQS's limit."""


def problem_of(queue: ToQueue, message: OutgoingMessage) -> tuple[str, str] | None:
    """Why SQS would refuse a message to this queue: the field, and a text that continues "message 3 of 5"."""
    if not message.body:
        return "body", " has an empty body: SQS takes 1 byte to 1 MiB"
    if found := _REFUSED.search(message.body):
        return "body", f" has the character U+{ord(found[0]):04X}, which SQS does not take"
    if (problem := _problem_of_attributes(message.attributes)) is not None:
        return "attributes", problem
    most = min(MAX_MESSAGE_BYTES, queue.max_message_bytes or MAX_MESSAGE_BYTES)
    if message.size > most:
        takes = f"the queue takes {most:,}" if most < MAX_MESSAGE_BYTES else f"SQS takes {most:,} (1 MiB)"
        return "body", f" has {message.size:,} bytes with its attributes: {takes}"
    if message.delay is not None and not 0 <= message.delay <= MAX_DELAY_SECONDS:
        return "delay", f": delay {message.delay} is out of range: expected 0 to {MAX_DELAY_SECONDS} seconds"
    return _problem_of_order(queue, message)


def _problem_of_order(queue: ToQueue, message: OutgoingMessage) -> tuple[str, str] | None:
    if queue.fifo and message.delay:
        return "delay", ": a FIFO queue takes no delay for single messages"
    if queue.fifo and not message.group:
        return "group", f": {queue.name!r} is a FIFO queue and needs a message group"
    if not queue.fifo and message.deduplication_id is not None:
        return "deduplication_id", f": {queue.name!r} is not a FIFO queue and takes no deduplication id"
    for name, value in (("group", message.group), ("deduplication_id", message.deduplication_id)):
        if value is not None and not _TOKEN.fullmatch(value):
            shown = f"{name.replace('_', ' ')} {value[:50]!r}"
            return name, f": {shown}: expected 1 to 128 letters, digits and punctuation, without spaces"
    return None


def _problem_of_attributes(attributes: Mapping[str, Mapping[str, Any]]) -> str | None:
    if len(attributes) > MAX_ATTRIBUTES:
        return f" has {len(attributes)} attributes: SQS takes {MAX_ATTRIBUTES}"
    for name, value in attributes.items():
        if len(name) > MAX_NAME or not _NAME.fullmatch(name) or name.lower().startswith(_RESERVED):
            return (
                f": attribute name {name[:50]!r}: expected 1 to {MAX_NAME} letters, digits, hyphens, underscores and "
                "single periods inside, not beginning with AWS. or Amazon."
            )
        kind, _, _ = str(value.get("DataType", "")).partition(".")
        if kind not in _TYPES:
            return (
                f": attribute {name!r} has the type {kind!r}: expected {', '.join(_TYPES)}, or one of them with .LABEL"
            )
        if kind == "Binary":
            if not value.get("BinaryValue"):
                return f": attribute {name!r} is empty, which SQS does not allow"
            continue
        text = str(value.get("StringValue") or "")
        if not text:
            return f": attribute {name!r} is empty, which SQS does not allow"
        if found := _REFUSED.search(text):
            return f": attribute {name!r} has the character U+{ord(found[0]):04X}, which SQS does not take"
        if kind == "Number" and not _NUMBER.fullmatch(text):
            return f": attribute {name!r} is {text[:50]!r}: expected a number"
    return None
