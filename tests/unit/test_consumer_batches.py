"""Handlers of batches: how batches are gathered, and what becomes of each message."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from jobs.consumer.gathering import GatheringBuffer
from jobs.consumer.report import RunReport
from jobs.consumer.settings import RunLimits
from jobs.models import EndReason
from queues.handlers import Message, Reject, Retry, Unavailable
from queues.handlers.batching import Batch
from queues.models import Queue
from tests.support.memory_sqs import registered
from tests.support.messages import held
from tests.support.runs import LASTING, QUICK, MemoryQueues, Running, numbers
from tests.support.waiting import eventually

SQS = MemoryQueues()
Answer = Callable[[list[Message]], Any]


class Recorder:
    """A handler of batches, sync or async, that records them and answers by `answer`."""

    def __init__(self, answer: Answer = lambda messages: None) -> None:
        self.answer = answer
        self.batches: list[list[str]] = []
        self._lock = threading.Lock()

    def handle(self, messages: list[Message]) -> Any:
        with self._lock:
            self.batches.append([message.body for message in messages])
        return self.answer(messages)

    async def handle_async(self, messages: list[Message]) -> Any:
        return self.handle(messages)

    @property
    def bodies(self) -> list[str]:
        return [body for batch in self.batches for body in batch]

    def as_handler(self, mode: str, **traits: Any) -> AbstractContextManager[None]:
        wrapper = {"sync": self.handle, "async": self.handle_async, "wrapped": lambda found: self.handle_async(found)}
        return registered(wrapper[mode], **traits)


MODES = pytest.mark.parametrize("mode", ["sync", "async", "wrapped"])


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures come back at once."""
    monkeypatch.setattr("jobs.consumer.outcome.retry_delay", lambda receive_count: 0)


def create(**settings: Any) -> Queue:
    return SQS.create(handler="under-test", **{"concurrency": 1, **settings})


def run(queue: Queue, limits: RunLimits = QUICK) -> RunReport:
    return Running(SQS, queue, limits).report()


@MODES
def test_messages_come_in_batches_up_to_the_size_and_count_one_by_one(mode: str) -> None:
    queue = create()
    SQS.put(queue, *numbers(95))
    recorder = Recorder()
    with recorder.as_handler(mode, batch=Batch(25, linger=5.0)):
        running = Running(SQS, queue, LASTING)
        eventually(lambda: len(recorder.bodies) >= 75, 20, "three batches are full")
        assert [len(batch) for batch in recorder.batches] == [25, 25, 25]
        eventually(lambda: running.run.live()["inFlight"] == 20, 20, "the last one grows")
        report = running.end()  # and it begins as it is
    assert sorted(recorder.bodies) == sorted(numbers(95))
    assert (report.processed, report.failed) == (95, 0)
    work = running.run.meter.total
    assert sum(work.durations) == 95
    assert SQS.depth_of(queue).total == 0


@MODES
def test_a_batch_begins_when_its_time_is_over(mode: str) -> None:
    queue = create()
    SQS.put(queue, *numbers(3))
    recorder = Recorder()
    with recorder.as_handler(mode, batch=Batch(100, linger=0.2)):
        report = run(queue, LASTING)
    assert report.reason is EndReason.DRAINED
    assert [sorted(batch) for batch in recorder.batches] == [numbers(3)]


def test_without_a_linger_it_takes_what_waits() -> None:
    queue = create(max_receive_count=100)
    recorder, go = Recorder(), threading.Event()
    recorder.answer = lambda messages: go.wait(60) and None
    SQS.put(queue, "first")
    with recorder.as_handler("sync", batch=Batch(50)):
        running = Running(SQS, queue, LASTING)
        eventually(lambda: recorder.batches == [["first"]], 30, "the first did not wait")
        SQS.put(queue, *numbers(8))
        eventually(lambda: running.run.live()["buffered"] == 8, 30, "the others wait")
        go.set()
        assert running.report().processed == 9
    assert [sorted(batch) for batch in recorder.batches] == [["first"], numbers(8)]


def test_a_batch_takes_one_slot_and_its_messages_are_in_flight() -> None:
    queue = create(concurrency=2)
    recorder, go = Recorder(), threading.Event()
    recorder.answer = lambda messages: go.wait(60) and None
    SQS.put(queue, *numbers(40))
    with recorder.as_handler("sync", batch=Batch(10, linger=5.0)):
        running = Running(SQS, queue, LASTING)
        eventually(lambda: running.run.live()["inFlight"] == 20, 30, "both slots have a batch")
        assert len(recorder.batches) == 2
        go.set()
        assert running.report().processed == 40


