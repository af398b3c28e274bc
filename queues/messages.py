"""Sending and redriving messages: the operations on a queue's messages that take time and report progress."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

from queues import repository, services
from queues.message_rules import printable as printable
from queues.message_rules import problem_of
from queues.models import Queue
from queues.sqs import (
    MAX_BATCH,
    MAX_MESSAGE_BYTES,
    BatchFailure,
    OutgoingMessage,
    ReceivedMessage,
    SqsGateway,
    get_gateway,
)
from queuesite.databases import mongodb_errors
from queuesite.errors import InvalidInput, ServerError, SqsRejected, SqsUnavailable
from queuesite.logs import get_logger

log = get_logger(__name__)

#: Batches under way at once. SQS answers a batch in some 10 ms; eight of them keep one core busy with their CPU cost.
PARALLEL_SENDS = 8
#: Tries of an entry that SQS refused for a reason of its own (throttling, internal error).
SEND_ATTEMPTS = 5

Progress = Callable[[int], None]


@dataclass
class SendReport:
    """What became of a send: how many messages SQS took, and what it said of the others, by their place."""

    sent: int = 0
    failures: dict[int, str] = field(default_factory=dict)
    message_ids: dict[int, str] = field(default_factory=dict)


#: Problems that one error names, of however many messages: nobody reads more.
_NAMED_PROBLEMS = 20


def validate_messages(queue: Queue, messages: Sequence[OutgoingMessage]) -> None:
    """Raise `InvalidInput` for the first message that SQS would refuse, naming its place; `fields` has the next."""
    problems = []
    for place, message in enumerate(messages, 1):
        if (found := problem_of(queue, message)) is not None:
            problems.append((place, *found))
            if len(problems) == _NAMED_PROBLEMS:
                break
    if problems:
        fields = [(f"messages.{place - 1}.{name}", text.lstrip(": ")) for place, name, text in problems]
        place, name, text = problems[0]
        raise InvalidInput(f"message {place} of {len(messages)}{text}", field=name, fields=fields)


def send(
    name: str,
    messages: Sequence[OutgoingMessage],
    progress: Progress = lambda sent: None,
    *,
    report_outage: bool = False,
) -> SendReport:
    """Send messages in batches, in parallel, and wake the queue. `progress` is told how many more SQS took.

    Raises `InvalidInput` before anything is sent, and `ServerError` where SQS fails; entries that SQS refuses one by
    one are in the report. With `report_outage` those of a batch that SQS fails at are in it too, and `ServerError`
    means that nothing was sent. FIFO queues are sent to one batch after another, so that the order is kept.
    """
    queue = services.get(name)
    validate_messages(queue, messages)
    if queue.fifo:
        messages = [m if m.deduplication_id else replace(m, deduplication_id=uuid.uuid4().hex) for m in messages]
    gateway = get_gateway()
    report = SendReport()
    outages: list[ServerError] = []
    send_batch = partial(_send_batch, outages=outages if report_outage else None)
    batches = _batches(messages)
    woken = False
    with ThreadPoolExecutor(1 if queue.fifo else PARALLEL_SENDS, thread_name_prefix="send") as pool:
        pending: set[Future[SendReport]] = set()
        try:
            for first, batch in batches:
                pending.add(pool.submit(send_batch, gateway, queue.queue_url, first, batch))
                if len(pending) >= 2 * PARALLEL_SENDS:
                    pending = _collect(pending, report, progress)
                if report.sent and not woken:
                    _wake(queue)  # so that consumers start while the rest is being sent
                    woken = True
            while pending:
                pending = _collect(pending, report, progress)
        finally:
            for future in pending:
                future.cancel()
            # Also where something failed half-way: what SQS has taken is to be handled.
            _wake(queue)
    if outages and not report.sent:
        raise outages[0]
    return report


def _wake(queue: Queue) -> None:
    with mongodb_errors():
        repository.wake(queue.id)


def _collect(pending: set[Future[SendReport]], report: SendReport, progress: Progress) -> set[Future[SendReport]]:
    done, rest = wait(pending, return_when=FIRST_COMPLETED)
    for future in done:
        part = future.result()
        report.sent += part.sent
        report.failures.update(part.failures)
        report.message_ids.update(part.message_ids)
        progress(part.sent)
    return rest


def _batches(messages: Sequence[OutgoingMessage]) -> Iterator[tuple[int, list[OutgoingMessage]]]:
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


def _send_batch(
    gateway: SqsGateway,
    queue_url: str,
    first: int,
    batch: list[OutgoingMessage],
    outages: list[ServerError] | None = None,
) -> SendReport:
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
            report.failures[place] = f"{failure.code}: {failure.message}"
            if not failure.sender_fault:
                again.append(waiting[failure.index])
        if not again:
            break
        if attempt < SEND_ATTEMPTS - 1:
            for place, _ in again:
                del report.failures[place]
            waiting = again
            time.sleep(0.1 * 2**attempt)
    return report


@dataclass(frozen=True)
class RedriveReport:
    """How many dead letters went back to their queue, and by whom: SQS's own task, or us one batch at a time."""

    moved: int
    by_sqs: bool


