"""Batches of messages: each as large as SQS allows, and sent until every message is taken or refused for good."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from queues.sqs.data_plane import DataPlane
from queues.sqs.refusals import BatchFailure
from queues.sqs.values import MAX_BATCH, MAX_MESSAGE_BYTES, OutgoingMessage
from queuesite.errors import ServerError

#: Tries of an entry that SQS refused for a reason of its own (throttling, internal error).
SEND_ATTEMPTS = 5


@dataclass
class SendReport:
    """The result of a send: how many messages SQS took, and why it refused the others, by their place."""

    sent: int = 0
    failures: dict[int, str] = field(default_factory=dict)
    message_ids: dict[int, str] = field(default_factory=dict)
    #: The last of SQS's refusals that are in `failures`.
    refused: BatchFailure | None = None


def batches(messages: Sequence[OutgoingMessage]) -> Iterator[tuple[int, list[OutgoingMessage]]]:
    """Batches of up to 10 messages and 1 MiB together, each with the place of its first message."""
    batch: list[OutgoingMessage] = []
    size = 0
    for place, message in enumerate(messages):
        if batch and (len(batch) == MAX_BATCH or size + message.size > MAX_MESSAGE_BYTES):
            yield place - len(batch), batch
            batch, size = [], 0
        batch.append(message)
        size += message.size
    if batch:
        yield len(messages) - len(batch), batch


def send_batch(
    gateway: DataPlane,
    queue_url: str,
    first: int,
    batch: list[OutgoingMessage],
    outages: list[ServerError] | None = None,
) -> SendReport:
    """Send one batch whose first message has the place `first`; send entries that SQS throttles again.

    Raises `ServerError` if SQS fails. If `outages` is given, the error is added to it instead, and the report names it
    for each message.
    """
    report = SendReport()
    waiting = list(enumerate(batch, first))
    for attempt in range(SEND_ATTEMPTS):
        try:
            result = gateway.send(queue_url, [message for _, message in waiting])
        except ServerError as error:
            if outages is None:
                raise
            outages.append(error)
            report.failures.update((place, str(error)) for place, _ in waiting)
            break
        for index, message_id in result.message_ids.items():
            report.sent += 1
            report.message_ids[waiting[index][0]] = message_id
        again = []
        for failure in result.failures:
            place = waiting[failure.index][0]
            report.failures[place] = failure.text
            report.refused = failure
            if failure.transient:
                again.append(waiting[failure.index])
        if not again:
            break
        if attempt < SEND_ATTEMPTS - 1:
            for place, _ in again:
                del report.failures[place]
            waiting = again
            time.sleep(0.1 * 2**attempt)
    return report
