"""What carries messages: SQS, or a test's substitute."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from queues.message_rules import ToQueue, problem_of
from queues.sending import tracing
from queues.sending.destinations import Destination, Target, directory
from queues.sending.wakeups import wake_ups
from queues.sqs import OutgoingMessage
from queues.sqs.batches import Placed, SendReport, not_sent, send_all
from queues.sqs.regions import gateway_in
from queuesite.foundation.errors import InvalidInput, QueueMissing, ServerError

#: A message with its place among those of one call, or what kept it from being made.
Item = tuple[int, OutgoingMessage | Exception]


@dataclass
class Delivery(SendReport):
    """What came of a send."""

    #: The last error that kept a message from being sent.
    error: Exception | None = None
    #: What the iterable of messages raised. Those before are sent.
    interrupted: Exception | None = None


class Transport(Protocol):
    """Sends messages."""

    def send(self, to: Destination, items: Iterable[Item]) -> Delivery:
        """Send; the answer says what failed. Raises `QueuesiteError` if the queue cannot be found."""


class SqsTransport:
    """Sends to SQS in parallel batches, to a FIFO queue one after another, and wakes the queue."""

    def send(self, to: Destination, items: Iterable[Item]) -> Delivery:
        """Send, as `Transport` says. On a FIFO queue nothing is sent after a message that failed: the order is kept."""
        target = directory.find(to)
        delivery = Delivery()
        outages: list[ServerError] = []
        with tracing.sending(target) as trace:
            try:
                send_all(
                    gateway_in(target.region),
                    target.url,
                    trace.carry(acceptable(target, items, delivery)),
                    delivery,
                    in_order=target.fifo,
                    to_first_failure=target.fifo,
                    outages=outages,
                )
            except Exception as error:
                delivery.interrupted = error
            if outages:
                delivery.error = outages[-1]
                if isinstance(outages[-1], QueueMissing):
                    directory.forget(target.url)
            trace.ended(delivery, delivery.error or delivery.interrupted)
        if delivery.sent:
            wake_ups.request(target.url)
        return delivery


def acceptable(target: Target, items: Iterable[Item], delivery: Delivery) -> Iterator[Placed]:
    """The messages that SQS would take; the others are failures."""
    for place, item in items:
        if target.fifo and delivery.failures:
            delivery.failures[place] = not_sent(delivery)
            continue
        problem = item if isinstance(item, Exception) else check(target, item)
        if problem is not None:
            delivery.error = problem
            delivery.failures[place] = str(problem)
            continue
        assert isinstance(item, OutgoingMessage)
        if target.fifo and not target.content_based and item.deduplication_id is None:
            item = replace(item, deduplication_id=uuid.uuid4().hex)
        yield place, item


def check(target: ToQueue, message: OutgoingMessage) -> InvalidInput | None:
    """Why SQS would refuse the message."""
    problem = problem_of(target, message)
    return None if problem is None else InvalidInput(f"the message{problem[1]}", field=problem[0])


_transport: Transport = SqsTransport()


def get_transport() -> Transport:
    """What carries messages now."""
    return _transport


@contextmanager
def carried_by(transport: Transport) -> Iterator[None]:
    """Have messages carried by `transport` instead, in all threads of this process."""
    global _transport
    before, _transport = _transport, transport
    try:
        yield
    finally:
        _transport = before
