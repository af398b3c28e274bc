"""What a real SQS holds, and messages that are put there past our own commands: nobody announces them."""

from __future__ import annotations

import random

from queues.models import Queue
from queues.sqs import MAX_BATCH, Depth, OutgoingMessage, get_gateway


def put(queue: Queue, *bodies: str, group: str | None = None) -> None:
    """Send messages; those of a group are never taken for each other."""
    for first in range(0, len(bodies), MAX_BATCH):
        batch = [
            OutgoingMessage(body, group=group, deduplication_id=f"{group}-{random.random()}" if group else None)
            for body in bodies[first : first + MAX_BATCH]
        ]
        assert not get_gateway().send(queue.queue_url, batch).failures


def depth(queue: Queue) -> Depth:
    """What SQS says that the queue holds."""
    return get_gateway().depth(queue.queue_url)
