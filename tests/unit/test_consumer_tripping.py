"""A dependency that is down: the run trips, the queue backs off, and probes find out when it is there again."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from jobs.consumer.backoff import FIRST_TRIP_PAUSE, LONGEST_TRIP_PAUSE, trip_pause
from jobs.consumer.report import RunReport
from jobs.consumer.tripping import BEHIND_SECONDS
from jobs.models import EndReason
from queues.handlers import Message, Reject, Retry, Unavailable
from queues.handlers.retrying import breaker, retry_policy
from queues.models import Queue
from queues.sqs import MAX_DELAY_SECONDS, OutgoingMessage
from queues.sqs.memory import ManualClock
from queuesite.foundation.errors import SqsUnavailable
from tests.support.memory_sqs import registered
from tests.support.runs import LASTING, QUICK, MemoryQueues, Running, numbers
from tests.support.waiting import eventually


class Dependency:
    """A dependency of the handler, by the queue's clock. `calls` are when it was asked for, and by what body."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.down = True
        self.calls: list[tuple[float, str]] = []
        self.done: dict[str, float] = {}
        self.most = self._now = 0
        self._lock = threading.Lock()

    def __call__(self, message: Message) -> None:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
            self.calls.append((self.clock(), message.body))
        try:
            self.ask(message)
            with self._lock:
                self.done[message.body] = self.clock()
        finally:
            with self._lock:
                self._now -= 1

    def ask(self, message: Message) -> None:
        if self.down:
            raise Unavailable("stripe")


class System:
    """A queue, and runs of it one after another with the pauses that a worker and a master would make."""

    def __init__(self, **settings: Any) -> None:
        self.clock = ManualClock()
        self.sqs = MemoryQueues(self.clock)
        self.queue: Queue = self.sqs.create(handler="under-test", visibility_timeout=600, **settings)
        self.dependency = Dependency(self.clock)
        self.trips = 0
        self.pauses: list[float] = []

    def run(self) -> RunReport:
        """A run. If it trips, the queue's pause passes."""
        self.queue.trip_count = self.trips
        report = Running(self.sqs, self.queue, QUICK).report()
        if report.reason is EndReason.TRIPPED:
            self.trips = 1 if report.processed else self.trips + 1
            self.pauses.append(report.pause)
        elif report.processed:
            self.trips = 0
        return report

    def pass_pause(self) -> None:
        self.clock.advance(self.pauses[-1])

    @property
    def dead(self) -> int:
        assert self.queue.dlq_url is not None
        # A message that has used up its receives is moved when it would be received again.
        self.sqs.receive(self.queue.queue_url, limit=1, wait=0, visibility=0)
        return self.sqs.depth(self.queue.dlq_url).total


