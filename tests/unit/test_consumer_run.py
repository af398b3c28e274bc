"""A run from the first receive to its report, with handlers of the test's choice, on the SQS in memory."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from jobs.consumer import settler
from jobs.consumer.dead_letters import send_to_dead_letters
from jobs.consumer.held import Held
from jobs.consumer.holdings import Holdings
from jobs.consumer.run import Run
from jobs.consumer.settings import QueueSettings, RunLimits
from jobs.models import EndReason
from queues.handlers import Message, Reject, Retry
from queues.models import Queue
from queues.sqs import Depth
from queuesite.foundation.errors import InvalidInput
from tests.support import probe as probes
from tests.support.probe import Probe
from tests.support.runs import LASTING, PATIENT, QUICK, MemoryQueues, Running, numbers
from tests.support.waiting import eventually

SQS = MemoryQueues()


@pytest.fixture
def probe() -> Probe:
    return probes.fresh()


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures come back at once; how long they really wait is `test_consumer_outcome`'s concern."""
    monkeypatch.setattr("jobs.consumer.outcome.retry_delay", lambda receive_count: 0)
    monkeypatch.setattr("jobs.consumer.settler.retry_delay", lambda receive_count: 0)


@pytest.fixture
def begin(probe: Probe) -> Iterator[Begin]:
    """Begins runs; those that a test leaves behind where it fails are ended."""
    runs: list[Running] = []

    def begin(queue: Queue, limits: RunLimits = QUICK, **changes: Any) -> Running:
        runs.append(Running(SQS, queue, limits, **changes))
        return runs[-1]

    yield begin
    for running in runs:
        running.run.end(EndReason.SHUTDOWN)


Begin = Callable[..., Running]


class TestDone:
    def test_coroutines_are_awaited_and_run_at_the_same_time(self, probe: Probe, begin: Begin) -> None:
        queue = SQS.create(handler="async-probe", concurrency=4)
        together = asyncio.Barrier(4)

        async def meet(message: Message) -> None:
            await asyncio.wait_for(together.wait(), 45)

        probe.behave_async = meet
        SQS.put(queue, *numbers(8))
        report = begin(queue).report()
        assert (report.processed, report.failed) == (8, 0)
        assert probe.most == 4

    @pytest.mark.parametrize("handler", ["probe", "async-probe"])
    def test_answers_other_than_success(self, probe: Probe, begin: Begin, handler: str) -> None:
        queue = SQS.create(handler=handler)
        SQS.put(queue, "retry", "reject", "fail", "done")

        def behave(message: Message) -> object:
            if message.body == "retry" and message.receive_count == 1:
                return Retry("once more", delay=0)
            if message.body == "reject":
                return Reject("no")
            if message.body == "fail" and message.receive_count == 1:
                raise ValueError("once")
            return None

        probe.behave = behave
        running = begin(queue, LASTING)
        eventually(lambda: SQS.depth_of(queue) == Depth(0, 0, 0), 20, "all were settled")
        report = running.end()
        assert probe.bodies == {"retry": 2, "reject": 1, "fail": 2, "done": 1}
        assert (report.processed, report.failed, report.retried) == (3, 2, 1)
        assert [letter.body for letter in SQS.dead_letters(queue)] == ["reject"]

    def test_live_counts(self, probe: Probe, begin: Begin) -> None:
        queue = SQS.create(concurrency=1)
        SQS.put(queue, *numbers(4))
        gate = threading.Semaphore(0)
        probe.behave = lambda message: gate.acquire(timeout=60)
        running = begin(queue)
        eventually(lambda: running.run.live() == live(in_flight=1, buffered=3), 30, "all are held")
        gate.release()
        eventually(lambda: running.run.live() == live(processed=1, in_flight=1, buffered=2), 30, "one is done")
        gate.release(3)
        assert running.report().processed == 4


