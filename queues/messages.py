"""Sending and redriving messages: operations that take time and report progress."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from queues import adopted_repository, moving, naming, repository, services
from queues.message_rules import printable as printable
from queues.message_rules import problem_of
from queues.models import Queue
from queues.moving import REJECTION_PREFIX as REJECTION_PREFIX
from queues.moving import RedriveReport as RedriveReport
from queues.sqs import MAX_BATCH, DataPlane, OutgoingMessage, ReceivedMessage
from queues.sqs.batches import SendReport as SendReport
from queues.sqs.batches import send_all
from queues.sqs.regions import gateway_in
from queuesite.foundation.errors import Conflict, InvalidInput, ServerError
from queuesite.foundation.logs import get_logger

if TYPE_CHECKING:
    from queues.sqs.gateway import SqsGateway

log = get_logger(__name__)

Progress = Callable[[int], None]


#: Most problems that one error names; nobody reads more.
_NAMED_PROBLEMS = 20


def validate_messages(queue: Queue, messages: Sequence[OutgoingMessage]) -> None:
    """Raise `InvalidInput` for the first message that SQS would refuse, naming its place; `fields` names more."""
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
    copies: bool = False,
) -> SendReport:
    """Send messages in parallel batches, and wake the queue. `progress` gets the number of messages of each batch.

    Raises `InvalidInput` before anything is sent, and `ServerError` if SQS fails; entries that SQS refuses one by one
    are in the report. With `report_outage` the report also holds the batches at which SQS failed, and `ServerError`
    means that nothing was sent. FIFO queues get one batch after another, which keeps the order. `copies`: the same body
    several times is wanted, even of a queue with content-based deduplication.
    """
    queue = services.get(name)
    validate_messages(queue, messages)
    if queue.fifo and (copies or not queue.content_based_deduplication):
        messages = [m if m.deduplication_id else replace(m, deduplication_id=uuid.uuid4().hex) for m in messages]
    gateway = gateway_in(queue.region)
    report = SendReport()
    outages: list[ServerError] = []
    woken = False

    def sent(count: int) -> None:
        nonlocal woken
        if count and not woken:
            woken = True
            _wake(queue)  # so that consumers start while the rest is being sent
        progress(count)

    try:
        send_all(
            gateway,
            queue.queue_url,
            enumerate(messages),
            report,
            in_order=queue.fifo,
            outages=outages if report_outage else None,
            progress=sent,
        )
    finally:
        # Even after a failure half-way: what SQS has taken must be handled.
        _wake(queue)
    if outages and not report.sent:
        raise outages[0]
    return report


def _wake(queue: Queue) -> None:
    repository.wake(queue.id)


def redrivable(name: str) -> tuple[Queue, str]:
    """The queue and its dead-letter queue's URL. Raises `NotFound`, or `InvalidInput` if it has none."""
    return services.with_dead_letters(name, "redrive")


def redrive(name: str, progress: Progress = lambda moved: None) -> RedriveReport:
    """Move a queue's dead letters back to it. `progress` gets the number of letters moved since its last call.

    An interruption may leave a message in both queues, never in neither.
    """
    queue, dlq_url = redrivable(name)
    gateway = gateway_in(queue.region)
    _refuse_shared_letters(gateway, queue, dlq_url)
    try:
        report = moving.move_all(gateway, queue, dlq_url, progress)
    finally:
        _wake(queue)
    log.info("queue_redriven", queue=name, moved=report.moved, by_sqs=report.by_sqs)
    return report


def _refuse_shared_letters(gateway: SqsGateway, queue: Queue, dlq_url: str) -> None:
    """Raise `Conflict` if the dead-letter queue of others has letters of further queues too."""
    if queue.managed:
        return
    names = {*map(naming.name_of, gateway.sources_of(dlq_url) or ()), *adopted_repository.with_dlq(dlq_url)}
    others = sorted(names - {queue.name, naming.name_of(queue.queue_url)})
    if others:
        raise Conflict(
            f"{naming.name_of(dlq_url)!r} is also the dead-letter queue of {', '.join(others[:5])}, whose letters "
            f"cannot be distinguished from those of {queue.name!r}: redrive chosen letters on the queue's page"
        )


#: Most dead letters received in a search for some of them: SQS cannot be asked for a message by its id.
MOST_SEARCHED = 1_000


def redrive_some(name: str, message_ids: Collection[str]) -> int:
    """Move these dead letters back to their queue; return how many were found. Raises as `redrive` does.

    A letter has its own id, and that of the message that it was: see `moving.message_id_of`.
    """
    queue, dlq_url = redrivable(name)
    gateway = gateway_in(queue.region)
    moved = 0
    try:
        with _searched(gateway, dlq_url, message_ids) as found:
            for batch in moving.fitting(found):
                moved += moving.move(gateway, queue, dlq_url, batch, moved)
    finally:
        if moved:
            _wake(queue)
    log.info("queue_redriven", queue=name, moved=moved)
    return moved


def delete_dead_letters(name: str, message_ids: Collection[str]) -> int:
    """Delete these dead letters, named as for `redrive_some`; return how many were found.

    Raises `NotFound`, `InvalidInput`, `ServerError`.
    """
    queue, dlq_url = services.with_dead_letters(name, "delete")
    gateway = gateway_in(queue.region)
    with _searched(gateway, dlq_url, message_ids) as found:
        moving.delete(gateway, dlq_url, found)
    log.info("dead_letters_deleted", queue=name, count=len(found))
    return len(found)


def dead_letter(name: str, message_id: str) -> ReceivedMessage | None:
    """Look for the dead letter of a message; None if it is not among those that SQS gives out.

    Raises `NotFound`, `InvalidInput`, `ServerError`.
    """
    queue, dlq_url = services.with_dead_letters(name, "look at")
    with _searched(gateway_in(queue.region), dlq_url, [message_id]) as found:
        return next(iter(found), None)


@contextmanager
def _searched(gateway: DataPlane, dlq_url: str, message_ids: Collection[str]) -> Iterator[list[ReceivedMessage]]:
    """The dead letters that are found, hidden while they are dealt with. The others are made visible again."""
    wanted = set(message_ids)
    found: dict[str, ReceivedMessage] = {}
    others: dict[str, ReceivedMessage] = {}
    try:
        while len(found) < len(wanted) and len(found) + len(others) < MOST_SEARCHED:
            received = gateway.receive(dlq_url, limit=MAX_BATCH, wait=1, visibility=moving.HIDDEN_SECONDS)
            if not received:
                break
            for message in received:
                ids = {message.message_id, moving.message_id_of(message)}
                (found if ids & wanted else others)[message.message_id] = message
        yield list(found.values())
    finally:
        moving.show(gateway, dlq_url, [*others.values(), *found.values()])
