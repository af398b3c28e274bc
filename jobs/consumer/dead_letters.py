"""Sending a rejected message to the dead-letter queue, with the reason."""

from __future__ import annotations

from dataclasses import replace

from queues.messages import REJECTION_PREFIX, printable
from queues.moving import REJECTED_ID
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
    """The copy for the dead-letter queue. Reason and id are left out if SQS's limits leave no room for them."""
    # A second try after a lost answer must not make two dead letters; only FIFO queues recognize it.
    deduplication = f"reject-{message.message_id}" if fifo else None
    copy = OutgoingMessage(message.body, dict(message.attributes), group=message.group, deduplication_id=deduplication)
    text = printable(reason)[:REASON_CHARACTERS] or "rejected"
    for name, value in ((f"{REJECTION_PREFIX}Reason", text), (REJECTED_ID, message.message_id)):
        attributes = {**copy.attributes, name: {"DataType": "String", "StringValue": value}}
        fuller = replace(copy, attributes=attributes)
        if len(attributes) <= MAX_ATTRIBUTES and fuller.size <= MAX_MESSAGE_BYTES:
            copy = fuller
    return copy