class TestFailure:
    def test_a_failed_message_comes_back_and_counts_its_receives(self, probe: Probe, begin: Begin) -> None:
        queue = SQS.create()
        SQS.put(queue, "m")

        def behave(message: Message) -> None:
            if message.receive_count < 3:
                raise ValueError(f"attempt {message.receive_count}")

        probe.behave = behave
        running = begin(queue, LASTING)
        eventually(lambda: SQS.depth_of(queue) == Depth(0, 0, 0), 20, "it was settled")
        report = running.end()
        assert [message.receive_count for message in probe.ended] == [1, 2, 3]
        assert (report.processed, report.failed) == (1, 2)
        assert report.last_error == "ValueError: attempt 2"

    @pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError(), GeneratorExit()])
    @pytest.mark.parametrize("handler", ["probe", "async-probe"])
    def test_what_would_end_a_program_fails_its_message_alone(
        self, probe: Probe, begin: Begin, handler: str, error: BaseException
    ) -> None:
        queue = SQS.create(handler=handler, concurrency=2)
        SQS.put(queue, *["fatal", *numbers(5)])

        def behave(message: Message) -> None:
            if message.body == "fatal" and message.receive_count == 1:
                raise error

        probe.behave = behave
        running = begin(queue, LASTING)
        eventually(lambda: SQS.depth_of(queue) == Depth(0, 0, 0), 20, "all were settled")
        report = running.end()
        assert (report.processed, report.failed) == (6, 1)
        assert probe.bodies == {"fatal": 2, **dict.fromkeys(numbers(5), 1)}

    def test_an_error_that_cannot_be_encoded_does_no_harm(self, probe: Probe, begin: Begin) -> None:
        queue = SQS.create()
        SQS.put(queue, "raise", "retry", "reject")

        def behave(message: Message) -> None:
            if message.receive_count == 1:
                error = {"raise": ValueError, "retry": Retry, "reject": Reject}[message.body]
                raise error("lone \ud800 surrogate and \0")

        probe.behave = behave
        running = begin(queue, LASTING)
        eventually(lambda: SQS.depth_of(queue) == Depth(0, 0, 0), 20, "all were settled")
        report = running.end()
        assert (report.processed, report.failed, report.retried) == (2, 2, 1)
        assert report.last_error is not None
        report.last_error.encode()

    def test_an_error_while_settling_costs_nothing_but_the_wait(
        self, probe: Probe, begin: Begin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        queue = SQS.create(visibility_timeout=1, concurrency=1)
        SQS.put(queue, "m")
        answers: list[Exception | None] = [RuntimeError("a bug"), None]

        def send_late(*args: Any) -> None:
            if (answer := answers.pop(0)) is not None:
                raise answer
            send_to_dead_letters(*args)

        monkeypatch.setattr(settler, "send_to_dead_letters", send_late)
        probe.behave = lambda message: Reject("no")
        running = begin(queue, PATIENT)
        assert len(SQS.dead_letters(queue)) == 1
        assert running.end().failed == 2
        assert [message.receive_count for message in probe.ended] == [1, 2]


class TestReject:
    def test_without_a_dead_letter_queue_it_is_kept(self, probe: Probe, begin: Begin) -> None:
        queue = SQS.create(with_dlq=False)
        SQS.put(queue, "m")
        probe.behave = lambda message: Reject("no") if message.receive_count == 1 else None
        running = begin(queue, LASTING)
        eventually(lambda: SQS.depth_of(queue) == Depth(0, 0, 0), 20, "it was settled")
        report = running.end()
        assert probe.bodies == {"m": 2}
        assert (report.processed, report.failed) == (1, 1)
        assert "no dead-letter queue" in (report.last_error or "")

    def test_on_a_fifo_queue_the_next_of_the_group_follows(self, probe: Probe, begin: Begin) -> None:
        queue = SQS.create("orders.fifo")
        SQS.put(queue, "a1", "a2", group="a")
        probe.behave = lambda message: Reject("no") if message.body == "a1" else None
        running = begin(queue, LASTING)
        (letter,) = SQS.dead_letters(queue)
        eventually(lambda: SQS.depth_of(queue) == Depth(0, 0, 0), 20, "both were settled")
        running.end()
        assert (letter.body, letter.group) == ("a1", "a")
        assert [message.body for message in probe.ended] == ["a1", "a2"]


class TestConcurrency:
    @pytest.mark.parametrize("handler", ["probe", "async-probe"])
    @pytest.mark.parametrize("concurrency", [1, 3, 5])
    def test_it_is_reached_and_never_exceeded(self, probe: Probe, begin: Begin, concurrency: int, handler: str) -> None:
        queue = SQS.create(concurrency=concurrency, handler=handler)
        SQS.put(queue, *numbers(4 * concurrency))

        def wait_for_the_others() -> bool:
            with probe.changed:
                first = len(probe.started) <= concurrency
                return not first or probe.changed.wait_for(lambda: probe.most >= concurrency, 45)

        async def meet(message: Message) -> None:
            assert await asyncio.to_thread(wait_for_the_others)

        def behave(message: Message) -> None:
            assert wait_for_the_others()

        probe.behave, probe.behave_async = behave, meet if handler == "async-probe" else None
        report = begin(queue).report()
        assert probe.most == concurrency
        assert (report.processed, report.failed) == (4 * concurrency, 0)

    def test_raised_while_it_runs(self, probe: Probe, begin: Begin) -> None:
        queue = SQS.create(concurrency=1)
        SQS.put(queue, *numbers(10))
        gate = threading.Event()
        probe.behave = lambda message: gate.wait(60)
        running = begin(queue)
        eventually(lambda: probe.running == 1, 30, "one is being handled")
        running.run.apply(replace(running.settings, concurrency=4))
        eventually(lambda: probe.running == 4, 30, "four are being handled")
        gate.set()
        assert running.report().processed == 10
        assert probe.most == 4

    def test_lowered_while_it_runs(self, probe: Probe, begin: Begin) -> None:
        queue = SQS.create(concurrency=4)
        SQS.put(queue, *numbers(20))
        first = threading.Event()
        gate = threading.Semaphore(0)

        def behave(message: Message) -> None:
            first.wait(60)
            gate.acquire(timeout=60)

        probe.behave = behave
        running = begin(queue)
        eventually(lambda: probe.running == 4, 30, "four are being handled")
        running.run.apply(replace(running.settings, concurrency=1))
        first.set()
        gate.release(4)  # those that were begun before
        eventually(lambda: len(probe.ended) == 4, 30, "they have ended")
        probe.most = 0
        gate.release(100)
        assert running.report().processed == 20
        assert probe.most == 1

    def test_lowered_and_raised_again_before_the_slots_were_free(self, probe: Probe, begin: Begin) -> None:
        queue = SQS.create(concurrency=4)
        SQS.put(queue, *numbers(30))
        gate = threading.Event()
        probe.behave = lambda message: gate.wait(60)
        running = begin(queue)
        eventually(lambda: probe.running == 4, 30, "four are being handled")
        for concurrency in (1, 4, 2, 3, 4):
            running.run.apply(replace(running.settings, concurrency=concurrency))
        gate.set()
        assert running.report().processed == 30
        assert probe.most == 4

    def test_lowered_while_most_slots_are_idle(self, probe: Probe, begin: Begin) -> None:
        queue = SQS.create(concurrency=4)
        gate = threading.Semaphore(0)
        probe.behave = lambda message: gate.acquire(timeout=60)
        running = begin(queue, LASTING)
        SQS.put(queue, "slow")
        eventually(lambda: probe.running == 1, 30, "one is being handled")
        running.run.apply(replace(running.settings, concurrency=2))
        SQS.put(queue, *numbers(10))
        eventually(lambda: probe.running == 2 and running.run.live()["buffered"], 30, "another one is")
        gate.release(100)
        eventually(lambda: len(probe.ended) == 11, 30, "all were handled")
        running.end()
        assert probe.most == 2

    def test_a_slow_message_does_not_hold_up_the_others(self, probe: Probe, begin: Begin) -> None:
        queue = SQS.create(concurrency=2)
        gate = threading.Event()
        probe.behave = lambda message: gate.wait(30) if message.body == "slow" else None
        SQS.put(queue, "slow")
        running = begin(queue)
        eventually(lambda: probe.running == 1, 30, "the slow one is being handled")
        SQS.put(queue, *numbers(35))
        eventually(lambda: len(probe.ended) == 35, 20, "the others have been handled")
        assert "slow" not in probe.bodies
        gate.set()
        assert running.report().processed == 36

    def test_a_queue_with_few_receives_has_none_received_before_its_turn(self, probe: Probe, begin: Begin) -> None:
        queue = SQS.create(concurrency=2, max_receive_count=1)
        SQS.put(queue, *numbers(8))
        gate = threading.Event()
        probe.behave = lambda message: gate.wait(60)
        running = begin(queue, LASTING)
        eventually(lambda: probe.running == 2, 30, "two are being handled")
        assert running.run.live()["buffered"] == 0
        report = None
        gate.set()
        eventually(lambda: len(probe.ended) == 8, 20, "all were handled")
        report = running.end()
        assert report.processed == 8
        assert {message.receive_count for message in probe.ended} == {1}


class TestFifo:
    def test_groups_are_handled_side_by_side(self, probe: Probe, begin: Begin) -> None:
        queue = SQS.create("orders.fifo", concurrency=3)
        for group in ("a", "b", "c"):
            SQS.put(queue, *[f"{group}0"], group=group)
        together = threading.Barrier(3)
        probe.behave = lambda message: together.wait(60)
        report = begin(queue, RunLimits(idle=1, linger=0)).report()
        assert (report.processed, report.failed) == (3, 0)


class TestEnd:
    @pytest.mark.parametrize(
        "reason", [EndReason.SHUTDOWN, EndReason.PAUSED, EndReason.REVOKED, EndReason.QUEUE_MISSING]
    )
    def test_what_was_not_begun_is_visible_again_at_once_and_what_was_is_finished(
        self, probe: Probe, begin: Begin, reason: EndReason
    ) -> None:
        queue = SQS.create(concurrency=2, visibility_timeout=600)
        SQS.put(queue, *numbers(10))
        gate = threading.Event()
        probe.behave = lambda message: gate.wait(30)
        running = begin(queue, RunLimits(idle=1, linger=3))
        eventually(lambda: running.run.live() == live(in_flight=2, buffered=8), 30, "all are held")
        running.run.end(reason)
        eventually(lambda: SQS.depth_of(queue) == Depth(8, 2, 0), 30, "the unstarted ones are visible")
        assert running.thread.is_alive()
        gate.set()
        report = running.report()
        assert (report.reason, report.processed) == (reason, 2)
        assert report.empty_at is None
        assert SQS.depth_of(queue) == Depth(8, 0, 0)
        assert len(probe.started) == 2

    @pytest.mark.parametrize("reason", [EndReason.YIELDED, EndReason.RECYCLED])
    def test_a_run_that_yields_or_is_recycled_handles_what_it_holds(
        self, probe: Probe, begin: Begin, reason: EndReason
    ) -> None:
        queue = SQS.create(concurrency=2)
        SQS.put(queue, *numbers(10))
        gate = threading.Event()
        probe.behave = lambda message: gate.wait(30)
        running = begin(queue, RunLimits(idle=1, linger=3))
        eventually(lambda: running.run.live() == live(in_flight=2, buffered=8), 30, "all are held")
        SQS.put(queue, "later")
        running.run.end(reason)
        gate.set()
        report = running.report()
        assert report.reason is reason
        assert report.processed >= 10, "a request that was under way may have brought one more"
        assert report.processed + SQS.depth_of(queue).total == 11

    def test_a_run_that_yields_while_its_queue_is_empty_has_drained_it(
        self, begin: Begin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Else two empty queues that share a place would wake and yield to each other forever."""
        monkeypatch.setattr(SQS, "long", True)
        running = begin(SQS.create(), RunLimits(idle=1, linger=0))
        eventually(lambda: not running.run.holdings.buffer.quiet, 30, "it waits for messages")
        running.run.end(EndReason.YIELDED)
        report = running.report()
        assert report.reason is EndReason.DRAINED
        assert report.empty_at is not None

    def test_a_run_that_yields_gives_back_what_takes_too_long(
        self, probe: Probe, begin: Begin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("jobs.consumer.holdings.YIELD_SECONDS", 0.1)
        queue = SQS.create(concurrency=2, visibility_timeout=600)
        SQS.put(queue, *numbers(10))
        gate = threading.Event()
        probe.behave = lambda message: gate.wait(30)
        running = begin(queue, RunLimits(idle=1, linger=3))
        eventually(lambda: running.run.live() == live(in_flight=2, buffered=8), 30, "all are held")
        running.run.end(EndReason.YIELDED)
        eventually(lambda: SQS.depth_of(queue) == Depth(8, 2, 0), 30, "the unstarted ones are visible")
        gate.set()
        assert running.report().processed == 2

    def test_the_first_reason_stands(self, probe: Probe, begin: Begin) -> None:
        running = begin(SQS.create(), RunLimits(idle=1, linger=0))
        running.run.end(EndReason.PAUSED)
        running.run.end(EndReason.SHUTDOWN)
        assert running.report().reason is EndReason.PAUSED

    def test_it_may_be_ended_before_it_began(self, probe: Probe) -> None:
        queue = SQS.create()
        SQS.put(queue, *numbers(3))
        run = Run(SQS, QueueSettings.of(queue), RunLimits(idle=1, linger=0))
        run.end(EndReason.SHUTDOWN)
        report = run.execute()
        assert report.reason is EndReason.SHUTDOWN
        assert report.processed + SQS.depth_of(queue).visible == 3

    def test_what_the_receiver_has_in_its_hands_when_the_run_ends_is_given_back(
        self, probe: Probe, begin: Begin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The receiver has looked whether it should stop just before it was told to."""
        queue = SQS.create(visibility_timeout=600)
        SQS.put(queue, *numbers(3))
        accept = Holdings.accept

        def late(holdings: Holdings, messages: list[Held]) -> None:
            holdings.ending.ask(EndReason.SHUTDOWN)
            accept(holdings, messages)

        monkeypatch.setattr(Holdings, "accept", late)
        report = begin(queue).report(15)
        assert (report.reason, report.processed) == (EndReason.SHUTDOWN, 0)
        assert SQS.depth_of(queue) == Depth(3, 0, 0)
        assert probe.started == []

    @pytest.mark.parametrize("reason", [EndReason.SHUTDOWN, EndReason.PAUSED, EndReason.YIELDED, EndReason.RECYCLED])
    def test_what_its_last_request_brings_is_handled_if_it_has_no_further_receive(
        self, probe: Probe, begin: Begin, reason: EndReason, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Given back, it would be in the dead-letter queue without having been handled."""
        monkeypatch.setattr(SQS, "long", True)
        queue = SQS.create(max_receive_count=1, visibility_timeout=600)
        running = begin(queue, RunLimits(idle=3, linger=0))
        eventually(lambda: not running.run.holdings.buffer.quiet, 30, "it waits for messages")
        running.run.end(reason)
        SQS.put(queue, *numbers(3))
        report = running.report(20)
        assert (report.reason, report.processed) == (reason, 3)
        assert SQS.depth_of(queue) == Depth(0, 0, 0)

    def test_a_buffered_message_without_a_further_receive_is_handled(self, probe: Probe, begin: Begin) -> None:
        queue = SQS.create(concurrency=1, visibility_timeout=600)
        SQS.put(queue, *numbers(3))
        gate = threading.Event()
        probe.behave = lambda message: gate.wait(30)
        running = begin(queue, RunLimits(idle=1, linger=0))
        eventually(lambda: running.run.live() == live(in_flight=1, buffered=2), 30, "all are held")
        running.run.apply(replace(QueueSettings.of(queue), max_receive_count=1))
        running.run.end(EndReason.PAUSED)
        gate.set()
        assert running.report().processed == 3

    def test_the_last_receives_are_given_back_after_the_grace(self, probe: Probe, begin: Begin) -> None:
        queue = SQS.create(concurrency=1, visibility_timeout=600)
        SQS.put(queue, *numbers(2))
        gate = threading.Event()
        probe.behave = lambda message: gate.wait(30)
        running = begin(queue, RunLimits(idle=1, linger=0, grace=0.1))
        eventually(lambda: running.run.live() == live(in_flight=1, buffered=1), 30, "both are held")
        running.run.apply(replace(QueueSettings.of(queue), max_receive_count=1))
        running.run.end(EndReason.SHUTDOWN)
        eventually(lambda: SQS.depth_of(queue) == Depth(1, 1, 0), 30, "the one that was not begun is visible")
        gate.set()
        assert running.report().processed == 1


def live(*, processed: int = 0, failed: int = 0, in_flight: int = 0, buffered: int = 0) -> dict[str, int]:
    none = {"timedOut": 0, "retried": 0}
    return {"processed": processed, "failed": failed, **none, "inFlight": in_flight, "buffered": buffered}


class TestVisibility:
    def test_a_buffered_message_that_somebody_else_has_by_now_is_not_handled(self, probe: Probe, begin: Begin) -> None:
        queue = SQS.create(concurrency=1, visibility_timeout=2)
        SQS.put(queue, "first", "second")
        gate = threading.Event()
        probe.behave = lambda message: gate.wait(30)
        running = begin(queue, RunLimits(idle=1, linger=0))
        eventually(lambda: running.run.live() == live(in_flight=1, buffered=1), 30, "both are held")
        (waiting,) = running.run.holdings.buffer.waiting
        SQS.delete(queue.queue_url, [waiting.message.receipt_handle])
        eventually(lambda: waiting.lost, 30, "its loss was noticed")
        gate.set()
        report = running.report()
        assert len(probe.started) == 1
        assert report.processed == 1

    def test_on_a_fifo_queue_those_after_it_wait_until_it_has_been_handled(self, probe: Probe, begin: Begin) -> None:
        queue = SQS.create("orders.fifo", visibility_timeout=2, max_receive_count=100)
        SQS.put(queue, "a0", "a1", "a2", group="a")
        gate = threading.Event()
        probe.behave = lambda message: gate.wait(30) if message.body == "a0" else None
        running = begin(queue, PATIENT)
        eventually(lambda: running.run.live() == live(in_flight=1, buffered=2), 30, "all are held")
        (lost, _) = running.run.holdings.buffer.waiting
        SQS.delete(queue.queue_url, [lost.message.receipt_handle])
        eventually(lambda: running.run.live() == live(in_flight=1, buffered=0), 30, "the one after it was given back")
        gate.set()
        running.report()
        # Here nobody else had the lost one, so that the last one came back to us.
        assert [(message.body, message.receive_count) for message in probe.ended] == [("a0", 1), ("a2", 2)]


class TestSettings:
    def test_another_handler_and_other_options_hold_from_the_next_message(self, probe: Probe, begin: Begin) -> None:
        queue = SQS.create(concurrency=1, max_receive_count=1)  # so that nothing is received before its turn
        gate = threading.Semaphore(0)
        probe.behave = lambda message: gate.acquire(timeout=60)
        SQS.put(queue, "a")
        running = begin(queue, LASTING)
        eventually(lambda: probe.running == 1, 30, "the first is being handled")
        running.run.apply(replace(running.settings, handler="async-probe", handler_options={"number": 2}))

        async def nothing(message: Message) -> None:
            pass

        probe.behave_async = nothing
        SQS.put(queue, "b")
        gate.release()
        eventually(lambda: len(probe.ended) == 2, 30, "the second was handled")
        running.end()
        options = {message.body: message.options for message in probe.ended}
        assert options == {"a": probes.ProbeOptions(number=0), "b": probes.ProbeOptions(number=2)}

    @pytest.mark.parametrize(
        ("changes", "named"),
        [({"handler": "nothing"}, "no handler 'nothing'"), ({"handler_options": {"speed": 3}}, "speed")],
    )
    def test_settings_that_cannot_work_end_the_run_and_say_why(
        self, probe: Probe, begin: Begin, changes: dict[str, Any], named: str
    ) -> None:
        queue = SQS.create()
        running = begin(queue, RunLimits(idle=1, linger=0))
        running.run.apply(replace(running.settings, **changes))
        report = running.report()
        assert report.reason is EndReason.ERROR
        assert named in (report.last_error or "")
        with pytest.raises(InvalidInput, match=named):
            Run(SQS, replace(running.settings, **changes), QUICK)

    def test_a_moved_queue_is_finished_where_it_was_begun(self, probe: Probe, begin: Begin) -> None:
        queue = SQS.create()
        running = begin(queue, LASTING)
        running.run.apply(replace(running.settings, queue_url="http://127.0.0.1:1/elsewhere"))
        SQS.put(queue, "m")
        eventually(lambda: probe.bodies == {"m": 1}, 30, "it goes on")
        assert running.end().processed == 1