@MODES
@pytest.mark.parametrize("form", ["mapping", "lambda"])
def test_each_message_has_its_own_outcome(mode: str, form: str) -> None:
    queue = create()
    SQS.put(queue, *numbers(10))

    def answer(messages: list[Message]) -> Any:
        failed = [message for message in messages if message.body in ("m3", "m7") and message.receive_count == 1]
        if form == "lambda":
            return {"batchItemFailures": [{"itemIdentifier": message.id} for message in failed]}
        return {message.id: RuntimeError("no") for message in failed}

    recorder = Recorder(answer)
    with recorder.as_handler(mode, batch=Batch(10, linger=1.0)):
        running = Running(SQS, queue, LASTING)
        eventually(lambda: running.run.meter.total.processed == 10, 20, "all are handled, two the second time")
        report = running.end()
    assert (report.processed, report.failed) == (10, 2)
    assert sorted(recorder.bodies) == sorted([*numbers(10), "m3", "m7"])


def test_outcomes_of_single_messages() -> None:
    queue = create()
    SQS.put(queue, "done", "reject", "retry", "class", "text", "none")

    def answer(messages: list[Message]) -> Any:
        failed: dict[str, Any] = {
            "reject": Reject("no order"), "retry": Retry(delay=500), "class": KeyError, "text": "odd", "none": None,
        }  # fmt: skip
        return {message.id: failed[message.body] for message in messages if message.body in failed}

    with Recorder(answer).as_handler("sync", batch=Batch(6, linger=5.0), retry=None):
        running = Running(SQS, queue, RunLimits(idle=0, linger=0.05))
        work = eventually(
            lambda: one if (one := running.run.meter.total).failed + one.retried >= 4 else None, 30, "all are handled"
        )
        running.end()
    assert work is not None
    assert work.retried == 1
    assert [letter.body for letter in SQS.dead_letters(queue)] == ["reject"]
    depth = SQS.depth_of(queue)
    assert depth.total == 3
    assert depth.in_flight >= 1  # the one that waits for its delay


@pytest.mark.parametrize(
    ("mode", "what", "words"),
    [
        ("async", ValueError("all"), "ValueError: all"),
        ("wrapped", ValueError("all"), "ValueError: all"),
        ("sync", ValueError("all"), "ValueError: all"),
        ("sync", ["m1"], "WrongAnswer: the handler returned 'list' for a batch"),
        ("sync", True, "WrongAnswer: the handler returned 'bool' for a batch"),
        (
            "sync",
            {"unknown": "x"},
            "WrongAnswer: the handler reported 'unknown' as failed, which is not a message of its batch",
        ),
        ("sync", {"batchItemFailures": [{"itemIdentifier": ""}]}, "WrongAnswer: the handler reported '' as failed"),
        ("sync", {"batchItemFailures": [{}]}, "WrongAnswer: batchItemFailures has {}"),
        ("sync", {"batchItemFailures": 3}, "WrongAnswer: batchItemFailures is 3"),
        ("sync", map(str, [1]), "Unfinished: the handler returned 'map'"),
    ],
)
def test_what_raises_or_answers_oddly_fails_all(mode: str, what: Any, words: str) -> None:
    queue = create()
    SQS.put(queue, *numbers(4))

    def answer(messages: list[Message]) -> Any:
        if messages[0].receive_count > 1:
            return None
        if isinstance(what, Exception):
            raise what
        return what

    with Recorder(answer).as_handler(mode, batch=Batch(4, linger=5.0)):
        running = Running(SQS, queue, LASTING)
        eventually(lambda: running.run.meter.total.processed == 4, 20, "all are handled the second time")
        report = running.end()
    assert report.failed == 4
    assert (report.last_error or "").startswith(words)


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_time_limit_is_for_the_whole_batch(mode: str) -> None:
    queue = create(timeout=1)
    SQS.put(queue, *numbers(3))
    first = threading.Event()

    def stay(messages: list[Message]) -> None:
        if not first.is_set():
            first.set()
            time.sleep(30)

    async def stay_async(messages: list[Message]) -> None:
        if not first.is_set():
            first.set()
            await asyncio.sleep(30)

    handler = {"sync": stay, "async": stay_async}[mode]
    with registered(handler, batch=Batch(3, linger=5.0)):
        running = Running(SQS, queue, RunLimits(idle=0, linger=0.05, grace=0.1))
        report = running.report()
    assert report.timed_out == 3
    assert report.failed == 3
    assert (report.reason is EndReason.TIMED_OUT) == (mode == "sync")


@MODES
def test_a_dependency_that_is_down_trips_and_probes_are_single_messages(mode: str) -> None:
    queue = create(max_receive_count=2)
    SQS.put(queue, *numbers(22))

    def answer(messages: list[Message]) -> Any:
        raise Unavailable("stripe")

    recorder = Recorder(answer)
    with recorder.as_handler(mode, batch=Batch(10, linger=5.0)):
        assert run(queue).reason is EndReason.TRIPPED
        queue.trip_count = 1
        assert run(queue).reason is EndReason.TRIPPED
        assert [len(batch) for batch in recorder.batches] == [10, 1]
        recorder.answer = lambda messages: None
        assert run(queue).processed == 11
    assert [len(batch) for batch in recorder.batches[2:]] == [1, 10]