def redrivable(name: str) -> tuple[Queue, str]:
    """The queue and the URL of its dead-letter queue. Raises `NotFound`, and `InvalidInput` where it has none."""
    return services.with_dead_letters(name, "redrive")


def redrive(name: str, progress: Progress = lambda moved: None) -> RedriveReport:
    """Move the messages of a queue's dead-letter queue back to it. `progress` is told how many more have moved.

    SQS's own move task is used where the server has one. Else each batch is sent to the queue and only then deleted
    from the dead-letter queue: an interruption may leave a message in both, never in neither.
    """
    queue, dlq_url = redrivable(name)
    gateway = get_gateway()
    arn = gateway.attributes(dlq_url, ("QueueArn",))["QueueArn"]
    handle = gateway.start_redrive(arn)
    try:
        if handle is not None:
            moved = _follow_task(gateway, arn, handle, progress)
        else:
            moved = _move_by_hand(gateway, queue, dlq_url, progress)
    finally:
        _wake(queue)
    log.info("queue_redriven", queue=name, moved=moved)
    return RedriveReport(moved, handle is not None)


def _follow_task(gateway: SqsGateway, arn: str, handle: str, progress: Progress) -> int:
    moved = 0
    while True:
        state, total, _ = gateway.redrive_progress(arn, handle)
        progress(max(0, total - moved))
        moved = max(moved, total)
        if state == "FAILED":
            raise SqsRejected(f"SQS's move task failed after {moved} messages; try again")
        if state not in {"RUNNING", "CANCELLING"}:
            return moved
        time.sleep(0.5)


#: Dead letters that are received at the most while some of them are looked for: SQS cannot be asked for one by its id.
MOST_SEARCHED = 1_000


def redrive_some(name: str, message_ids: Collection[str]) -> int:
    """Move these dead letters back to their queue; how many there were. Raises as `redrive` does."""
    queue, dlq_url = redrivable(name)
    gateway = get_gateway()
    moved = 0
    try:
        with _searched(gateway, dlq_url, message_ids) as found:
            for batch in _fitting(found):
                result = gateway.send(queue.queue_url, [_copy(message, queue) for message in batch])
                done = [batch[index] for index in result.message_ids]
                _delete(gateway, dlq_url, done)
                moved += len(done)
                if result.failures:
                    raise _refused(result.failures, moved)
    finally:
        if moved:
            _wake(queue)
    log.info("queue_redriven", queue=name, moved=moved)
    return moved


def delete_dead_letters(name: str, message_ids: Collection[str]) -> int:
    """Delete these dead letters; how many there were. Raises `NotFound`, `InvalidInput`, `ServerError`."""
    _, dlq_url = services.with_dead_letters(name, "delete")
    gateway = get_gateway()
    with _searched(gateway, dlq_url, message_ids) as found:
        _delete(gateway, dlq_url, found)
    log.info("dead_letters_deleted", queue=name, count=len(found))
    return len(found)


