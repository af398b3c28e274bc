"""What a listener has received, and a consumer handles: at a run's begin, in its middle, and not at its end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from jobs.consumer.held import Batch
from jobs.models import EndReason
from queues.handlers import Message
from queues.models import Queue
from tests.support import probe as probes
from tests.support.probe import Probe
from tests.support.runs import LASTING, PATIENT, MemoryQueues, Running
from tests.support.waiting import eventually

SQS = MemoryQueues()


@pytest.fixture
def probe() -> Iterator[Probe]:
    made = probes.fresh()
    yield made
    made.behave = lambda message: None


def received(queue: Queue, count: int) -> Batch:
    """What a listener receives of a queue."""
    asked_at = time.monotonic()
    found = SQS.receive(queue.queue_url, limit=10, wait=0, visibility=30)
    assert len(found) == count
    return Batch(queue.id, queue.queue_url, tuple(found), asked_at, time.monotonic(), 30)


def test_a_run_begins_with_what_was_received_for_it(probe: Probe) -> None:
    queue = SQS.create()
    SQS.put(queue, "one", "two")
    report = Running(SQS, queue, first=[received(queue, 2)]).report()
    assert (report.reason, report.processed) == (EndReason.DRAINED, 2)
    assert SQS.depth(queue.queue_url).total == 0


def test_a_run_takes_what_comes_while_it_lasts(probe: Probe) -> None:
    queue = SQS.create()
    busy, go_on = threading.Event(), threading.Event()

    def behave(message: Message) -> None:
        if message.body == "long":
            busy.set()
            assert go_on.wait(60)

    probe.behave = behave
    SQS.put(queue, "long")
    running = Running(SQS, queue, PATIENT)
    assert busy.wait(60)
    SQS.put(queue, "late")
    batch = received(queue, 1)
    assert running.run.give(batch)
    go_on.set()
    assert running.report().processed == 2
    assert SQS.depth(queue.queue_url).total == 0


def test_a_run_that_is_to_end_takes_nothing(probe: Probe) -> None:
    queue = SQS.create()
    SQS.put(queue, "one")
    batch = received(queue, 1)
    running = Running(SQS, queue, LASTING)
    running.run.end(EndReason.YIELDED)
    assert not running.run.give(batch)
    running.report()
    # It is the worker's own again: the run has neither handled it nor given it back.
    assert SQS.depth(queue.queue_url).in_flight == 1


def test_a_run_is_not_drained_while_something_is_handed_over(probe: Probe) -> None:
    """Between the last look of the receiver, which found nothing, and the end that follows from it."""
    queue = SQS.create()
    running = Running(SQS, queue, LASTING)
    SQS.put(queue, "one")
    batch = received(queue, 1)
    assert running.run.give(batch)
    assert not running.run.ending.drained(time.monotonic(), lambda: False)
    assert not running.run.ending.asked
    eventually(lambda: SQS.depth(queue.queue_url).total == 0, 20, "it is handled")
    assert running.report().processed == 1


def test_what_was_hidden_for_too_short_is_not_begun(probe: Probe) -> None:
    queue = SQS.create()
    SQS.put(queue, "one")
    batch = received(queue, 1)
    now = time.monotonic()
    late = Batch(queue.id, queue.queue_url, batch.messages, now - 60, now - 40, 30)
    report = Running(SQS, queue, first=[late]).report()
    assert report.processed == 0