class TestFifo:
    @MODES
    def test_a_group_keeps_its_order_within_batches_and_across_them(self, mode: str) -> None:
        queue = create(name="orders.fifo", concurrency=3)
        for number in range(30):
            for group in "ab":
                SQS.put(queue, f"{group}{number:02}", group=group)
        failed: set[str] = set()

        def answer(messages: list[Message]) -> Any:
            # As AWS tells handlers of FIFO queues: the first failure, and all of its group behind it.
            wrong: dict[str, str] = {}
            stopped: set[str | None] = set()
            for message in messages:
                if message.body in ("a07", "b11") and message.body not in failed:
                    failed.add(message.body)
                    stopped.add(message.group)
                if message.group in stopped:
                    wrong[message.id] = "stopped"
                else:
                    done.append(message.body)
            return wrong

        done: list[str] = []
        with Recorder(answer).as_handler(mode, batch=Batch(8, linger=0.02)):
            running = Running(SQS, queue, LASTING)
            eventually(lambda: SQS.depth_of(queue).total == 0, 30, "all are handled")
            running.end()
        for group in "ab":
            assert [body for body in done if body.startswith(group)] == [f"{group}{number:02}" for number in range(30)]

    def test_messages_of_one_group_share_a_batch(self) -> None:
        queue = create(name="orders.fifo", concurrency=3)
        SQS.put(queue, *numbers(9), group="a")
        recorder = Recorder()
        with recorder.as_handler("sync", batch=Batch(9, linger=5.0)):
            running = Running(SQS, queue, LASTING)
            eventually(lambda: recorder.batches, 30, "it begins")
            running.end()
        assert recorder.batches == [numbers(9)]


class TestGathering:
    """The buffer's own part, without a run."""

    def test_a_slot_that_gathers_has_the_first_claim(self) -> None:
        buffer = GatheringBuffer(fifo=False)
        buffer.serve(2)
        buffer.put([held()])
        first = buffer.take_at_once()
        assert first is not None
        buffer.expect(3)
        buffer.put([held(), held(), held()])
        assert buffer.take_at_once() is None
        buffer.put([held()])
        assert buffer.take_at_once() is not None
        buffer.expect(-3)
        assert buffer.take_at_once() is None  # there are two slots

    def test_what_is_missing_is_asked_for_as_for_idle_slots(self) -> None:
        buffer = GatheringBuffer(fifo=False)
        buffer.serve(1)
        buffer.put([held()])
        assert buffer.take_at_once() is not None
        assert buffer.reserve(0, 0) == 0
        buffer.expect(25)
        assert buffer.reserve(0, 0) == 10

    def test_a_message_that_is_lost_joins_no_batch(self) -> None:
        dropped: list[Any] = []
        buffer = GatheringBuffer(fifo=False, let_go=lambda lost, behind: dropped.extend(lost))
        lost, good = held(), held()
        buffer.put([held(), lost, good])
        first = buffer.take_at_once()
        assert first is not None
        lost.lost = True
        batch = [first]
        assert buffer.complete(batch, 5) == 3
        assert batch == [first, good]
        assert dropped == [lost]

    def test_counts_are_of_messages_and_a_slot_is_free_when_its_first_is_finished(self) -> None:
        buffer = GatheringBuffer(fifo=False)
        buffer.serve(1)
        buffer.put([held(), held(), held()])
        first = buffer.take_at_once()
        assert first is not None
        batch = [first]
        buffer.complete(batch, 5)
        assert buffer.counts[:2] == (0, 3)
        for one in reversed(batch):
            buffer.finished(one)
        assert buffer.counts[:2] == (0, 0)
        assert buffer.quiet

    def test_it_rests_only_when_all_of_a_batch_have_been_given_up(self) -> None:
        buffer = GatheringBuffer(fifo=False)
        buffer.put([held(), held()])
        first = buffer.take_at_once()
        assert first is not None
        batch = [first]
        buffer.complete(batch, 2)
        buffer.given_up(first)
        assert not buffer.wait_idle(0)
        buffer.given_up(batch[1])
        assert buffer.wait_idle(0)

    def test_no_batch_is_gathered_while_the_queue_is_handled_with_caution_or_has_tripped(self) -> None:
        buffer = GatheringBuffer(fifo=False)
        buffer.put([held(), held()])
        first = buffer.take_at_once()
        assert first is not None
        buffer.be_cautious(time.monotonic() + 60)
        assert buffer.complete([first], 5) == 0
        assert len(buffer.empty_out()) == 1
