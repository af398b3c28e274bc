"""A queue in memory under the consumer's gateway: for runs that need no SQS and no seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

from jobs.consumer.report import RunReport
from jobs.consumer.run import Run
from jobs.consumer.settings import QueueSettings, RunLimits
from jobs.models import EndReason
from queues.handlers import registry
from queues.handlers.registry import Handler
from queues.sqs import BatchFailure, ReceivedMessage
from queues.sqs.gateway import SqsGateway

SETTINGS = QueueSettings(
    name="orders",
    queue_url="memory:orders",
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


class MemorySqs:
    """Gives out its messages, and notes what becomes of them. Hidden ones come back only when they are made visible."""

    def __init__(self, *bodies: str, group: str | None = None) -> None:
        self.lock = threading.Lock()
        self.requests = 0
        self.receives: dict[str, int] = {}
        self.deleted: list[str] = []
        #: Delays of the messages that were made visible again.
        self.delays: dict[str, list[int]] = {}
        self.visible = list(bodies)
        self.group = group

    def receive(self, queue_url: str, *, limit: int, **options: Any) -> list[ReceivedMessage]:
        with self.lock:
            given, self.visible = self.visible[:limit], self.visible[limit:]
        if not given:
            time.sleep(0.005)  # stands for the long poll
        found = []
        for body in given:
            self.receives[body] = count = self.receives.get(body, 0) + 1
            system = {"ApproximateReceiveCount": str(count), "SentTimestamp": "1700000000000"}
            if self.group is not None:
                system["MessageGroupId"] = self.group
            found.append(ReceivedMessage(f"id-{body}", body, body, {}, system))
        return found

    def delete(self, queue_url: str, receipt_handles: Sequence[str]) -> tuple[BatchFailure, ...]:
        with self.lock:
            self.deleted += receipt_handles
        return ()

    def change_visibility(self, queue_url: str, changes: Sequence[tuple[str, int]]) -> tuple[BatchFailure, ...]:
        with self.lock:
            for handle, delay in changes:
                self.delays.setdefault(handle, []).append(delay)
                if delay == 0:
                    self.visible.append(handle)
        return ()

    @property
    def gateway(self) -> SqsGateway:
        return cast(SqsGateway, self)


class MemoryRun:
    """A run over a queue in memory, in a thread, with a handler that is registered for its time."""

    def __init__(self, sqs: MemorySqs, limits: RunLimits = LIMITS, **changes: Any) -> None:
        self.run = Run(sqs.gateway, replace(SETTINGS, **changes), limits)
        self.reports: list[RunReport] = []
        self.thread = threading.Thread(target=lambda: self.reports.append(self.run.execute()), daemon=True)

    def start(self) -> MemoryRun:
        self.thread.start()
        return self

    def report(self, seconds: float = 20.0) -> RunReport:
        """Its report, once it has ended."""
        self.thread.join(seconds)
        assert not self.thread.is_alive(), "the run did not end"
        return self.reports[0]

    def end(self) -> RunReport:
        self.run.end(EndReason.SHUTDOWN)
        return self.report()


@contextmanager
def registered(function: Any, **traits: Any) -> Iterator[None]:
    """Have `function` as the handler `under-test`, whatever it is."""
    registry.discover()
    registry._handlers["under-test"] = Handler("under-test", function, **traits)
    try:
        yield
    finally:
        del registry._handlers["under-test"]


def handle_all(function: Any, sqs: MemorySqs, **changes: Any) -> RunReport:
    """The report of a run that hands all messages to `function`."""
    with registered(function):
        return MemoryRun(sqs, **changes).start().report()
