"""The consumer process: what it says through its pipe, and what it makes of the orders that come through it.

It runs in a thread, with the real pipe, on the SQS in memory; `tests/integration/test_consumer_process.py` starts real
processes.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

import pytest

from jobs.consumer import process
from jobs.consumer.growth import Growth
from jobs.consumer.process import Apply, Consumer, End, Exit, Finished, Finishing, Live, Start
from jobs.consumer.run import Run
from jobs.consumer.settings import QueueSettings, RunLimits
from jobs.models import EndReason
from queues import following
from queues.models import Queue
from queues.sqs import Depth
from queuesite.foundation.pipes import Endpoint
from tests.support import probe as probes
from tests.support.probe import Probe
from tests.support.runs import QUICK, MemoryQueues
from tests.support.waiting import eventually

T = TypeVar("T")

SQS = MemoryQueues()


@pytest.fixture
def probe() -> Probe:
    return probes.fresh()


@pytest.fixture(autouse=True)
def sqs_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "gateway_in", lambda region: SQS)


class Growing:
    """The memory of this process, which the test sets."""

    by_mb = 0

    def memory(self, _: object = None) -> int:
        return (100 + self.by_mb) * 1_048_576


@pytest.fixture
def grown(monkeypatch: pytest.MonkeyPatch) -> Growing:
    made = Growing()
    monkeypatch.setattr(Growth, "memory", lambda _: made.memory())
    monkeypatch.setattr("jobs.consumer.growth._memory_of", lambda pid: 0)  # the parent is not a fork server here
    monkeypatch.setattr(process, "RECYCLE_AFTER_SECONDS", 0.0)
    return made


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The exit codes with which the consumer would have ended this process."""
    codes: list[int] = []
    monkeypatch.setattr("jobs.consumer.process.os._exit", codes.append)
    return codes


class Served:
    """A consumer in a thread, and its worker's end of the pipe."""

    def __init__(self, limits: RunLimits = QUICK, live_seconds: float = 0.05) -> None:
        self.pipe, theirs = map(Endpoint, socket.socketpair())
        self.consumer = Consumer(theirs, limits, live_seconds)
        self.theirs = theirs
        self.said: list[object] = []
        self.thread = threading.Thread(target=self.consumer.serve, daemon=True)
        self.thread.start()

    def start(self, queue: Queue, job_id: str = "job-1", **changes: Any) -> QueueSettings:
        settings = replace(QueueSettings.of(queue), **changes)
        self.pipe.send(Start(job_id, settings))
        return settings

    def next(self, kind: type[T], seconds: float = 45.0) -> T:
        """The next message of this kind."""

        def came() -> T | None:
            while self.pipe.poll():
                self.said.append(self.pipe.recv())
                if isinstance(self.said[-1], kind):
                    return self.said[-1]
            return None

        found = eventually(came, seconds, f"a {kind.__name__} came")
        assert found is not None
        return found

    def joined(self) -> None:
        self.thread.join(45)
        assert not self.thread.is_alive()


@pytest.fixture
def served(probe: Probe, exits: list[int]) -> Iterator[Callable[..., Served]]:
    made: list[Served] = []

    def serve(*args: Any, **kwargs: Any) -> Served:
        made.append(Served(*args, **kwargs))
        return made[-1]

    yield serve
    for each in made:
        with suppress(OSError):
            each.pipe.send(End(EndReason.SHUTDOWN))
            each.pipe.send(Exit())
        each.thread.join(45)
        each.pipe.close()
    # A reader whose pipe is closed under it would end the process, which the next test would take for its consumer's.
    eventually(lambda: all(thread.name != "pipe" for thread in threading.enumerate()), 20, "the readers have ended")
    for each in made:
        each.theirs.close()


def create(name: str = "orders", **settings: Any) -> Queue:
    return SQS.create(name, visibility_timeout=600, **settings)


Serve = Callable[..., Served]


