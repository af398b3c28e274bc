"""Handlers past their time limit: an async one is cancelled, a sync one ends the run, and its process with it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from jobs.consumer.settings import QueueSettings, RunLimits
from jobs.failures import FailureGroup
from jobs.models import EndReason
from queues.handlers import Message, registry
from queues.models import Queue
from tests.support import probe as probes
from tests.support.probe import Probe
from tests.support.runs import MemoryQueues, Running
from tests.support.waiting import eventually

SQS = MemoryQueues()
LIMITS = RunLimits(idle=1, linger=0.05, grace=0.3)
#: For runs that must not be drained before a retry is visible again.
LASTING = replace(LIMITS, idle=4)
LONG = 30.0
#: A handler's time limit, in seconds.
LIMIT = 0.2


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """FailureGroups come back at once; how long they really wait is `test_consumer_outcome`'s concern."""
    monkeypatch.setattr("jobs.consumer.outcome.retry_delay", lambda receive_count: 0)
    monkeypatch.setattr("jobs.consumer.time_limits.CANCEL_SECONDS", 0.2)


@pytest.fixture
def probe() -> Probe:
    return probes.fresh()


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Opened at the end, so that no thread stays behind."""
    event = threading.Event()
    yield event
    event.set()


Begin = Callable[..., Running]


@pytest.fixture
def begin() -> Iterator[Begin]:
    made: list[Running] = []

    def start(queue: Queue, limits: RunLimits = LIMITS, **changes: Any) -> Running:
        made.append(Running(SQS, queue, limits, **changes))
        return made[-1]

    yield start
    for running in made:
        running.run.end(EndReason.SHUTDOWN)


def create(name: str = "orders", **settings: Any) -> Queue:
    return SQS.create(name, **{"visibility_timeout": 600, **settings})


def failures(running: Running) -> list[FailureGroup]:
    return list(running.run.recorder.take())


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both handlers have the limit; a queue's own is of whole seconds."""
    for name in ("probe", "async-probe"):
        monkeypatch.setitem(registry.registered(), name, replace(registry.get(name), timeout=LIMIT))


@pytest.mark.usefixtures("limited")
class TestSync:
    def test_the_run_ends_and_its_process_must_serve_no_other(
        self, probe: Probe, begin: Begin, gate: threading.Event
    ) -> None:
        queue = create(concurrency=2)
        SQS.put(queue, "stuck", "quick")
        probe.behave = lambda message: gate.wait(LONG) if message.body == "stuck" else None
        running = begin(queue)
        report = running.report()
        assert (report.reason, report.tainted) == (EndReason.TIMED_OUT, True)
        assert (report.processed, report.failed, report.timed_out) == (1, 1, 1)
        assert report.last_error == "TimedOut: the handler took longer than its time limit of 0.2 s"
        # It is not hidden for the 600 s of the queue.
        eventually(lambda: SQS.depth_of(queue).visible == 1, LONG, "the message is visible again")

    def test_where_it_hangs_is_recorded(self, probe: Probe, begin: Begin, gate: threading.Event) -> None:
        queue = create()
        SQS.put(queue, "stuck")
        probe.behave = lambda message: gate.wait(LONG)
        running = begin(queue)
        running.report()
        (failure,) = failures(running)
        assert failure.exception_type == "jobs.consumer.outcome.TimedOut"
        assert "gate.wait(LONG)" in failure.traceback
        assert failure.sample_body == "stuck"

    def test_a_result_that_comes_too_late_counts_no_more(
        self, probe: Probe, begin: Begin, gate: threading.Event
    ) -> None:
        queue = create(concurrency=2)
        SQS.put(queue, "late", "slow")
        slow = threading.Event()

        def behave(message: Message) -> None:
            (gate if message.body == "late" else slow).wait(LONG)

        probe.behave = behave
        running = begin(queue)
        eventually(lambda: running.run.live()["timedOut"], LONG, "one is past its limit")
        gate.set()
        slow.set()
        report = running.report()
        assert report.reason is EndReason.TIMED_OUT
        assert report.processed + report.timed_out == 2
        eventually(lambda: SQS.depth_of(queue).visible == report.timed_out, LONG, "what timed out is visible again")

    def test_of_a_fifo_group_none_is_begun_after_one_that_is_stuck(
        self, probe: Probe, begin: Begin, gate: threading.Event
    ) -> None:
        queue = create("orders.fifo", concurrency=3)
        SQS.put(queue, "1", "2", "3", group="g")
        probe.behave = lambda message: gate.wait(LONG) if message.body == "1" else None
        report = begin(queue).report()
        assert report.reason is EndReason.TIMED_OUT
        assert [message.body for message in probe.started] == ["1"]
        gate.set()
        again = begin(queue, LASTING)
        eventually(lambda: len(probe.started) == 4, LONG, "all were begun")
        again.run.end(EndReason.SHUTDOWN)
        again.report()
        assert [message.body for message in probe.started] == ["1", "1", "2", "3"]


