"""A queue of the in-memory SQS with prepared faults, and a run of a consumer over it that takes no real time."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar, cast

from jobs.consumer.in_hand import Board
from jobs.consumer.report import RunReport
from jobs.consumer.run import Run
from jobs.consumer.settings import QueueSettings, RunLimits
from jobs.models import EndReason
from queues.handlers import registry
from queues.handlers.registry import Handler
from queues.sqs import BatchFailure, OutgoingMessage, ReceivedMessage
from queues.sqs.gateway import SqsGateway
from queues.sqs.memory import MemorySqs, _Stored
from queuesite.foundation.errors import ServerError, SqsUnavailable

T = TypeVar("T")

SETTINGS = QueueSettings(
    name="orders",
    queue_url="memory://sqs/orders",
    dlq_url=None,
    fifo=False,
    concurrency=2,
    handler="under-test",
    handler_options={},
    visibility_timeout=60,
    max_receive_count=5,
)
#: Ends as soon as nothing is visible and none is being handled.
LIMITS = RunLimits(idle=0, linger=0.01, grace=0.2)
#: Seconds that a receive takes if it finds nothing, whatever its wait time.
_POLL = 0.01


def to_group(body: str, group: str | None) -> OutgoingMessage:
    """A message, and if it has a group one that no FIFO queue takes for a duplicate."""
    return OutgoingMessage(body, group=group, deduplication_id=uuid.uuid4().hex if group else None)


class ShortPolls(MemorySqs):
    """Does not wait for messages unless a test sets `long`, so the end of a run does not wait for its last receive."""

    long = False

    def receive(self, queue_url: str, *, wait: int = 0, **options: Any) -> list[ReceivedMessage]:
        if self.long:
            return super().receive(queue_url, wait=wait, **options)
        found = super().receive(queue_url, wait=0, **options)
        if not found and wait:
            time.sleep(_POLL)
        return found


class OneQueue(ShortPolls):
    """The queue `url` with these messages. It records what happens to them.

    `away` makes every request fail, `refuse` those of a kind ("receive", "settle"), and `lose_answers` loses the
    answers of so many receives.
    """

    def __init__(
        self,
        *bodies: str,
        clock: Callable[[], float] = time.monotonic,
        fifo: bool = False,
        group: str | None = None,
    ) -> None:
        super().__init__(clock)
        self.url = self.create_queue("orders.fifo" if fifo or group else "orders")
        self.away = False
        self.refuse: dict[str, ServerError] = {}
        self.lose_answers = 0
        #: Bodies of deleted messages.
        self.deleted: list[str] = []
        #: Visibility timeouts that were set after a receive, by body.
        self.changes: list[tuple[str, int]] = []
        self.put(*bodies, group=group)

    @property
    def gateway(self) -> SqsGateway:
        return cast(SqsGateway, self)

    @property
    def messages(self) -> list[_Stored]:
        """The messages in the queue."""
        return self._queues[self.url].messages

    @property
    def bodies(self) -> list[str]:
        with self._changed:
            return [stored.body for stored in self.messages]

    def put(self, *bodies: str, group: str | None = None) -> None:
        self.send(self.url, [to_group(body, group) for body in bodies])

    def receive(self, queue_url: str, *, wait: int = 0, **options: Any) -> list[ReceivedMessage]:
        self._fail("receive")
        found = super().receive(queue_url, wait=1, **options)
        if self.lose_answers:
            self.lose_answers -= 1
            raise SqsUnavailable("the answer was lost")
        return found

    def delete(self, queue_url: str, receipt_handles: Sequence[str]) -> tuple[BatchFailure, ...]:
        self._fail("settle")
        bodies = self._bodies(receipt_handles)
        failures = super().delete(queue_url, receipt_handles)
        self.deleted += [str(body) for body in _succeeded(bodies, failures)]
        return failures

    def change_visibility(self, queue_url: str, changes: Sequence[tuple[str, int]]) -> tuple[BatchFailure, ...]:
        self._fail("settle")
        bodies = self._bodies([handle for handle, _ in changes])
        failures = super().change_visibility(queue_url, changes)
        changed = [(str(body), seconds) for body, (_, seconds) in zip(bodies, changes, strict=True)]
        self.changes += _succeeded(changed, failures)
        return failures

    def _fail(self, kind: str) -> None:
        if self.away:
            raise SqsUnavailable("away")
        if kind in self.refuse:
            raise self.refuse[kind]

    def _bodies(self, handles: Sequence[str]) -> list[str | None]:
        with self._changed:
            by_handle = {stored.handle: stored.body for stored in self.messages}
            return [by_handle.get(handle) for handle in handles]


def _succeeded(entries: Sequence[T], failures: Sequence[BatchFailure]) -> list[T]:
    failed = {failure.index for failure in failures}
    return [entry for index, entry in enumerate(entries) if index not in failed]


class MemoryRun:
    """A run over an in-memory queue, in a thread, with a handler that is registered until it ends."""

    def __init__(self, sqs: OneQueue, limits: RunLimits = LIMITS, board: Board | None = None, **changes: Any) -> None:
        fifo = sqs.url.endswith(".fifo")
        settings = replace(SETTINGS, queue_url=sqs.url, fifo=fifo, **changes)
        self.run = Run(sqs.gateway, settings, limits, board=board)
        self.reports: list[RunReport] = []
        self.thread = threading.Thread(target=lambda: self.reports.append(self.run.execute()), daemon=True)

    def start(self) -> MemoryRun:
        self.thread.start()
        return self

    def report(self, seconds: float = 20.0) -> RunReport:
        """Wait for the end, and return the report."""
        self.thread.join(seconds)
        assert not self.thread.is_alive(), "the run did not end"
        return self.reports[0]

    def end(self) -> RunReport:
        self.run.end(EndReason.SHUTDOWN)
        return self.report()


@contextmanager
def registered(function: Any, **traits: Any) -> Iterator[None]:
    """Register `function` as the handler `under-test`."""
    registry.discover()
    registry._handlers["under-test"] = Handler("under-test", function, **traits)
    try:
        yield
    finally:
        del registry._handlers["under-test"]


def handle_all(function: Any, sqs: OneQueue, **changes: Any) -> RunReport:
    """The report of a run that handles all messages with `function`."""
    with registered(function):
        return MemoryRun(sqs, **changes).start().report()
