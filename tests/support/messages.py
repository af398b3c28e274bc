"""Messages as SQS would return them, for tests that need no SQS."""

from __future__ import annotations

import itertools
import time

from jobs.consumer.held import Held
from queues.sqs import ReceivedMessage

_numbers = itertools.count()


def received(body: str = "body", *, group: str | None = None, receive_count: int = 1) -> ReceivedMessage:
    """A message with an id of its own."""
    number = next(_numbers)
    system = {"ApproximateReceiveCount": str(receive_count), "SentTimestamp": "1700000000000"}
    if group is not None:
        system["MessageGroupId"] = group
    return ReceivedMessage(f"id-{number}", f"handle-{number}", body, {}, system)


def held(
    body: str = "body",
    *,
    group: str | None = None,
    now: float | None = None,
    timeout: float = 30.0,
    receive_count: int = 1,
) -> Held:
    """A message that a consumer holds since `now`."""
    moment = time.monotonic() if now is None else now
    message = received(body, group=group, receive_count=receive_count)
    return Held(message, received_at=moment, hidden_until=moment + timeout, window=timeout)


def again(message: Held, *, timeout: float = 30.0) -> Held:
    """The same message, as SQS returns it again."""
    moment = time.monotonic()
    old = message.message
    system = old.system | {"ApproximateReceiveCount": str(old.receive_count + 1)}
    new = ReceivedMessage(old.message_id, f"{old.receipt_handle}-again", old.body, old.attributes, system)
    return Held(new, received_at=moment, hidden_until=moment + timeout, window=timeout)
