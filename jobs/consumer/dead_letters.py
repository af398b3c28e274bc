"""Sending a rejected message to the dead-letter queue, with the reason."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from queues.messages import REJECTION_PREFIX, printable
from queues.naming import is_fifo
from queues.sqs import MAX_MESSAGE_BYTES, DataPlane, OutgoingMessage, ReceivedMessage
from queuesite.foundation.errors import SqsRejected, SqsUnavailable

#: SQS's limit of attributes per message, and ours for the length of a reason, in characters.
MAX_ATTRIBUTES = 10
REASON_CHARACTERS = 1_000


def send_to_dead_letters(gateway: DataPlane, dlq_url: str, message: ReceivedMessage, reason: str) -> None:
    """Send a copy of `message` to `dlq_url`. Raises `ServerError` if SQS does not confirm it."""
    result = gateway.send(dlq_url, [dead_letter(message, reason, fifo=is_fifo(dlq_url))])
    if result.failures:
        failure = result.failures[0]
        kind = SqsUnavailable if failure.transient else SqsRejected
        raise kind(f"{failure.code}: {failure.message}")


def dead_letter(message: ReceivedMessage, reason: str, *, fifo: bool) -> OutgoingMessage:
    """The copy for the dead-letter queue. The reason is left out if SQS's limits leave no room for it."""
    attributes: dict[str, dict[str, Any]] = dict(message.attributes)
    text = printable(reason)[:REASON_CHARACTERS] or "rejected"
    name = f"{REJECTION_PREFIX}Reason"
    if len(attributes) < MAX_ATTRIBUTES or name in attributes:
        attributes[name] = {"DataType": "String", "StringValue": text}
    # A second try after a lost answer must not make two dead letters; only FIFO queues can tell.
    deduplication = f"reject-{message.message_id}" if fifo else None
    copy = OutgoingMessage(message.body, attributes, group=message.group, deduplication_id=deduplication)
    if copy.size > MAX_MESSAGE_BYTES:
        copy = replace(copy, attributes=dict(message.attributes))
    return copy
