"""Looking at messages without consuming them.

SQS has no way to look: a message is received and made visible again at once. That counts as a receive, so a message
that is looked at as often as its queue's `maxReceiveCount` allows goes to the dead-letter queue.
"""

from __future__ import annotations

from queues import services
from queues.sqs import MAX_BATCH, ReceivedMessage, get_gateway
from queuesite.errors import InvalidInput
from queuesite.logs import get_logger

log = get_logger(__name__)

#: How long a message is hidden at the most, in seconds, where making it visible again does not succeed.
_HIDDEN = 15
#: Receives of one look: SQS may give out fewer messages than there are.
_RECEIVES = 3


def peek(name: str, limit: int = MAX_BATCH) -> list[ReceivedMessage]:
    """Up to `limit` (1 to 10) of the visible messages of a queue. Raises `NotFound`, `InvalidInput`, `ServerError`."""
    return _look(services.get(name).queue_url, limit)


def peek_dead_letters(name: str, limit: int = MAX_BATCH) -> list[ReceivedMessage]:
    """The same for its dead-letter queue. Raises `InvalidInput` too where it has none."""
    _, url = services.with_dead_letters(name, "look at")
    return _look(url, limit)


def _look(queue_url: str, limit: int) -> list[ReceivedMessage]:
    if not 1 <= limit <= MAX_BATCH:
        raise InvalidInput(f"limit {limit} is out of range: expected 1 to {MAX_BATCH}", field="limit")
    gateway = get_gateway()
    seen: dict[str, ReceivedMessage] = {}
    try:
        for attempt in range(_RECEIVES):
            # The first one waits, since only then SQS asks all of its servers.
            received = gateway.receive(
                queue_url, limit=limit - len(seen), wait=1 if attempt == 0 else 0, visibility=_HIDDEN
            )
            seen.update((message.message_id, message) for message in received)
            if not received or len(seen) >= limit:
                break
    finally:
        if seen:
            failures = gateway.change_visibility(queue_url, [(m.receipt_handle, 0) for m in seen.values()])
            if failures:
                log.warning("peeked_stays_hidden", queue_url=queue_url, count=len(failures), seconds=_HIDDEN)
    return list(seen.values())