@contextmanager
def _searched(gateway: SqsGateway, dlq_url: str, message_ids: Collection[str]) -> Iterator[list[ReceivedMessage]]:
    """Those of these dead letters that are found, hidden while they are dealt with; the others are shown again."""
    wanted = set(message_ids)
    found: dict[str, ReceivedMessage] = {}
    others: dict[str, ReceivedMessage] = {}
    try:
        while len(found) < len(wanted) and len(found) + len(others) < MOST_SEARCHED:
            received = gateway.receive(dlq_url, limit=MAX_BATCH, wait=1, visibility=_MOVE_VISIBILITY)
            if not received:
                break
            for message in received:
                (found if message.message_id in wanted else others)[message.message_id] = message
        yield list(found.values())
    finally:
        shown = [*others.values(), *found.values()]  # one that has been deleted needs nothing more
        for first in range(0, len(shown), MAX_BATCH):
            gateway.change_visibility(dlq_url, [(m.receipt_handle, 0) for m in shown[first : first + MAX_BATCH]])


#: How long a dead letter is hidden while it is moved, in seconds: far more than a send and a delete take.
_MOVE_VISIBILITY = 60


def _move_by_hand(gateway: SqsGateway, queue: Queue, dlq_url: str, progress: Progress) -> int:
    # A message that fails again at once comes back to the dead-letter queue while we are at it: no more is moved than
    # was there at the start, or this might never end.
    most = gateway.depth(dlq_url).total
    moved = 0
    while moved < most:
        received = gateway.receive(dlq_url, limit=min(MAX_BATCH, most - moved), wait=1, visibility=_MOVE_VISIBILITY)
        if not received:
            break
        done: list[ReceivedMessage] = []
        for batch in _fitting(received):
            result = gateway.send(queue.queue_url, [_copy(message, queue) for message in batch])
            done += [batch[index] for index in result.message_ids]
            if result.failures:
                _delete(gateway, dlq_url, done)
                raise _refused(result.failures, moved + len(done))
        _delete(gateway, dlq_url, done)
        moved += len(done)
        progress(len(done))
    return moved


def _refused(failures: Sequence[BatchFailure], moved: int) -> SqsUnavailable:
    return SqsUnavailable(
        f"SQS refused {len(failures)} messages ({failures[0].code}: {failures[0].message}) after {moved} were moved; "
        "they are still in the dead-letter queue, try again"
    )


def _fitting(received: list[ReceivedMessage]) -> Iterator[list[ReceivedMessage]]:
    """A batch that was received may be larger than one that may be sent (10 messages of 1 MiB each)."""
    copies = [OutgoingMessage(m.body, m.attributes) for m in received]
    for first, batch in _batches(copies):
        yield received[first : first + len(batch)]


def _copy(message: ReceivedMessage, queue: Queue) -> OutgoingMessage:
    attributes = {k: v for k, v in message.attributes.items() if not k.startswith(REJECTION_PREFIX)}
    if not queue.fifo:
        return OutgoingMessage(message.body, attributes, group=message.group)
    # The message's own deduplication id would make SQS drop the copy within five minutes of the first send. One derived
    # from the dead letter makes a repeated move of the same letter harmless instead.
    return OutgoingMessage(
        message.body, attributes, group=message.group, deduplication_id=f"redrive-{message.message_id}"
    )


def _delete(gateway: SqsGateway, queue_url: str, messages: list[ReceivedMessage]) -> None:
    """Delete what has been moved. A letter that SQS does not delete is moved once more by the next redrive."""
    waiting = [message.receipt_handle for message in messages]
    for attempt in range(SEND_ATTEMPTS):
        if not waiting:
            return
        if attempt:
            time.sleep(0.1 * 2 ** (attempt - 1))
        failures = gateway.delete(queue_url, waiting)
        waiting = [waiting[failure.index] for failure in failures if not failure.sender_fault]
    if waiting:
        log.warning("dead_letters_not_deleted", queue_url=queue_url, count=len(waiting))


#: Attributes of this prefix say why a handler rejected a message; a redriven copy goes without them.
REJECTION_PREFIX = "QueuesiteReject"
