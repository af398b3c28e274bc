"""Moving dead letters back to their queue: by SQS's own task, or by hand if it has none or its task fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from queues.models import Queue
from queues.sqs import MAX_BATCH, DataPlane, OutgoingMessage, ReceivedMessage
from queues.sqs.batches import SEND_ATTEMPTS, batches, send_batch
from queuesite.foundation.errors import ServerError, SqsRejected
from queuesite.foundation.logs import get_logger

if TYPE_CHECKING:
    from queues.sqs.gateway import SqsGateway

log = get_logger(__name__)

#: Attributes with this prefix say why a handler rejected a message; a letter moved by hand loses them.
REJECTION_PREFIX = "QueuesiteReject"
#: The id of the message that a rejected letter is a copy of.
REJECTED_ID = f"{REJECTION_PREFIX}MessageId"
#: Seconds for which a dead letter is hidden while it is moved: far more than a send and a delete take.
HIDDEN_SECONDS = 60
#: Receives of one second each that must find nothing before the dead-letter queue counts as empty. A failed SQS task
#: may have hidden the letter that it failed at; on LocalStack it does so for a second.
_LOOKS = 1
_LOOKS_AFTER_TASK = 3
#: Seconds between two questions about an SQS task's progress.
_POLL_SECONDS = 0.5

Progress = Callable[[int], None]


def message_id_of(letter: ReceivedMessage) -> str:
    """The id of the message that a letter was: its own, unless it is the copy of a rejected message."""
    found = letter.attributes.get(REJECTED_ID, {}).get("StringValue")
    return found if isinstance(found, str) and found else letter.message_id


@dataclass(frozen=True)
class RedriveReport:
    """How many dead letters went back to their queue, and whether SQS's own task moved all of them."""

    moved: int
    by_sqs: bool


def move_all(gateway: SqsGateway, queue: Queue, dlq_url: str, progress: Progress) -> RedriveReport:
    """Move all letters of `dlq_url` to `queue`. `progress` gets the number of letters moved since its last call.

    SQS's own task is used if there is one. It is given the destination, because letters that a consumer rejected were
    sent to the dead-letter queue: SQS knows no source for them and would fail at the first. Letters that the task
    leaves are moved by hand, a batch at a time: they are sent to the queue and only then deleted.
    """
    source = gateway.attributes(dlq_url, ("QueueArn",))["QueueArn"]
    destination = gateway.attributes(queue.queue_url, ("QueueArn",))["QueueArn"]
    try:
        handle = gateway.start_redrive(source, destination)
    except SqsRejected as error:
        # Such as "Source queue must be configured as a Dead Letter Queue": it is ours, but SQS's policy says otherwise.
        log.warning("move_task_refused", queue=queue.name, error=str(error))
        handle = None
    if handle is None:
        return RedriveReport(_by_hand(gateway, queue, dlq_url, progress, 0, _LOOKS), by_sqs=False)
    moved, completed = _follow(gateway, source, handle, progress)
    if completed:
        return RedriveReport(moved, by_sqs=True)
    log.warning("move_task_failed", queue=queue.name, moved=moved)
    return RedriveReport(_by_hand(gateway, queue, dlq_url, progress, moved, _LOOKS_AFTER_TASK), by_sqs=False)


def _follow(gateway: SqsGateway, source: str, handle: str, progress: Progress) -> tuple[int, bool]:
    """Wait for the end of an SQS task; return how many letters it moved, and whether it succeeded."""
    moved = 0
    while True:
        state, total, _ = gateway.redrive_progress(source, handle)
        progress(max(0, total - moved))
        moved = max(moved, total)
        if state not in {"RUNNING", "CANCELLING"}:
            return moved, state != "FAILED"
        time.sleep(_POLL_SECONDS)


def _by_hand(gateway: SqsGateway, queue: Queue, dlq_url: str, progress: Progress, already: int, looks: int) -> int:
    # A letter that fails again at once comes back while this runs. It was sent after our start, so it stays; otherwise
    # this might never end. Counts would not show it, since they lag by up to a minute on AWS.
    began = time.time()
    moved = already
    staying: list[ReceivedMessage] = []
    try:
        while looks > 0:
            received = gateway.receive(dlq_url, limit=MAX_BATCH, wait=1, visibility=HIDDEN_SECONDS)
            letters = [message for message in received if message.sent_at <= began]
            staying += [message for message in received if message.sent_at > began]
            if not received:
                looks -= 1
            elif not letters:
                break
            for batch in fitting(letters):
                count = move(gateway, queue, dlq_url, batch, moved)
                moved += count
                progress(count)
    finally:
        for first in range(0, len(staying), MAX_BATCH):
            with suppress(ServerError):  # they are visible again within HIDDEN_SECONDS
                part = staying[first : first + MAX_BATCH]
                gateway.change_visibility(dlq_url, [(message.receipt_handle, 0) for message in part])
    return moved


def move(gateway: SqsGateway, queue: Queue, dlq_url: str, batch: Sequence[ReceivedMessage], already: int) -> int:
    """Move these received letters, which fit into one batch; return how many were moved.

    Raises `ServerError` if SQS refuses some, which then stay in the dead-letter queue. `already` is how many were moved
    before.
    """
    report = send_batch(gateway, queue.queue_url, [(place, _copy(one, queue)) for place, one in enumerate(batch)])
    delete(gateway, dlq_url, [batch[place] for place in report.message_ids])
    if report.failures and report.refused:
        kind = type(report.refused.error)
        raise kind(
            f"SQS refused {len(report.failures)} messages ({report.refused.text}) after {already + report.sent} were "
            "moved; they are still in the dead-letter queue, try again"
        )
    return report.sent


def fitting(received: list[ReceivedMessage]) -> Iterator[list[ReceivedMessage]]:
    """Split a received batch, which may be larger than SQS takes in one send (10 messages of 1 MiB each)."""
    copies = [OutgoingMessage(m.body, m.attributes) for m in received]
    for batch in batches(enumerate(copies)):
        yield [received[place] for place, _ in batch]


def _copy(message: ReceivedMessage, queue: Queue) -> OutgoingMessage:
    attributes = {k: v for k, v in message.attributes.items() if not k.startswith(REJECTION_PREFIX)}
    if not queue.fifo:
        return OutgoingMessage(message.body, attributes, group=message.group)
    # The message's own deduplication id would make SQS drop the copy within five minutes of the first send. One derived
    # from the dead letter makes a repeated move of the same letter harmless instead.
    return OutgoingMessage(
        message.body, attributes, group=message.group, deduplication_id=f"redrive-{message.message_id}"
    )


def show(gateway: DataPlane, queue_url: str, messages: Sequence[ReceivedMessage]) -> None:
    """Make received messages visible again; for those that have been deleted this does nothing."""
    for first in range(0, len(messages), MAX_BATCH):
        some = messages[first : first + MAX_BATCH]
        gateway.change_visibility(queue_url, [(message.receipt_handle, 0) for message in some])


def delete(gateway: SqsGateway, queue_url: str, messages: Sequence[ReceivedMessage]) -> None:
    """Delete letters that have been moved. If SQS does not delete one, the next redrive moves it once more."""
    waiting = [message.receipt_handle for message in messages]
    for attempt in range(SEND_ATTEMPTS):
        if not waiting:
            return
        if attempt:
            time.sleep(0.1 * 2 ** (attempt - 1))
        failures = gateway.delete(queue_url, waiting)
        waiting = [waiting[failure.index] for failure in failures if failure.transient]
    if waiting:
        log.warning("dead_letters_not_deleted", queue_url=queue_url, count=len(waiting))
