"""The age of a queue's oldest message, and how long its messages last. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from queues.health import attempts
from queues.health.waiting import waiting_since
from queues.models import Queue
from queues.state import Context


@dataclass(frozen=True)
class Oldest:
    """The oldest message that is known of."""

    sent_at: datetime
    #: Whether messages wait that nobody has received, and that may be older.
    at_least: bool


def oldest_message(queue: Queue, context: Context) -> Oldest | None:
    """The oldest message of a queue that is known of; None: none is.

    SQS does not say it. What consumers hold has the time at which it was sent; of what waits, it is only known since
    when there has always been something while nobody worked at the queue.
    """
    held = context.oldest.get(queue.name)
    waiting = waiting_since(queue) if queue.depth_visible > 0 else None
    known = [moment for moment in (held, waiting) if moment is not None]
    return Oldest(min(known), queue.depth_visible > 0) if known else None


def seconds_to_drain(queue: Queue, context: Context) -> float | None:
    """For how many seconds the messages of a queue last at the pace of the last minutes, if no more come.

    0: it holds none; None: nothing was processed.
    """
    left = queue.depth_visible + queue.depth_in_flight
    if not left:
        return 0.0
    found = attempts.recent(queue, context.now, context.limits)
    begun = attempts.since_when(queue, context.now, context.limits)
    if not found.processed or begun is None:
        return None
    return left * max(1.0, (context.now - begun).total_seconds()) / found.processed
