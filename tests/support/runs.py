"""Runs in a thread of the test's process, on any SQS."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from bson import ObjectId

from jobs.consumer.held import Batch
from jobs.consumer.report import RunReport
from jobs.consumer.run import Run
from jobs.consumer.settings import QueueSettings, RunLimits
from jobs.models import EndReason
from queues.models import Queue
from queues.sqs import Depth, ReceivedMessage
from queues.sqs.data_plane import DataPlane
from tests.support.memory_sqs import ShortPolls, to_group
from tests.support.waiting import eventually

#: Ends as soon as SQS returns no message and none is being handled.
QUICK = RunLimits(idle=0, linger=0.05)
#: Goes on while messages come back at once. Its end takes as long as the last request waits for messages.
LASTING = RunLimits(idle=1, linger=0.05)
#: Goes on while messages come back after a second or two.
PATIENT = RunLimits(idle=3, linger=0.05)

_numbers = itertools.count(1)


class Running:
    """A run in a thread of its own."""

    def __init__(
        self, gateway: DataPlane, queue: Queue, limits: RunLimits = QUICK, first: Sequence[Batch] = (), **changes: Any
    ) -> None:
        self.settings = replace(QueueSettings.of(queue), **changes)
        self.run = Run(gateway, self.settings, limits)
        self.reports: list[RunReport] = []
        self.thread = threading.Thread(target=lambda: self.reports.append(self.run.execute(first=first)), daemon=True)
        self.thread.start()

    def report(self, seconds: float = 30.0) -> RunReport:
        """Wait for the end."""
        self.thread.join(seconds)
        assert not self.thread.is_alive(), "the run did not end"
        return self.reports[0]

    def end(self, reason: EndReason = EndReason.SHUTDOWN) -> RunReport:
        """Make it end, and wait for the end."""
        self.run.end(reason)
        return self.report()


class MemoryQueues(ShortPolls):
    """In-memory queues that match a definition, and what tests do with them."""

    def create(self, name: str = "orders", *, with_dlq: bool = True, **settings: Any) -> Queue:
        """Create a queue with the handler `probe`. Returns its definition, which is not stored."""
        # A run of an earlier test, which a handler keeps from ending, must not find this one's messages.
        own = f"{next(_numbers)}-{name}"
        ending = ".fifo" if name.endswith(".fifo") else ""
        definition = Queue(id=ObjectId(), name=name, **{"handler": "probe", **settings})
        definition.dlq_url = self.create_queue(f"{own.removesuffix(ending)}-dlq{ending}") if with_dlq else None
        definition.queue_url = self.create_queue(
            own,
            visibility=definition.visibility_timeout,
            dead_letters=definition.dlq_url,
            max_receive_count=definition.max_receive_count,
        )
        return definition

    def put(self, queue: Queue, *bodies: str, group: str | None = None) -> None:
        """Send messages."""
        result = self.send(queue.queue_url, [to_group(body, group) for body in bodies])
        assert not result.failures

    def depth_of(self, queue: Queue) -> Depth:
        return self.depth(queue.queue_url)

    def dead_letters(self, queue: Queue) -> list[ReceivedMessage]:
        """Wait for a message in the dead-letter queue, and return all that are there."""
        assert queue.dlq_url is not None
        url = queue.dlq_url
        return eventually(lambda: self.receive(url, limit=10, wait=0), 30, "a dead letter came")


def numbers(count: int) -> Sequence[str]:
    return [f"m{number}" for number in range(count)]
