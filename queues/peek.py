"""Looking at messages without consuming them.

SQS has no way to look: a message is received and made visible again at once. That counts as a receive, and a message
that was received as often as its queue's `maxReceiveCount` allows goes to the dead-letter queue at the next one. How
often a message was received is known only once it is received again. So a look

- takes one message at a time and ends at the first that has no receive to spare, which it thereby costs at most one;
- remembers at the queue that there is such a message, and refuses the next look until a consumer has emptied the queue;
- ignores both if the caller allows it to spend last receives.
"""

from __future__ import annotations

from dataclasses import dataclass

from queues import repository, services
from queues.models import Queue
from queues.sqs import MAX_BATCH, DataPlane, ReceivedMessage
from queues.sqs.regions import gateway_in
from queuesite.foundation.errors import Conflict, InvalidInput
from queuesite.foundation.logs import get_logger

log = get_logger(__name__)

#: Seconds for which a message stays hidden if making it visible again fails.
_HIDDEN = 15
#: Empty receives allowed in one look: SQS may give out fewer messages than there are.
_EMPTY = 2


@dataclass(frozen=True)
class Look:
    """The messages seen, and a warning if the look has used up a receive that mattered."""

    messages: list[ReceivedMessage]
    warning: str | None = None


def peek(name: str, limit: int = MAX_BATCH, *, last: bool = False) -> Look:
    """Look at up to `limit` (1 to 10) of the visible messages of a queue.

    With `last` the look may spend the last receives of messages; without it, raises `Conflict` if it would. Raises
    `NotFound`, `InvalidInput`, `ServerError`.
    """
    queue = services.get(name)
    _check(limit)
    most = queue.max_receive_count if queue.dlq_url is not None else None
    if not last and most is not None and _would_be_last(queue):
        raise Conflict(
            f"a look may be the last receive of a message of {name!r} (maxReceiveCount {most}) before it goes to the "
            "dead-letter queue unhandled; to look anyway, ask with last=true"
        )
    # A message of a FIFO group hides those behind it, so that one at a time would show one of each group.
    one_by_one = most is not None and not last and not queue.fifo
    gateway = gateway_in(queue.region)
    messages = _look(gateway, queue.queue_url, limit, spare=None if most is None else most - 1, one_by_one=one_by_one)
    warning = None if most is None else _warning(messages, most)
    if warning is not None or last:
        repository.last_receive_seen(queue.id, warning is not None)
    return Look(messages, warning)


def peek_dead_letters(name: str, limit: int = MAX_BATCH) -> Look:
    """Look at dead letters, which no receive removes from their queue. Raises `InvalidInput` if it has none."""
    queue, url = services.with_dead_letters(name, "look at")
    _check(limit)
    return Look(_look(gateway_in(queue.region), url, limit, spare=None, one_by_one=False))


def _check(limit: int) -> None:
    if not 1 <= limit <= MAX_BATCH:
        raise InvalidInput(f"limit {limit} is out of range: expected 1 to {MAX_BATCH}", field="limit")


def _would_be_last(queue: Queue) -> bool:
    """Whether every look is, or the last look saw such a message and no consumer has emptied the queue since."""
    seen, served = queue.last_receive_seen_at, queue.served_until
    return queue.max_receive_count == 1 or (seen is not None and (served is None or served < seen))


def _warning(messages: list[ReceivedMessage], most: int) -> str | None:
    spent = [message.message_id for message in messages if message.receive_count >= most]
    near = [message.message_id for message in messages if message.receive_count == most - 1]
    parts = []
    if spent:
        parts.append(f"this was the last receive of {', '.join(spent)}: the next one sends it to the dead-letter queue")
    if near:
        parts.append(f"another look would be the last receive of {', '.join(near)}, and is refused")
    return "; ".join(parts) or None


def _look(
    gateway: DataPlane, queue_url: str, limit: int, *, spare: int | None, one_by_one: bool
) -> list[ReceivedMessage]:
    """Look at messages. `spare` is the number of receives at which a look one message at a time ends."""
    seen: dict[str, ReceivedMessage] = {}
    empty = 0
    try:
        while len(seen) < limit and empty < _EMPTY:
            # The first one waits, since only then SQS asks all of its servers.
            received = gateway.receive(
                queue_url,
                limit=1 if one_by_one else limit - len(seen),
                wait=0 if seen or empty else 1,
                visibility=_HIDDEN,
            )
            seen.update((message.message_id, message) for message in received)
            if not received:
                if not seen:
                    break
                empty += 1
            elif one_by_one and spare is not None and any(one.receive_count >= spare for one in received):
                break
    finally:
        if seen:
            failures = gateway.change_visibility(queue_url, [(m.receipt_handle, 0) for m in seen.values()])
            if failures:
                log.warning("peeked_stays_hidden", queue_url=queue_url, count=len(failures), seconds=_HIDDEN)
    return list(seen.values())
