"""Which queues may be listened to at all. Pure; the leader and the workers ask the same."""

from __future__ import annotations

from datetime import datetime

from jobs.consumer.demand import FEW_RECEIVES
from queues.models import Queue

#: How long a listener's poll waits for messages, in seconds: the longest that SQS allows, three requests a minute.
POLL_SECONDS = 20


def spares_a_receive(queue: Queue) -> bool:
    """Whether a message may be received and given back without coming near the dead-letter queue.

    What a listener receives while its worker has no place left is given back, which costs a receive.
    """
    return queue.max_receive_count > FEW_RECEIVES


def can_be_polled(queue: Queue) -> bool:
    """Whether a listener may poll the queue at all.

    It reaches only the configured region; queues that others own may be elsewhere.
    """
    return spares_a_receive(queue) and queue.region is None


def may_be_listened_to(queue: Queue, date: datetime) -> bool:
    """Whether a listener may receive from the queue at `date` (the database's clock).

    Not while it is paused or backs off, which a message must not end; nor while it is handled with caution, when
    messages are received one by one.
    """
    backs_off = queue.not_before is not None and queue.not_before > date
    troubled = queue.troubled_until is not None and queue.troubled_until > date
    return not (queue.paused or backs_off or troubled) and can_be_polled(queue)
