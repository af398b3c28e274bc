"""Which queues may be listened to at all. The leader and the workers ask the same."""

from __future__ import annotations

from datetime import datetime

from jobs.consumer.demand import FEW_RECEIVES
from queues.models import Queue
from queuesite.foundation.config import get_config

#: How long a listener's poll waits for messages, in seconds: the longest that SQS allows, three requests a minute.
POLL_SECONDS = 20


def never_listened_to(queue: Queue) -> str | None:
    """Why no listener ever receives from the queue, or None if one may.

    What a listener receives while its worker has no place left is given back, which costs a receive. And listeners poll
    the configured region only, on connections of their own.
    """
    if queue.max_receive_count <= FEW_RECEIVES:
        return "a message that is given back loses a receive, and its maxReceiveCount is only 1 or 2"
    if queue.region not in (None, get_config().aws_region):
        return f"it is in another region, {queue.region}"
    return None


def may_be_listened_to(queue: Queue, date: datetime) -> bool:
    """Whether a listener may receive from the queue at `date` (the database's clock).

    Not while it is paused or backs off, which a message must not end; nor while it is probed or handled with caution,
    when messages are received one by one.
    """
    backs_off = queue.not_before is not None and queue.not_before > date
    troubled = queue.troubled_until is not None and queue.troubled_until > date
    return not (queue.paused or backs_off or queue.trip_count or troubled) and never_listened_to(queue) is None
