"""Batches of messages: each as large as SQS allows, and sent until every message is taken or refused for good."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from queues.sqs.data_plane import DataPlane
from queues.sqs.refusals import BatchFailure
from queues.sqs.values import MAX_BATCH, MAX_MESSAGE_BYTES, OutgoingMessage
from queuesite.foundation.errors import QueuesiteError, ServerError

#: Tries of an entry that SQS refused for a reason of its own (throttling, internal error).
SEND_ATTEMPTS = 5
#: Batches under way at once. SQS answers a batch in some 10 ms; eight of them keep one core busy with their CPU cost.
PARALLEL_SENDS = 8

#: A message and its place among those that are sent together.
Placed = tuple[int, OutgoingMessage]


class SendFailed(QueuesiteError):
    """Some messages were not sent; `report` says which, and which were."""

    exit_code = 1

    def __init__(self, message: str, report: SendReport) -> None:
        self.report = report
        super().__init__(message)


@dataclass
class SendReport:
    """The result of a send: how many messages SQS took, and why it did not take the others, by their place."""

    sent: int = 0
    failures: dict[int, str] = field(default_factory=dict)
    message_ids: dict[int, str] = field(default_factory=dict)
    #: The last of SQS's refusals that are in `failures`.
    refused: BatchFailure | None = None

    def add(self, part: SendReport) -> None:
        """Count what another part of the same send came to."""
        self.sent += part.sent
        self.failures.update(part.failures)
        self.message_ids.update(part.message_ids)
        self.refused = part.refused or self.refused

    def raise_for_failures(self) -> None:
        """Raise `SendFailed`, which names the first failure, unless all messages were sent."""
        if self.failures:
            place = min(self.failures)
            total = self.sent + len(self.failures)
            raise SendFailed(
                f"{len(self.failures):,} of {total:,} messages were not sent; the first of them is number "
                f"{place + 1:,}: {self.failures[place]}",
                self,
            )


def batches(messages: Iterable[Placed]) -> Iterator[list[Placed]]:
    """Batches of up to 10 messages and 1 MiB together, made as they are asked for."""
    batch: list[Placed] = []
    size = 0
    for place, message in messages:
        if batch and (len(batch) == MAX_BATCH or size + message.size > MAX_MESSAGE_BYTES):
            yield batch
            batch, size = [], 0
        batch.append((place, message))
        size += message.size
    if batch:
        yield batch


def send_batch(
    gateway: DataPlane, queue_url: str, batch: list[Placed], outages: list[ServerError] | None = None
) -> SendReport:
    """Send one batch; send entries that SQS throttles again.

    Raises `ServerError` if SQS fails. If `outages` is given, the error is added to it instead, and the report names it
    for each message.
    """
    report = SendReport()
    waiting = batch
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


def not_sent(report: SendReport) -> str:
    """Why a message is not sent after one that failed."""
    return f"not sent, to keep the order: message {min(report.failures) + 1:,} failed"


def send_all(
    gateway: DataPlane,
    queue_url: str,
    messages: Iterable[Placed],
    report: SendReport,
    *,
    in_order: bool,
    to_first_failure: bool = False,
    outages: list[ServerError] | None = None,
    progress: Callable[[int], None] = lambda sent: None,
) -> None:
    """Send messages in batches, eight at once unless `in_order`, and count them in `report` as they are answered.

    With `to_first_failure` no batch is sent after one that failed. `progress` gets the number of messages of each
    batch. Raises what `messages` raises, and, without `outages` (see `send_batch`), `ServerError`. By then `report` has
    what was sent before.
    """

    def collect(done: Iterable[Future[SendReport]]) -> None:
        for future in done:
            part = future.result()
            report.add(part)
            progress(part.sent)

    most_pending = 1 if in_order else 2 * PARALLEL_SENDS
    with ThreadPoolExecutor(1 if in_order else PARALLEL_SENDS, thread_name_prefix="send") as pool:
        pending: set[Future[SendReport]] = set()
        try:
            for batch in batches(messages):
                if to_first_failure and report.failures:
                    report.failures.update((place, not_sent(report)) for place, _ in batch)
                    continue
                pending.add(pool.submit(send_batch, gateway, queue_url, batch, outages))
                if len(pending) >= most_pending:
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    collect(done)
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                collect(done)
        finally:
            # After an error: what SQS is being asked to take is waited for, the rest is not sent.
            begun = [future for future in pending if not future.cancel()]
            for future in wait(begun).done:
                if future.exception() is None:
                    collect([future])
