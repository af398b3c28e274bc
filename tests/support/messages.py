"""Messages as SQS would give them out, for tests that need no SQS."""

from __future__ import annotations

import itertools
import time

from jobs.consumer.buffer import Held
from queues.sqs import ReceivedMessage

_numbers = itertools.count()


def received(body: str = "body", *, group: str | None = None, receive_count: int = 1) -> ReceivedMessage:
    """A message with an id of its own."""
    number = next(_numbers)
    system = {"ApproximateReceiveCount": str(receive_count), "SentTimestamp": "1700000000000"}
    if group is not None:
        system["MessageGroupId"] = group
    return ReceivedMessage(f"id-{number}", f"handle-{number}", body, {}, system)


def held(body: str = "body", *, group: str | None = None, now: float | None = None, timeout: float = 30.0) -> Held:
    """A message that a consumer holds since `now`."""
    moment = time.monotonic() if now is None else now
    return Held(received(body, group=group), received_at=moment, hidden_until=moment + timeout)