@pytest.mark.parametrize("max_receive_count", [1, 2, 3, 5])
@pytest.mark.parametrize("traits", [{}, {"breaker": breaker({"failures": 1, "within": 60})}], ids=["raised", "breaker"])
def test_a_dependency_down_for_a_minute_with_500_messages_waiting(
    max_receive_count: int, traits: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    system = System(max_receive_count=max_receive_count, concurrency=1)
    dependency = system.dependency
    if traits:
        monkeypatch.setattr(dependency, "ask", lambda message: 1 / (not dependency.down))
    system.sqs.put(system.queue, *numbers(500))
    began = system.clock()
    with registered(dependency, **traits):
        while system.clock() - began < 60:
            assert system.run().reason is EndReason.TRIPPED
            system.pass_pause()
        assert len(dependency.calls) == 1 + 1  # and one probe, 30 s later
        assert len({body for _, body in dependency.calls}) == 2  # of another message
        dependency.down = False
        assert system.clock() - began == 90
        system.run()
        system.clock.advance(BEHIND_SECONDS)
        system.run()
    assert set(dependency.done) == set(numbers(500))
    assert max(dependency.done.values()) - began <= 60 + 60
    assert system.dead == 0


@pytest.mark.parametrize("max_receive_count", [1, 3])
@pytest.mark.parametrize("waiting", [1, 2, 40])
def test_none_becomes_a_dead_letter_however_long_it_lasts(waiting: int, max_receive_count: int) -> None:
    system = System(max_receive_count=max_receive_count, concurrency=4)
    system.sqs.put(system.queue, *numbers(waiting))
    with registered(system.dependency):
        for _ in range(20):
            if system.run().reason is EndReason.TRIPPED:
                system.pass_pause()
            else:
                system.clock.advance(BEHIND_SECONDS)  # those that there are wait a little longer than the queue
        system.dependency.down = False
        for _ in range(3):
            system.run()
            system.clock.advance(LONGEST_TRIP_PAUSE + BEHIND_SECONDS)
    assert set(system.dependency.done) == set(numbers(waiting))
    assert system.dead == 0
    assert system.sqs.depth_of(system.queue).total == 0


def test_the_pause_doubles_up_to_a_quarter_of_an_hour_and_begins_anew_after_a_message() -> None:
    system = System(concurrency=1)
    system.sqs.put(system.queue, *numbers(50))
    dependency = system.dependency
    with registered(dependency):
        for _ in range(7):
            system.run()
            system.pass_pause()
        assert system.pauses == [30, 60, 120, 240, 480, 900, 900]
        good = iter([True, False])
        dependency.ask = lambda message: None if next(good) else Dependency.ask(dependency, message)  # type: ignore[method-assign]
        assert system.run().processed == 1
    assert system.pauses[-1] == FIRST_TRIP_PAUSE


def test_the_dependency_may_ask_for_a_longer_pause() -> None:
    assert trip_pause(1, 5) == FIRST_TRIP_PAUSE
    assert trip_pause(1, 3_600) == 3_600
    assert trip_pause(10_000) == LONGEST_TRIP_PAUSE


def test_no_message_is_begun_once_it_has_tripped_and_what_waited_is_visible_at_once() -> None:
    system = System(concurrency=3, max_receive_count=100)
    together = threading.Barrier(3)

    def ask(message: Message) -> None:
        together.wait(60)
        raise Unavailable("stripe", retry_after=90)

    system.dependency.ask = ask  # type: ignore[method-assign]
    system.sqs.put(system.queue, *numbers(30))
    with registered(system.dependency):
        report = system.run()
    assert (report.reason, report.failed, report.pause) == (EndReason.TRIPPED, 3, 90)
    assert report.last_error == "stripe is unavailable"
    depth = system.sqs.depth_of(system.queue)
    assert (depth.visible, depth.in_flight) == (27, 3)
    system.clock.advance(90 + BEHIND_SECONDS - 1)
    assert system.sqs.depth_of(system.queue).visible == 27  # the others serve as probes first
    system.clock.advance(1)
    assert system.sqs.depth_of(system.queue).visible == 30


def test_an_async_handler_trips_as_well() -> None:
    system = System(concurrency=1)
    system.sqs.put(system.queue, *numbers(20))
    calls = []

    async def unreachable(message: Message) -> type[Unavailable]:
        calls.append(message.body)
        return Unavailable

    with registered(unreachable):
        report = system.run()
    assert (report.reason, report.last_error, len(calls)) == (EndReason.TRIPPED, "a dependency is unavailable", 1)


def test_a_probing_run_holds_one_message_until_one_is_handled_and_then_takes_all_its_slots() -> None:
    system = System(concurrency=4)
    system.trips = 2
    dependency = system.dependency
    first, together = threading.Event(), threading.Barrier(4)

    def ask(message: Message) -> None:
        if len(dependency.calls) == 1:
            first.wait(60)
        else:
            together.wait(60)

    dependency.ask = ask  # type: ignore[method-assign]
    system.sqs.put(system.queue, *numbers(9))
    system.queue.trip_count = 2
    with registered(dependency):
        running = Running(system.sqs, system.queue, QUICK)
        eventually(lambda: dependency.calls, 30, "the probe is handled")
        assert running.run.live()["buffered"] == 0
        assert system.sqs.depth_of(system.queue).in_flight == 1
        first.set()
        assert running.report().processed == 9
    assert dependency.most == 4


class TestBreaker:
    LIMIT = breaker({"failures": 5, "within": 60})

    def test_it_opens_with_the_last_of_so_many_failures(self) -> None:
        system = System(concurrency=1)

        def fail(message: Message) -> None:
            raise ConnectionError("secret detail")

        system.dependency.ask = fail  # type: ignore[method-assign]
        system.sqs.put(system.queue, *numbers(30))
        with registered(system.dependency, breaker=self.LIMIT):
            report = system.run()
        assert (report.reason, report.failed) == (EndReason.TRIPPED, 5)
        assert report.last_error == "5 failed attempts within 60 s, the last by ConnectionError"

    def test_what_is_asked_for_and_what_is_rejected_are_no_failures(self) -> None:
        system = System(concurrency=1)

        def answer(message: Message) -> None:
            if message.body in numbers(4):
                raise ConnectionError
            raise Retry(delay=600) if message.body in numbers(15) else KeyError("no order")

        system.dependency.ask = answer  # type: ignore[method-assign]
        system.sqs.put(system.queue, *numbers(30))
        policy = retry_policy({KeyError: Reject, ConnectionError: 600})
        with registered(system.dependency, breaker=self.LIMIT, retry=policy):
            report = system.run()
        assert (report.reason, report.failed, report.retried) == (EndReason.DRAINED, 19, 11)
        assert system.dead == 15

    def test_the_time_limit_of_a_thread_counts_and_what_was_counted_goes_to_the_next_run(self) -> None:
        system = System(concurrency=1, max_receive_count=2)
        go = threading.Event()
        system.dependency.ask = lambda message: go.wait(60)  # type: ignore[method-assign,assignment]
        system.sqs.put(system.queue, *numbers(3))
        try:
            with registered(system.dependency, breaker=breaker({"failures": 2, "within": 60}), timeout=0.05):
                first = Running(system.sqs, system.queue).report()
                assert (first.reason, first.timed_out, [count for _, count in first.counted]) == (
                    EndReason.TIMED_OUT,
                    1,
                    [1],
                )
                assert Running(system.sqs, system.queue, counted=((61.0, 1),)).report().reason is EndReason.TIMED_OUT
                second = Running(system.sqs, system.queue, counted=((5.0, 1),)).report()
                assert (second.reason, second.tainted, second.pause) == (EndReason.TRIPPED, True, FIRST_TRIP_PAUSE)
                assert second.last_error == "2 failed attempts within 60 s, the last by TimedOut"
                # A probe that times out trips at once, and its message, which was received twice, is spared.
                system.clock.advance(LONGEST_TRIP_PAUSE)
                probe = Running(system.sqs, system.queue, trips=1).report()
                assert (probe.reason, probe.pause) == (EndReason.TRIPPED, 60)
            assert system.dead == 0
        finally:
            go.set()

    def test_failures_that_are_too_old_do_not_count(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now = iter(range(0, 10_000, 20))  # one each 20 s: three within 60 s
        monkeypatch.setattr("jobs.consumer.tripping.time", SimpleNamespace(monotonic=lambda: float(next(now))))
        system = System(concurrency=1)

        def fail(message: Message) -> None:
            raise ConnectionError

        system.dependency.ask = fail  # type: ignore[method-assign]
        system.sqs.put(system.queue, *numbers(12))
        with registered(system.dependency, breaker=self.LIMIT, retry=retry_policy({OSError: 600})):
            assert system.run().reason is EndReason.DRAINED


def test_a_run_that_makes_room_trips_all_the_same_and_handles_nothing_more() -> None:
    system = System(concurrency=1)
    begun, go = threading.Event(), threading.Event()

    def ask(message: Message) -> None:
        begun.set()
        go.wait(60)
        raise Unavailable

    system.dependency.ask = ask  # type: ignore[method-assign]
    system.sqs.put(system.queue, *numbers(8))
    with registered(system.dependency):
        running = Running(system.sqs, system.queue, LASTING)
        assert begun.wait(30)
        running.run.end(EndReason.YIELDED)
        go.set()
        assert running.report().reason is EndReason.TRIPPED
    assert len(system.dependency.calls) == 1


def test_a_copy_has_the_body_and_the_attributes_and_waits_no_longer_than_sqs_allows() -> None:
    system = System(max_receive_count=1, concurrency=1)

    def ask(message: Message) -> None:
        raise Unavailable(retry_after=7_200)

    system.dependency.ask = ask  # type: ignore[method-assign]
    message = {"DataType": "String", "StringValue": "tenant-7"}
    outgoing = OutgoingMessage("m0", {"tenant": message})
    system.sqs.send(system.queue.queue_url, [outgoing])
    with registered(system.dependency):
        system.run()
    assert system.sqs.receive(system.queue.queue_url, limit=10, wait=0) == []
    system.clock.advance(MAX_DELAY_SECONDS)
    (copy,) = system.sqs.receive(system.queue.queue_url, limit=10, wait=0)
    assert (copy.body, copy.attributes, copy.receive_count) == ("m0", {"tenant": message}, 1)


def test_a_copy_that_sqs_does_not_take_leaves_the_message_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    system = System(max_receive_count=1, concurrency=1)
    system.sqs.put(system.queue, "m0")

    def away(*_: Any) -> Any:
        raise SqsUnavailable("away")

    monkeypatch.setattr(system.sqs, "send", away)
    with registered(system.dependency):
        system.run()
    assert system.sqs.depth_of(system.queue).total == 1


def test_a_fifo_queue_keeps_its_order_and_sends_no_copies() -> None:
    system = System(name="orders.fifo", concurrency=4, max_receive_count=5)
    system.sqs.put(system.queue, *numbers(10), group="a")
    system.sqs.put(system.queue, *(f"b{number}" for number in range(10)), group="b")
    dependency = system.dependency
    with registered(dependency):
        for _ in range(2):
            system.run()
            system.pass_pause()
        dependency.down = False
        for _ in range(3):
            system.run()
            system.clock.advance(60)
    order = list(dependency.done)
    assert [body for body in order if body.startswith("m")] == numbers(10)
    assert [body for body in order if body.startswith("b")] == [f"b{number}" for number in range(10)]
