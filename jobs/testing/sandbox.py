"""Queues in memory that take whatever is sent while they are in place."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from queues.handlers import registry
from queues.handlers.registry import Handler
from queues.models import Queue
from queues.naming import dead_letter_name
from queues.sending.destinations import Destination, Target
from queues.sending.transport import Delivery, Item, acceptable, carried_by
from queues.sqs import OutgoingMessage, ReceivedMessage
from queues.sqs.memory import ManualClock, MemorySqs
from queuesite.foundation.errors import InvalidInput


@dataclass(frozen=True)
class SentMessage:
    """A message that was sent."""

    queue: str
    id: str
    body: str
    #: Seconds; None: the queue's own.
    delay: int | None = None
    group: str | None = None
    deduplication_id: str | None = None
    attributes: Mapping[str, str | bytes] = field(default_factory=dict)

    def json(self) -> Any:
        """The body, parsed as JSON. Raises `ValueError` if it is not JSON."""
        return json.loads(self.body)


class Sandbox:
    """Queues by name, each made when it is first sent to. `clock` is theirs; only `drain` and tests move it."""

    def __init__(self) -> None:
        self.clock = ManualClock(time.time())
        self.sqs = ClockedSqs(self.clock)
        self.sent: list[SentMessage] = []
        self._queues: dict[str, Queue] = {}

    def define(self, name: str, handler: str | None = None, *, dead_letters: bool = True, **settings: Any) -> None:
        """Make a queue with settings of its own: `max_receive_count`, `handler_options`, `timeout` and the others.

        By default its handler is the one that was registered for it, or else the one of its name.
        """
        dlq = self.sqs.create_queue(dead_letter_name(name)) if dead_letters else None
        queue = Queue(name=name, dlq_url=dlq, handler=handler or _handler_for(name), **settings)
        queue.queue_url = self.sqs.create_queue(
            name,
            dead_letters=dlq,
            max_receive_count=queue.max_receive_count,
            visibility=queue.visibility_timeout,
            content_based=bool(queue.content_based_deduplication),
            high_throughput=bool(queue.high_throughput),
        )
        self._queues[name] = queue

    def queue(self, name: str) -> Queue:
        """The queue of this name, which is created if it does not exist."""
        if name not in self._queues:
            self.define(name)
        return self._queues[name]

    def dead_letters(self, name: str) -> list[ReceivedMessage]:
        """What is in a queue's dead-letter queue."""
        url = self.queue(name).dlq_url
        return [] if url is None else self.sqs.contents(url)

    # --- what sends meet ---

    def send(self, to: Destination, items: Iterable[Item]) -> Delivery:
        """Keep messages; as `Transport`, with SQS's rules."""
        name = to.queue or to.handler
        assert name is not None
        name = name.rpartition("/")[2]  # of a URL
        if to.queue is None and name not in self._queues:
            self.define(name, to.handler)
        queue = self.queue(name)
        target = Target(name, queue.queue_url, content_based=bool(queue.content_based_deduplication))
        delivery = Delivery()
        try:
            for place, message in acceptable(target, items, delivery):
                delivery.message_ids[place] = self._keep(target, message)
                delivery.sent += 1
        except Exception as error:
            delivery.interrupted = error
        return delivery

    def _keep(self, target: Target, message: OutgoingMessage) -> str:
        message_id = self.sqs.send(target.url, [message]).message_ids[0]
        values = {
            name: value["BinaryValue"] if "BinaryValue" in value else value["StringValue"]
            for name, value in message.attributes.items()
        }
        self.sent.append(
            SentMessage(
                target.name,
                message_id,
                message.body,
                message.delay,
                message.group,
                message.deduplication_id,
                values,
            )
        )
        return message_id


#: Seconds that a receive takes if it finds nothing: a run that asks again at once leaves its handler no time.
_EMPTY = 0.001


class ClockedSqs(MemorySqs):
    """Its clock says when messages become visible. A receive waits for none."""

    def receive(self, queue_url: str, *, wait: int = 0, **options: Any) -> list[ReceivedMessage]:
        found = super().receive(queue_url, wait=0, **options)
        if not found:
            time.sleep(_EMPTY)
        return found

    def next_visible(self, queue_url: str) -> float | None:
        """When the next hidden message becomes visible, by the clock; None if none is hidden."""
        with self._changed:
            now = self._clock()
            return min((m.visible_at for m in self._find(queue_url).messages if m.visible_at > now), default=None)

    def contents(self, queue_url: str) -> list[ReceivedMessage]:
        """All messages of a queue, which stay as they are."""
        with self._changed:
            return [
                ReceivedMessage(m.message_id, "", m.body, dict(m.attributes), {})
                for m in self._find(queue_url).messages
            ]


def _handler_for(queue: str) -> str:
    handlers = registry.all_handlers()
    declared = [handler.name for handler in handlers.values() if handler.queue == queue]
    return declared[0] if declared else queue


def handler_of(what: str | Any) -> Handler:
    """The handler of this name, or that a function is. Raises `InvalidInput`."""
    if isinstance(what, str):
        return registry.get(what)
    for handler in registry.all_handlers().values():
        if handler.function is what or getattr(what, "func", None) is handler.function:
            return handler
    raise InvalidInput(f"{what!r} is not a handler: expected its name, or a function that @handler registered")


_active: list[Sandbox] = []


@contextmanager
def sandbox() -> Iterator[Sandbox]:
    """Queues in memory in place of SQS for all code of this process that sends, until the end of the block."""
    made = Sandbox()
    _active.append(made)
    try:
        with carried_by(made):
            yield made
    finally:
        _active.remove(made)


def active() -> Sandbox:
    """The sandbox that is in place. Raises `RuntimeError` if none is."""
    if not _active:
        raise RuntimeError("no sandbox is in place: use the fixture queue_sandbox, or `with sandbox():`")
    return _active[-1]


@contextmanager
def some_sandbox() -> Iterator[Sandbox]:
    """The sandbox that is in place, or one for this block."""
    if _active:
        yield _active[-1]
    else:
        with sandbox() as made:
            yield made