class TestProtocol:
    def test_a_run_is_reported_live_and_at_its_end(self, served: Serve, probe: Probe) -> None:
        queue = create(concurrency=1)
        SQS.put(queue, "a", "b", "c")
        gate = threading.Semaphore(0)
        probe.behave = lambda message: gate.acquire(timeout=60)
        consumer = served()
        consumer.start(queue)
        gate.release()

        def one_done() -> bool:
            counts = dict(consumer.next(Live).counts)
            # How old what it holds is: by SQS's clock, and since it was received.
            assert counts.pop("oldestSentAt", 0) > 0
            assert 0 <= counts.pop("handlingFor", -1) < 60
            return counts == {
                "processed": 1,
                "failed": 0,
                "timedOut": 0,
                "retried": 0,
                "inFlight": 1,
                "buffered": 1,
            }

        eventually(one_done, 20, "the live counts say that one is done")
        gate.release(2)
        finished = consumer.next(Finished)
        assert finished.job_id == "job-1"
        assert (finished.report.reason, finished.report.processed) == (EndReason.DRAINED, 3)
        assert finished.memory > 1_000_000
        lives = [said for said in consumer.said if isinstance(said, Live)]
        assert {said.job_id for said in lives} == {"job-1"}
        assert all(said.memory > 1_000_000 for said in lives)

    def test_one_run_after_another(self, served: Serve, probe: Probe) -> None:
        first, second = create("first"), create("second")
        SQS.put(first, "a")
        SQS.put(second, "b", "c")
        consumer = served()
        consumer.start(first, "job-1")
        assert consumer.next(Finished).report.processed == 1
        consumer.start(second, "job-2")
        finished = consumer.next(Finished)
        assert (finished.job_id, finished.report.processed) == ("job-2", 2)

    def test_idle_it_says_nothing(self, served: Serve) -> None:
        consumer = served(live_seconds=0.01)
        consumer.start(create())
        consumer.next(Finished)
        assert not consumer.pipe.poll(0.2)

    def test_it_ends_a_run_when_it_is_told_to(self, served: Serve, probe: Probe) -> None:
        queue = create(concurrency=1)
        SQS.put(queue, "a", "b")
        gate = threading.Event()
        probe.behave = lambda message: gate.wait(60)
        consumer = served()
        consumer.start(queue)
        eventually(lambda: probe.running == 1, 30, "one is being handled")
        consumer.pipe.send(End(EndReason.PAUSED))
        eventually(lambda: SQS.depth_of(queue) == Depth(1, 1, 0), 30, "the other is visible")
        gate.set()
        report = consumer.next(Finished).report
        assert (report.reason, report.processed) == (EndReason.PAUSED, 1)

    def test_it_follows_changed_settings(self, served: Serve, probe: Probe) -> None:
        queue = create(concurrency=1)
        SQS.put(queue, "a", "b", "c")
        gate = threading.Event()
        probe.behave = lambda message: gate.wait(60)
        consumer = served()
        settings = consumer.start(queue)
        eventually(lambda: probe.running == 1, 30, "one is being handled")
        consumer.pipe.send(Apply(replace(settings, concurrency=3)))
        eventually(lambda: probe.running == 3, 30, "three are being handled")
        gate.set()
        assert consumer.next(Finished).report.processed == 3

    def test_a_handler_that_is_not_there_ends_the_run_and_not_the_process(self, served: Serve) -> None:
        queue = create()
        consumer = served()
        consumer.start(queue, handler="nothing")
        report = consumer.next(Finished).report
        assert report.reason is EndReason.ERROR
        assert "no handler 'nothing'" in (report.last_error or "")
        consumer.start(queue)
        assert consumer.next(Finished).report.reason is EndReason.DRAINED

    def test_grown_too_large_it_handles_its_buffer_and_ends_its_run(
        self, served: Serve, probe: Probe, grown: Growing
    ) -> None:
        queue = create(concurrency=1)
        SQS.put(queue, "a", "b", "c")
        gate = threading.Semaphore(0)
        probe.behave = lambda message: gate.acquire(timeout=60)
        consumer = served(replace(QUICK, memory_mb=64))
        consumer.start(queue)
        grown.by_mb = 65
        gate.release()
        eventually(lambda: consumer.next(Live).counts["processed"] == 1, 20, "it has worked")
        consumer.next(Live)
        consumer.next(Live)  # what was measured at the one before has had its consequence
        gate.release(2)
        finished = consumer.next(Finished)
        assert (finished.report.reason, finished.report.processed) == (EndReason.RECYCLED, 3)
        assert finished.outgrown
        assert "by more than CONSUMER_MEMORY_MB=64: it is replaced" in (finished.report.last_error or "")
        assert SQS.depth_of(queue) == Depth(0, 0, 0)

    def test_what_its_imports_take_does_not_count(self, served: Serve, probe: Probe, grown: Growing) -> None:
        """No other process would have less: each would be recycled at once, and handle nothing."""
        queue = create()
        SQS.put(queue, "a")
        grown.by_mb = 4_000  # before the first measurement
        consumer = served(replace(QUICK, memory_mb=64))
        consumer.start(queue)
        finished = consumer.next(Finished)
        assert (finished.report.reason, finished.report.processed) == (EndReason.DRAINED, 1)
        assert not finished.outgrown

    def test_a_run_works_for_some_time_before_its_process_is_recycled(
        self, served: Serve, probe: Probe, grown: Growing, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What a handler imports at its first message may be larger than the limit."""
        monkeypatch.setattr(process, "RECYCLE_AFTER_SECONDS", 3_600)
        queue = create()
        SQS.put(queue, "a")
        consumer = served(replace(QUICK, memory_mb=64))
        grown.by_mb = 65
        consumer.start(queue)
        finished = consumer.next(Finished)
        assert (finished.report.reason, finished.outgrown) == (EndReason.DRAINED, True)

    def test_it_says_when_only_handlers_in_flight_are_left(self, served: Serve, probe: Probe) -> None:
        queue = create(concurrency=2)
        SQS.put(queue, "a", "b", "c")
        gate = threading.Event()
        probe.behave = lambda message: gate.wait(60)
        consumer = served()
        consumer.start(queue)
        eventually(lambda: probe.running == 2, 30, "two are being handled")
        consumer.pipe.send(End(EndReason.PAUSED))
        released = consumer.next(Finishing)
        assert (released.job_id, released.report.reason, released.report.processed) == ("job-1", EndReason.PAUSED, 0)
        assert SQS.depth_of(queue) == Depth(1, 2, 0), "nothing else is held"
        SQS.put(queue, "d")
        gate.set()
        assert consumer.next(Finished).report.processed == 2
        assert SQS.depth_of(queue) == Depth(2, 0, 0), "nothing was received any more"

    def test_it_exits_when_it_is_told_to(self, served: Serve, exits: list[int]) -> None:
        consumer = served()
        consumer.pipe.send(Exit())
        consumer.joined()
        consumer.pipe.close()
        assert exits == []


class TestOrdersThatCrossARun:
    """The worker may end a run, or change its settings, while the consumer is only making it, or just after its end."""

    @pytest.fixture
    def slow(self, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
        """Runs are made when this is set."""
        gate = threading.Event()

        def make(*args: Any, **options: Any) -> Run:
            assert gate.wait(60)
            return Run(*args, **options)

        monkeypatch.setattr(process, "Run", make)
        return gate

    def read(self, consumer: Served) -> None:
        """Wait until the consumer has read all that was sent."""
        eventually(lambda: not consumer.theirs.poll(), 30, "the orders were read")

    def test_an_end_that_comes_early_is_kept(self, served: Serve, probe: Probe, slow: threading.Event) -> None:
        queue = create()
        SQS.put(queue, "a")
        probe.behave = lambda message: None
        consumer = served()
        consumer.start(queue)
        consumer.pipe.send(End(EndReason.SHUTDOWN))
        self.read(consumer)
        slow.set()
        assert consumer.next(Finished).report.reason is EndReason.SHUTDOWN

    def test_settings_that_come_early_are_kept(self, served: Serve, probe: Probe, slow: threading.Event) -> None:
        queue = create(concurrency=1)
        SQS.put(queue, "a", "b", "c")
        gate = threading.Event()
        probe.behave = lambda message: gate.wait(60)
        consumer = served()
        settings = consumer.start(queue)
        consumer.pipe.send(Apply(replace(settings, concurrency=2)))
        consumer.pipe.send(Apply(replace(settings, concurrency=3)))
        self.read(consumer)
        slow.set()
        eventually(lambda: probe.running == 3, 30, "three are being handled")
        gate.set()
        assert consumer.next(Finished).report.processed == 3

    def test_an_order_for_a_run_that_has_ended_does_not_reach_the_next(self, served: Serve, probe: Probe) -> None:
        queue = create()
        consumer = served()
        settings = consumer.start(queue, "job-1")
        consumer.next(Finished)
        consumer.pipe.send(Apply(replace(settings, handler="nothing")))
        consumer.pipe.send(End(EndReason.REVOKED))
        SQS.put(queue, "a")
        consumer.start(queue, "job-2")
        report = consumer.next(Finished).report
        assert (report.reason, report.processed) == (EndReason.DRAINED, 1)


class TestOrphan:
    def test_an_idle_one_ends(self, served: Serve) -> None:
        consumer = served()
        consumer.pipe.close()
        consumer.joined()

    def test_one_at_work_gives_back_what_it_has_not_begun(
        self, served: Serve, probe: Probe, exits: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(process, "ORPHAN_SECONDS", 0.5)
        queue = create(concurrency=1)
        SQS.put(queue, "a", "b", "c")
        gate = threading.Event()
        probe.behave = lambda message: gate.wait(60)
        consumer = served()
        consumer.start(queue)
        eventually(lambda: probe.running == 1, 30, "one is being handled")
        consumer.pipe.close()
        eventually(lambda: SQS.depth_of(queue) == Depth(2, 1, 0), 30, "the others are visible")
        eventually(lambda: exits == [1], 30, "a handler that takes too long is not waited for")
        gate.set()
        consumer.joined()

    def test_a_run_that_is_only_being_made_does_not_begin(
        self, served: Serve, probe: Probe, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gate = threading.Event()
        queue = create()

        def make(*args: Any, **options: Any) -> Run:
            assert gate.wait(60)
            return Run(*args, **options)

        monkeypatch.setattr(process, "Run", make)
        consumer = served()
        consumer.start(queue)
        eventually(lambda: not consumer.theirs.poll(), 30, "the order was read")
        consumer.pipe.close()
        eventually(lambda: consumer.consumer._exiting, 30, "its worker's end was noticed")
        gate.set()
        consumer.joined()


class TestQueuesOfOthers:
    def test_what_the_owner_changed_is_found_and_reported(
        self, served: Serve, probe: Probe, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = {"max_receive_count": 10, "dlq_url": "memory://sqs/dead", "retention_seconds": 60}
        monkeypatch.setattr(following, "read", lambda gateway, queue_url: found)
        queue = create(managed=False)
        SQS.put(queue, "a")
        eventually(lambda: SQS.receive(queue.queue_url, limit=1, wait=0, visibility=0), 20, "it was received once")
        gate = threading.Event()
        probe.behave = lambda message: gate.wait(60)
        consumer = served()
        consumer.start(queue, max_receive_count=1, dlq_url="memory://sqs/gone")

        # A Live says so: the handler still works.
        assert eventually(lambda: consumer.next(Live).news.followed, 20, "what was found is reported") == found
        gate.set()

        assert consumer.next(Finished).report.processed == 1
