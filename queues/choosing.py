"""Redriving and deleting those of a queue's dead letters that somebody chooses by looking at them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

from queues import messages, moving, repository, services
from queues.sqs import MAX_BATCH, DataPlane, ReceivedMessage
from queues.sqs.regions import gateway_in
from queuesite.foundation.logs import get_logger

log = get_logger(__name__)

#: Most letters that are looked at: all of them are in flight until the end, and SQS allows 20,000 on a FIFO queue.
MOST_LOOKED_AT = 10_000
#: Seconds for which they are hidden meanwhile.
HIDDEN_SECONDS = 900

#: The ids of those of some letters that are chosen.
Choose = Callable[[Sequence[ReceivedMessage]], Collection[str]]


def redrive(name: str, choose: Choose, progress: messages.Progress = lambda moved: None) -> int:
    """Move the chosen letters back to their queue, and return how many; the others stay.

    Raises `NotFound`, `InvalidInput` if the queue has no dead-letter queue, `ServerError`.
    """
    queue, dlq_url = messages.redrivable(name)
    gateway = gateway_in(queue.region)
    moved = 0
    try:
        with _chosen(gateway, dlq_url, choose) as found:
            for some in found:
                for batch in moving.fitting(some):
                    count = moving.move(gateway, queue, dlq_url, batch, moved)
                    moved += count
                    progress(count)
    finally:
        if moved:
            repository.wake(queue.id)
    log.info("queue_redriven", queue=name, moved=moved)
    return moved


def delete(name: str, choose: Choose, progress: messages.Progress = lambda deleted: None) -> int:
    """Delete the chosen letters, and return how many. Raises as `redrive` does."""
    queue, dlq_url = services.with_dead_letters(name, "delete")
    gateway = gateway_in(queue.region)
    deleted = 0
    with _chosen(gateway, dlq_url, choose) as found:
        for some in found:
            moving.delete(gateway, dlq_url, some)
            deleted += len(some)
            progress(len(some))
    log.info("dead_letters_deleted", queue=name, count=deleted)
    return deleted


@contextmanager
def _chosen(gateway: DataPlane, dlq_url: str, choose: Choose) -> Iterator[Iterator[list[ReceivedMessage]]]:
    """The chosen letters, a few at a time. All that were looked at are made visible again at the end."""
    began = time.time()
    seen: dict[str, ReceivedMessage] = {}

    def look() -> Iterator[list[ReceivedMessage]]:
        while len(seen) < MOST_LOOKED_AT:
            received = gateway.receive(dlq_url, limit=MAX_BATCH, wait=1, visibility=HIDDEN_SECONDS)
            new = [message for message in received if message.message_id not in seen]
            seen.update((message.message_id, message) for message in received)
            if not new:
                return
            # What was sent after the beginning may be a letter that was moved, and has failed again.
            ids = choose([message for message in new if message.sent_at <= began])
            if some := [message for message in new if message.message_id in ids]:
                yield some

    try:
        yield look()
    finally:
        moving.show(gateway, dlq_url, list(seen.values()))