@pytest.mark.usefixtures("limited")
class TestAsync:
    @pytest.fixture
    def queue(self) -> Queue:
        return create(handler="async-probe", concurrency=2)

    def test_it_is_cancelled_and_the_run_goes_on(self, probe: Probe, begin: Begin, queue: Queue) -> None:
        cancelled = threading.Event()

        async def behave(message: Message) -> None:
            try:
                await asyncio.sleep(LONG if message.body == "slow" and message.receive_count == 1 else 0)
            except asyncio.CancelledError:
                cancelled.set()
                raise

        probe.behave_async = behave
        SQS.put(queue, "slow", "quick")
        running = begin(queue, LASTING)
        eventually(lambda: running.run.live()["processed"] == 2, LONG, "both were handled, one at its second try")
        running.run.end(EndReason.SHUTDOWN)
        report = running.report()
        assert cancelled.is_set()
        assert (report.reason, report.tainted) == (EndReason.SHUTDOWN, False)
        assert (report.processed, report.failed, report.timed_out) == (2, 1, 1)

    def test_one_that_does_not_heed_that_is_stuck(self, probe: Probe, begin: Begin, queue: Queue) -> None:
        over = threading.Event()

        async def behave(message: Message) -> None:
            while not over.is_set():
                try:
                    await asyncio.sleep(0.1)
                except asyncio.CancelledError:
                    continue

        probe.behave_async = behave
        SQS.put(queue, "deaf")
        report = begin(queue).report()
        over.set()
        assert (report.reason, report.tainted, report.timed_out) == (EndReason.TIMED_OUT, True, 1)

    def test_one_that_blocks_the_loop_is_stuck(
        self, probe: Probe, begin: Begin, queue: Queue, gate: threading.Event
    ) -> None:
        async def behave(message: Message) -> None:
            gate.wait(LONG)

        probe.behave_async = behave
        SQS.put(queue, "blocking")
        running = begin(queue)
        report = running.report()
        assert (report.reason, report.tainted) == (EndReason.TIMED_OUT, True)
        assert "gate.wait(LONG)" in failures(running)[0].traceback


class TestLimit:
    def test_without_a_limit_it_may_take_its_time(self, probe: Probe, begin: Begin, gate: threading.Event) -> None:
        queue = create()
        SQS.put(queue, "long")
        probe.behave = lambda message: gate.wait(LONG)
        running = begin(queue)
        eventually(lambda: probe.running == 1, LONG, "it is being handled")
        gate.set()
        assert running.report().processed == 1

    def test_the_queues_goes_before_the_handlers(
        self, probe: Probe, begin: Begin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        original = registry.get("async-probe")
        monkeypatch.setitem(registry.registered(), "async-probe", replace(original, timeout=0.1))
        took: list[float] = []

        async def behave(message: Message) -> None:
            began = time.monotonic()
            try:
                await asyncio.sleep(LONG)
            finally:
                took.append(time.monotonic() - began)

        probe.behave_async = behave
        queue = create(handler="async-probe", max_receive_count=1)
        SQS.put(queue, "m")
        running = begin(queue)
        eventually(lambda: took, LONG, "the handler's own limit is over")
        running.run.apply(replace(QueueSettings.of(queue), timeout=1))
        SQS.put(queue, "n")
        eventually(lambda: len(took) == 2, LONG, "the queue's limit is over")
        running.run.end(EndReason.SHUTDOWN)
        running.report()
        # Ten times the handler's own, less what may pass before the handler begins.
        assert took[1] > 0.2

    @pytest.mark.parametrize("timeout", [0, -1, 43_201])
    def test_a_limit_that_cannot_be_kept_is_refused(self, timeout: float) -> None:
        from queues.handlers.registry import HandlerError, handler

        with pytest.raises(HandlerError, match=r"timeout=.*expected above 0 and at most 43200 seconds"):
            handler("never", timeout=timeout)
