"""A run on a real SQS, from the first receive to its report, with handlers of the test's choice."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from jobs.consumer import settler
from jobs.consumer.dead_letters import send_to_dead_letters
from jobs.consumer.held import Held
from jobs.consumer.holdings import Holdings
from jobs.consumer.report import RunReport
from jobs.consumer.run import Run
from jobs.consumer.settings import QueueSettings, RunLimits
from jobs.models import EndReason
from queues import services
from queues.handlers import Message, Reject, Retry
from queues.models import Queue
from queues.sqs import MAX_MESSAGE_BYTES, Depth, OutgoingMessage, ReceivedMessage, get_gateway
from queuesite.errors import InvalidInput
from tests.support import probe as probes
from tests.support.faults import Forward, Refused, SqsProxy
from tests.support.probe import Probe
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient

pytestmark = pytest.mark.usefixtures("queues")

Parameters = dict[str, Any]

#: Ends as soon as SQS has no message to give and none is being handled.
QUICK = RunLimits(idle=0, linger=0.05)
#: Goes on while messages come back at once. Its end takes as long as the last request waits for messages.
LASTING = RunLimits(idle=1, linger=0.05)
#: Goes on while messages come back after a second or two.
PATIENT = RunLimits(idle=3, linger=0.05)


@pytest.fixture
def probe() -> Probe:
    return probes.fresh()


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures come back at once; how long they really wait is `test_consumer_outcome`'s concern."""
    monkeypatch.setattr("jobs.consumer.outcome.retry_delay", lambda receive_count: 0)
    monkeypatch.setattr("jobs.consumer.settler.retry_delay", lambda receive_count: 0)
    monkeypatch.setattr("queuesite.outage.FIRST_PAUSE", 0.02)
    monkeypatch.setattr("queuesite.outage.LONGEST_PAUSE", 0.1)


class Running:
    """A run in a thread of its own."""

    def __init__(self, queue: Queue, limits: RunLimits = QUICK, **changes: Any) -> None:
        self.settings = replace(QueueSettings.of(queue), **changes)
        self.run = Run(get_gateway(), self.settings, limits)
        self.reports: list[RunReport] = []
        self.thread = threading.Thread(target=lambda: self.reports.append(self.run.execute()), daemon=True)
        self.thread.start()

    def report(self, seconds: float = 30.0) -> RunReport:
        """Wait for the end."""
        self.thread.join(seconds)
        assert not self.thread.is_alive(), "the run did not end"
        return self.reports[0]

    def end(self, reason: EndReason = EndReason.SHUTDOWN) -> RunReport:
        """Have it end, and wait for that."""
        self.run.end(reason)
        return self.report()


@pytest.fixture
def ended() -> Iterator[list[Running]]:
    """Runs that a test leaves behind where it fails."""
    runs: list[Running] = []
    yield runs
    for running in runs:
        running.run.end(EndReason.SHUTDOWN)


@pytest.fixture
def begin(ended: list[Running], probe: Probe) -> Callable[..., Running]:
    def begin(queue: Queue, limits: RunLimits = QUICK, **changes: Any) -> Running:
        ended.append(Running(queue, limits, **changes))
        return ended[-1]

    return begin


Begin = Callable[..., Running]


def create(name: str = "orders", *, with_dlq: bool = True, **settings: Any) -> Queue:
    return services.create(name, with_dlq=with_dlq, settings={"handler": "probe", **settings})


def send(queue: Queue, bodies: Sequence[str], group: str | None = None) -> None:
    for first in range(0, len(bodies), 10):
        result = get_gateway().send(
            queue.queue_url,
            [
                OutgoingMessage(body, group=group, deduplication_id=f"{group}-{random.random()}" if group else None)
                for body in bodies[first : first + 10]
            ],
        )
        assert not result.failures


def depth(queue: Queue) -> Depth:
    return get_gateway().depth(queue.queue_url)


def dead_letters(queue: Queue, count: int = 1) -> list[ReceivedMessage]:
    """What came to the dead-letter queue."""
    assert queue.dlq_url is not None
    url = queue.dlq_url
    found: list[ReceivedMessage] = []

    def came() -> bool:
        found.extend(get_gateway().receive(url, limit=10, wait=0))
        return len(found) >= count

    eventually(came, 10, f"{count} dead letters came")
    return found


def numbers(count: int) -> list[str]:
    return [f"m{number}" for number in range(count)]


class TestDone:
    def test_every_message_is_handled_once_and_deleted(self, probe: Probe, begin: Begin) -> None:
        queue = create()
        send(queue, numbers(25))
        before = time.monotonic()
        report = begin(queue).report()
        assert probe.bodies == Counter(numbers(25))
        assert (report.reason, report.processed, report.failed) == (EndReason.DRAINED, 25, 0)
        assert report.last_error is None
        assert report.empty_at is not None
        assert before < report.empty_at < time.monotonic()
        assert depth(queue) == Depth(0, 0, 0)

    def test_the_handler_sees_the_message_as_it_was_sent(self, probe: Probe, begin: Begin, sqs: SQSClient) -> None:
        queue = create()
        sent = sqs.send_message(
            QueueUrl=queue.queue_url,
            MessageBody=' {"name": "Zoë 🚚"}\n',
            MessageAttributes={
                "text": {"DataType": "String", "StringValue": "ä"},
                "number": {"DataType": "Number.int", "StringValue": "7"},
                "bytes": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
            },
        )
        begin(queue, handler_options={"number": 7}).report()
        (message,) = probe.ended
        assert message.id == sent["MessageId"]
        assert message.body == ' {"name": "Zoë 🚚"}\n'
        assert message.json() == {"name": "Zoë 🚚"}
        assert message.attributes == {"text": "ä", "number": "7", "bytes": b"\x00\xff"}
        assert (message.queue, message.receive_count, message.group) == ("orders", 1, None)
        assert message.receipt_handle
        assert message.options == probes.ProbeOptions(number=7)

    def test_the_largest_message_that_sqs_takes(self, probe: Probe, begin: Begin) -> None:
        queue = create()
        body = "é" * (MAX_MESSAGE_BYTES // 2)
        send(queue, [body])
        assert begin(queue).report().processed == 1
        assert probe.bodies == {body: 1}

    def test_coroutines_are_awaited_and_run_at_the_same_time(self, probe: Probe, begin: Begin) -> None:
        queue = create(handler="async-probe", concurrency=4)
        together = asyncio.Barrier(4)

        async def meet(message: Message) -> None:
            await asyncio.wait_for(together.wait(), 20)

        probe.behave_async = meet
        send(queue, numbers(8))
        report = begin(queue).report()
        assert (report.processed, report.failed) == (8, 0)
        assert probe.most == 4

    @pytest.mark.parametrize("handler", ["probe", "async-probe"])
    def test_answers_other_than_success(self, probe: Probe, begin: Begin, handler: str) -> None:
        queue = create(handler=handler)
        send(queue, ["retry", "reject", "fail", "done"])

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
        eventually(lambda: depth(queue) == Depth(0, 0, 0), 20, "all were settled")
        report = running.end()
        assert probe.bodies == {"retry": 2, "reject": 1, "fail": 2, "done": 1}
        assert (report.processed, report.failed) == (3, 3)
        assert [letter.body for letter in dead_letters(queue)] == ["reject"]

    def test_live_counts(self, probe: Probe, begin: Begin) -> None:
        queue = create(concurrency=1)
        send(queue, numbers(4))
        gate = threading.Semaphore(0)
        probe.behave = lambda message: gate.acquire(timeout=20)
        running = begin(queue)
        eventually(lambda: running.run.live() == live(in_flight=1, buffered=3), 10, "all are held")
        gate.release()
        eventually(lambda: running.run.live() == live(processed=1, in_flight=1, buffered=2), 10, "one is done")
        gate.release(3)
        assert running.report().processed == 4


class TestFailure:
    def test_a_failed_message_comes_back_and_counts_its_receives(self, probe: Probe, begin: Begin) -> None:
        queue = create()
        send(queue, ["m"])

        def behave(message: Message) -> None:
            if message.receive_count < 3:
                raise ValueError(f"attempt {message.receive_count}")

        probe.behave = behave
        running = begin(queue, LASTING)
        eventually(lambda: depth(queue) == Depth(0, 0, 0), 20, "it was settled")
        report = running.end()
        assert [message.receive_count for message in probe.ended] == [1, 2, 3]
        assert (report.processed, report.failed) == (1, 2)
        assert report.last_error == "ValueError: attempt 2"

    @pytest.mark.parametrize(("delay", "seconds"), [(0, 0), (7, 7), (1.2, 2), (36_000, 36_000)])
    def test_a_retry_is_hidden_for_its_delay(
        self, faulty: SqsProxy, probe: Probe, begin: Begin, delay: float, seconds: int
    ) -> None:
        queue = create()
        send(queue, ["m"])

        def behave(message: Message) -> None:
            if message.receive_count == 1:
                raise Retry("later", delay=delay)

        probe.behave = behave
        report = begin(queue).report()
        changes = [p["Entries"] for action, p in faulty.requests if action == "ChangeMessageVisibilityBatch"]
        assert [entry["VisibilityTimeout"] for entries in changes for entry in entries] == [seconds]
        assert report.last_error == "later"

    def test_after_its_last_receive_sqs_moves_it_to_the_dead_letter_queue(self, probe: Probe, begin: Begin) -> None:
        queue = create(max_receive_count=2)
        send(queue, ["poison", "good"])

        def behave(message: Message) -> None:
            if message.body == "poison":
                raise ValueError("always")

        probe.behave = behave
        running = begin(queue, LASTING)
        (letter,) = dead_letters(queue)
        report = running.end()
        assert letter.body == "poison"
        assert probe.bodies == {"poison": 2, "good": 1}
        assert (report.processed, report.failed) == (1, 2)

    @pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError(), GeneratorExit()])
    @pytest.mark.parametrize("handler", ["probe", "async-probe"])
    def test_what_would_end_a_program_fails_its_message_alone(
        self, probe: Probe, begin: Begin, handler: str, error: BaseException
    ) -> None:
        queue = create(handler=handler, concurrency=2)
        send(queue, ["fatal", *numbers(5)])

        def behave(message: Message) -> None:
            if message.body == "fatal" and message.receive_count == 1:
                raise error

        probe.behave = behave
        running = begin(queue, LASTING)
        eventually(lambda: depth(queue) == Depth(0, 0, 0), 20, "all were settled")
        report = running.end()
        assert (report.processed, report.failed) == (6, 1)
        assert probe.bodies == {"fatal": 2, **dict.fromkeys(numbers(5), 1)}

    def test_an_error_that_cannot_be_encoded_does_no_harm(self, probe: Probe, begin: Begin) -> None:
        queue = create()
        send(queue, ["raise", "retry", "reject"])

        def behave(message: Message) -> None:
            if message.receive_count == 1:
                error = {"raise": ValueError, "retry": Retry, "reject": Reject}[message.body]
                raise error("lone \ud800 surrogate and \0")

        probe.behave = behave
        running = begin(queue, LASTING)
        eventually(lambda: depth(queue) == Depth(0, 0, 0), 20, "all were settled")
        report = running.end()
        assert (report.processed, report.failed) == (2, 3)
        assert report.last_error is not None
        report.last_error.encode()

    def test_an_error_while_settling_costs_nothing_but_the_wait(
        self, probe: Probe, begin: Begin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        queue = create(visibility_timeout=1, concurrency=1)
        send(queue, ["m"])
        answers: list[Exception | None] = [RuntimeError("a bug"), None]

        def send_late(*args: Any) -> None:
            if (answer := answers.pop(0)) is not None:
                raise answer
            send_to_dead_letters(*args)

        monkeypatch.setattr(settler, "send_to_dead_letters", send_late)
        probe.behave = lambda message: Reject("no")
        running = begin(queue, LASTING)
        assert len(dead_letters(queue)) == 1
        assert running.end().failed == 2
        assert [message.receive_count for message in probe.ended] == [1, 2]


class TestReject:
    def test_the_message_goes_to_the_dead_letter_queue_as_it_was_with_the_reason(
        self, probe: Probe, begin: Begin, sqs: SQSClient
    ) -> None:
        queue = create()
        attributes: Any = {
            "text": {"DataType": "String.custom", "StringValue": "ä"},
            "number": {"DataType": "Number", "StringValue": "7.5"},
            "bytes": {"DataType": "Binary", "BinaryValue": bytes(range(256))},
        }
        body = '  {"not": "json"\r\n 🚚 '
        sqs.send_message(QueueUrl=queue.queue_url, MessageBody=body, MessageAttributes=attributes)
        probe.behave = lambda message: Reject("no such order")
        report = begin(queue).report()
        (letter,) = dead_letters(queue)
        assert letter.body == body
        assert letter.attributes.pop("QueuesiteRejectReason")["StringValue"] == "no such order"
        assert letter.attributes == attributes
        assert (report.processed, report.failed) == (0, 1)
        assert report.last_error == "rejected: no such order"
        assert depth(queue) == Depth(0, 0, 0)

    def test_it_is_deleted_only_after_the_dead_letter_queue_has_it(
        self, faulty: SqsProxy, probe: Probe, begin: Begin
    ) -> None:
        queue = create()
        send(queue, ["m"])
        probe.behave = lambda message: Reject("no")
        before = len(faulty.requests)
        begin(queue).report()
        actions = [a for a, _ in faulty.requests[before:] if a in {"SendMessageBatch", "DeleteMessageBatch"}]
        assert actions == ["SendMessageBatch", "DeleteMessageBatch"]

    def test_without_a_dead_letter_queue_it_is_kept(self, probe: Probe, begin: Begin) -> None:
        queue = create(with_dlq=False)
        send(queue, ["m"])
        probe.behave = lambda message: Reject("no") if message.receive_count == 1 else None
        running = begin(queue, LASTING)
        eventually(lambda: depth(queue) == Depth(0, 0, 0), 20, "it was settled")
        report = running.end()
        assert probe.bodies == {"m": 2}
        assert (report.processed, report.failed) == (1, 1)
        assert "no dead-letter queue" in (report.last_error or "")

    @pytest.mark.parametrize("fault", ["refused", "missing", "entry", "cut"])
    def test_where_the_dead_letter_queue_does_not_take_it_it_is_kept_until_it_does(
        self, faulty: SqsProxy, probe: Probe, begin: Begin, fault: str
    ) -> None:
        queue = create()
        send(queue, ["m"])

        def refuse_entry(parameters: Parameters, forward: Forward) -> Parameters:
            failed = [{"Id": e["Id"], "Code": "InternalError", "SenderFault": False} for e in parameters["Entries"]]
            return {"Successful": [], "Failed": failed}

        if fault == "refused":
            faulty.refuse("SendMessageBatch", "InvalidMessageContents", times=1)
        elif fault == "missing":
            faulty.refuse("SendMessageBatch", "AWS.SimpleQueueService.NonExistentQueue", times=1)
        elif fault == "entry":
            faulty.answer("SendMessageBatch", refuse_entry, times=1)
        else:
            faulty.cut("SendMessageBatch", times=3)  # boto3 tries three times by itself
        probe.behave = lambda message: Reject("no")
        running = begin(queue, LASTING)
        (letter,) = dead_letters(queue)
        report = running.end()
        assert letter.body == "m"
        assert depth(queue) == Depth(0, 0, 0)
        assert (report.processed, report.failed) == (0, 2)
        assert probe.bodies == {"m": 2}

    def test_on_a_fifo_queue_the_next_of_the_group_follows(self, probe: Probe, begin: Begin) -> None:
        queue = create("orders.fifo")
        send(queue, ["a1", "a2"], "a")
        probe.behave = lambda message: Reject("no") if message.body == "a1" else None
        running = begin(queue, LASTING)
        (letter,) = dead_letters(queue)
        eventually(lambda: depth(queue) == Depth(0, 0, 0), 20, "both were settled")
        running.end()
        assert (letter.body, letter.group) == ("a1", "a")
        assert [message.body for message in probe.ended] == ["a1", "a2"]


class TestConcurrency:
    @pytest.mark.parametrize("handler", ["probe", "async-probe"])
    @pytest.mark.parametrize("concurrency", [1, 3, 5])
    def test_it_is_reached_and_never_exceeded(self, probe: Probe, begin: Begin, concurrency: int, handler: str) -> None:
        queue = create(concurrency=concurrency, handler=handler)
        send(queue, numbers(4 * concurrency))

        def wait_for_the_others() -> bool:
            with probe.changed:
                first = len(probe.started) <= concurrency
                return not first or probe.changed.wait_for(lambda: probe.most >= concurrency, 20)

        async def meet(message: Message) -> None:
            assert await asyncio.to_thread(wait_for_the_others)

        def behave(message: Message) -> None:
            assert wait_for_the_others()

        probe.behave, probe.behave_async = behave, meet if handler == "async-probe" else None
        report = begin(queue).report()
        assert probe.most == concurrency
        assert (report.processed, report.failed) == (4 * concurrency, 0)

    def test_raised_while_it_runs(self, probe: Probe, begin: Begin) -> None:
        queue = create(concurrency=1)
        send(queue, numbers(10))
        gate = threading.Event()
        probe.behave = lambda message: gate.wait(20)
        running = begin(queue)
        eventually(lambda: probe.running == 1, 10, "one is being handled")
        running.run.apply(replace(running.settings, concurrency=4))
        eventually(lambda: probe.running == 4, 10, "four are being handled")
        gate.set()
        assert running.report().processed == 10
        assert probe.most == 4

    def test_lowered_while_it_runs(self, probe: Probe, begin: Begin) -> None:
        queue = create(concurrency=4)
        send(queue, numbers(20))
        first = threading.Event()
        gate = threading.Semaphore(0)

        def behave(message: Message) -> None:
            first.wait(20)
            gate.acquire(timeout=20)

        probe.behave = behave
        running = begin(queue)
        eventually(lambda: probe.running == 4, 10, "four are being handled")
        running.run.apply(replace(running.settings, concurrency=1))
        first.set()
        gate.release(4)  # those that were begun before
        eventually(lambda: len(probe.ended) == 4, 10, "they have ended")
        probe.most = 0
        gate.release(100)
        assert running.report().processed == 20
        assert probe.most == 1

    def test_lowered_and_raised_again_before_the_slots_were_free(self, probe: Probe, begin: Begin) -> None:
        queue = create(concurrency=4)
        send(queue, numbers(30))
        gate = threading.Event()
        probe.behave = lambda message: gate.wait(20)
        running = begin(queue)
        eventually(lambda: probe.running == 4, 10, "four are being handled")
        for concurrency in (1, 4, 2, 3, 4):
            running.run.apply(replace(running.settings, concurrency=concurrency))
        gate.set()
        assert running.report().processed == 30
        assert probe.most == 4

    def test_lowered_while_most_slots_are_idle(self, probe: Probe, begin: Begin) -> None:
        queue = create(concurrency=4)
        gate = threading.Semaphore(0)
        probe.behave = lambda message: gate.acquire(timeout=20)
        running = begin(queue, LASTING)
        send(queue, ["slow"])
        eventually(lambda: probe.running == 1, 10, "one is being handled")
        running.run.apply(replace(running.settings, concurrency=2))
        send(queue, numbers(10))
        eventually(lambda: probe.running == 2 and running.run.live()["buffered"], 10, "another one is")
        gate.release(100)
        eventually(lambda: len(probe.ended) == 11, 10, "all were handled")
        running.end()
        assert probe.most == 2

    def test_a_slow_message_does_not_hold_up_the_others(self, probe: Probe, begin: Begin) -> None:
        queue = create(concurrency=2)
        gate = threading.Event()
        probe.behave = lambda message: gate.wait(30) if message.body == "slow" else None
        send(queue, ["slow"])
        running = begin(queue)
        eventually(lambda: probe.running == 1, 10, "the slow one is being handled")
        send(queue, numbers(35))
        eventually(lambda: len(probe.ended) == 35, 20, "the others have been handled")
        assert "slow" not in probe.bodies
        gate.set()
        assert running.report().processed == 36

    def test_a_queue_with_few_receives_has_none_received_before_its_turn(self, probe: Probe, begin: Begin) -> None:
        queue = create(concurrency=2, max_receive_count=1)
        send(queue, numbers(8))
        gate = threading.Event()
        probe.behave = lambda message: gate.wait(20)
        running = begin(queue, LASTING)
        eventually(lambda: probe.running == 2, 10, "two are being handled")
        assert running.run.live()["buffered"] == 0
        report = None
        gate.set()
        eventually(lambda: len(probe.ended) == 8, 20, "all were handled")
        report = running.end()
        assert report.processed == 8
        assert {message.receive_count for message in probe.ended} == {1}


class TestFifo:
    def test_the_order_within_a_group_holds_across_failures(self, probe: Probe, begin: Begin) -> None:
        queue = create("orders.fifo", concurrency=4, max_receive_count=100)
        groups = ("a", "b", "c")
        for n in range(6):
            for group in groups:
                send(queue, [f"{group}{n}"], group)
        done: defaultdict[str, list[str]] = defaultdict(list)
        at_work: Counter[str] = Counter()
        overlaps: list[str] = []

        def behave(message: Message) -> None:
            group = message.group or ""
            at_work[group] += 1
            if at_work[group] > 1:
                overlaps.append(message.body)
            try:
                if message.body in {"a1", "a4", "b0", "c5"} and message.receive_count <= 2:
                    raise Retry("not yet", delay=random.choice([0, 1]))
                done[group].append(message.body)
            finally:
                at_work[group] -= 1

        probe.behave = behave
        running = begin(queue, PATIENT)
        eventually(lambda: sum(map(len, done.values())) >= 18, 40, "all were handled")
        eventually(lambda: depth(queue) == Depth(0, 0, 0), 20, "all were deleted")
        report = running.end()
        assert dict(done) == {group: [f"{group}{n}" for n in range(6)] for group in groups}
        assert overlaps == []
        assert report.processed == 18

    def test_groups_are_handled_side_by_side(self, probe: Probe, begin: Begin) -> None:
        queue = create("orders.fifo", concurrency=3)
        for group in ("a", "b", "c"):
            send(queue, [f"{group}0"], group)
        together = threading.Barrier(3)
        probe.behave = lambda message: together.wait(20)
        report = begin(queue, RunLimits(idle=1, linger=0)).report()
        assert (report.processed, report.failed) == (3, 0)

    def test_the_next_waits_until_its_predecessor_is_really_deleted(
        self, faulty: SqsProxy, probe: Probe, begin: Begin
    ) -> None:
        queue = create("orders.fifo", concurrency=2)
        send(queue, ["a0", "a1"], "a")
        faulty.refuse("DeleteMessageBatch", "InternalError", status=500, times=4)
        deletes_before_the_next: list[int] = []
        probe.behave = lambda message: deletes_before_the_next.append(faulty.count("DeleteMessageBatch"))
        report = begin(queue).report()
        assert report.processed == 2
        assert deletes_before_the_next[0] == 0
        assert deletes_before_the_next[1] == 5  # four that failed and the one that did not


class TestEnd:
    @pytest.mark.parametrize(
        "reason", [EndReason.SHUTDOWN, EndReason.PAUSED, EndReason.REVOKED, EndReason.QUEUE_MISSING]
    )
    def test_what_was_not_begun_is_visible_again_at_once_and_what_was_is_finished(
        self, probe: Probe, begin: Begin, reason: EndReason
    ) -> None:
        queue = create(concurrency=2, visibility_timeout=600)
        send(queue, numbers(10))
        gate = threading.Event()
        probe.behave = lambda message: gate.wait(30)
        running = begin(queue, RunLimits(idle=1, linger=3))
        eventually(lambda: running.run.live() == live(in_flight=2, buffered=8), 10, "all are held")
        running.run.end(reason)
        eventually(lambda: depth(queue) == Depth(8, 2, 0), 10, "the unstarted ones are visible")
        assert running.thread.is_alive()
        gate.set()
        report = running.report()
        assert (report.reason, report.processed) == (reason, 2)
        assert report.empty_at is None
        assert depth(queue) == Depth(8, 0, 0)
        assert len(probe.started) == 2

    @pytest.mark.parametrize("reason", [EndReason.YIELDED, EndReason.RECYCLED])
    def test_a_run_that_yields_or_is_recycled_handles_what_it_holds(
        self, probe: Probe, begin: Begin, reason: EndReason
    ) -> None:
        queue = create(concurrency=2)
        send(queue, numbers(10))
        gate = threading.Event()
        probe.behave = lambda message: gate.wait(30)
        running = begin(queue, RunLimits(idle=1, linger=3))
        eventually(lambda: running.run.live() == live(in_flight=2, buffered=8), 10, "all are held")
        send(queue, ["later"])
        running.run.end(reason)
        gate.set()
        report = running.report()
        assert report.reason is reason
        assert report.processed >= 10, "a request that was under way may have brought one more"
        assert report.processed + depth(queue).total == 11

    def test_a_run_that_yields_gives_back_what_takes_too_long(
        self, probe: Probe, begin: Begin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("jobs.consumer.holdings.YIELD_SECONDS", 0.1)
        queue = create(concurrency=2, visibility_timeout=600)
        send(queue, numbers(10))
        gate = threading.Event()
        probe.behave = lambda message: gate.wait(30)
        running = begin(queue, RunLimits(idle=1, linger=3))
        eventually(lambda: running.run.live() == live(in_flight=2, buffered=8), 10, "all are held")
        running.run.end(EndReason.YIELDED)
        eventually(lambda: depth(queue) == Depth(8, 2, 0), 10, "the unstarted ones are visible")
        gate.set()
        assert running.report().processed == 2

    def test_the_first_reason_stands(self, probe: Probe, begin: Begin) -> None:
        running = begin(create(), RunLimits(idle=1, linger=0))
        running.run.end(EndReason.PAUSED)
        running.run.end(EndReason.SHUTDOWN)
        assert running.report().reason is EndReason.PAUSED

    def test_it_may_be_ended_before_it_began(self, probe: Probe) -> None:
        queue = create()
        send(queue, numbers(3))
        run = Run(get_gateway(), QueueSettings.of(queue), RunLimits(idle=1, linger=0))
        run.end(EndReason.SHUTDOWN)
        report = run.execute()
        assert report.reason is EndReason.SHUTDOWN
        assert report.processed + depth(queue).visible == 3

    def test_a_queue_that_is_deleted_ends_it(self, probe: Probe, begin: Begin) -> None:
        queue = create()
        gate = threading.Event()
        probe.behave = lambda message: gate.wait(20)
        send(queue, ["m"])
        running = begin(queue, RunLimits(idle=1, linger=0))
        eventually(lambda: probe.running == 1, 10, "the message is being handled")
        get_gateway().delete_queue(queue.queue_url)
        eventually(lambda: running.run.ending.asked, 10, "the receiver has noticed")
        gate.set()
        report = running.report()
        assert (report.reason, report.processed) == (EndReason.QUEUE_MISSING, 1)

    def test_what_the_receiver_has_in_its_hands_when_the_run_ends_is_given_back(
        self, probe: Probe, begin: Begin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The receiver has looked whether it should stop just before it was told to."""
        queue = create(visibility_timeout=600)
        send(queue, numbers(3))
        accept = Holdings.accept

        def late(holdings: Holdings, messages: list[Held]) -> None:
            holdings.ending.ask(EndReason.SHUTDOWN)
            accept(holdings, messages)

        monkeypatch.setattr(Holdings, "accept", late)
        report = begin(queue).report(15)
        assert (report.reason, report.processed) == (EndReason.SHUTDOWN, 0)
        assert depth(queue) == Depth(3, 0, 0)
        assert probe.started == []

    @pytest.mark.parametrize("reason", [EndReason.SHUTDOWN, EndReason.PAUSED, EndReason.YIELDED, EndReason.RECYCLED])
    def test_what_its_last_request_brings_is_handled_if_it_has_no_further_receive(
        self, probe: Probe, begin: Begin, reason: EndReason
    ) -> None:
        """Given back, it would be in the dead-letter queue without having been handled."""
        queue = create(max_receive_count=1, visibility_timeout=600)
        running = begin(queue, RunLimits(idle=3, linger=0))
        eventually(lambda: not running.run.holdings.buffer.quiet, 10, "it waits for messages")
        running.run.end(reason)
        send(queue, numbers(3))
        report = running.report(20)
        assert (report.reason, report.processed) == (reason, 3)
        assert depth(queue) == Depth(0, 0, 0)

    def test_a_buffered_message_without_a_further_receive_is_handled(self, probe: Probe, begin: Begin) -> None:
        queue = create(concurrency=1, visibility_timeout=600)
        send(queue, numbers(3))
        gate = threading.Event()
        probe.behave = lambda message: gate.wait(30)
        running = begin(queue, RunLimits(idle=1, linger=0))
        eventually(lambda: running.run.live() == live(in_flight=1, buffered=2), 10, "all are held")
        running.run.apply(replace(QueueSettings.of(queue), max_receive_count=1))
        running.run.end(EndReason.PAUSED)
        gate.set()
        assert running.report().processed == 3

    def test_the_last_receives_are_given_back_after_the_grace(self, probe: Probe, begin: Begin) -> None:
        queue = create(concurrency=1, visibility_timeout=600)
        send(queue, numbers(2))
        gate = threading.Event()
        probe.behave = lambda message: gate.wait(30)
        running = begin(queue, RunLimits(idle=1, linger=0, grace=0.1))
        eventually(lambda: running.run.live() == live(in_flight=1, buffered=1), 10, "both are held")
        running.run.apply(replace(QueueSettings.of(queue), max_receive_count=1))
        running.run.end(EndReason.SHUTDOWN)
        eventually(lambda: depth(queue) == Depth(1, 1, 0), 10, "the one that was not begun is visible")
        gate.set()
        assert running.report().processed == 1


def live(*, processed: int = 0, failed: int = 0, in_flight: int = 0, buffered: int = 0) -> dict[str, int]:
    return {"processed": processed, "failed": failed, "timedOut": 0, "inFlight": in_flight, "buffered": buffered}


class TestVisibility:
    def test_a_message_is_kept_hidden_for_as_long_as_it_is_handled(
        self, faulty: SqsProxy, probe: Probe, begin: Begin
    ) -> None:
        queue = create(concurrency=1, visibility_timeout=1)
        send(queue, ["slow", "waits"])

        def behave(message: Message) -> None:
            if message.body == "slow":
                # Each half a second later than the one before: three and more mean more than its timeout.
                eventually(lambda: faulty.count("ChangeMessageVisibilityBatch") >= 4, 20, "it was extended")

        probe.behave = behave
        report = begin(queue, RunLimits(idle=1, linger=0)).report()
        assert probe.bodies == {"slow": 1, "waits": 1}
        assert {message.receive_count for message in probe.ended} == {1}
        assert (report.processed, report.failed) == (2, 0)

    def test_a_message_waiting_for_its_delete_is_kept_too(self, faulty: SqsProxy, probe: Probe, begin: Begin) -> None:
        queue = create(visibility_timeout=1)
        send(queue, ["m"])

        def delete(parameters: Parameters, forward: Forward) -> Parameters:
            if faulty.count("ChangeMessageVisibilityBatch") < 3:
                raise Refused("InternalError", status=500)
            return forward(parameters)

        faulty.answer("DeleteMessageBatch", delete)
        running = begin(queue, LASTING)
        eventually(lambda: depth(queue) == Depth(0, 0, 0), 20, "it was deleted")
        running.end()
        assert probe.bodies == {"m": 1}

    def test_a_buffered_message_that_somebody_else_has_by_now_is_not_handled(
        self, probe: Probe, begin: Begin, sqs: SQSClient
    ) -> None:
        queue = create(concurrency=1, visibility_timeout=2)
        send(queue, ["first", "second"])
        gate = threading.Event()
        probe.behave = lambda message: gate.wait(30)
        running = begin(queue, RunLimits(idle=1, linger=0))
        eventually(lambda: running.run.live() == live(in_flight=1, buffered=1), 10, "both are held")
        (waiting,) = running.run.holdings.buffer.waiting
        sqs.delete_message(QueueUrl=queue.queue_url, ReceiptHandle=waiting.message.receipt_handle)
        eventually(lambda: waiting.lost, 10, "its loss was noticed")
        gate.set()
        report = running.report()
        assert len(probe.started) == 1
        assert report.processed == 1

    def test_on_a_fifo_queue_those_after_it_wait_until_it_has_been_handled(
        self, probe: Probe, begin: Begin, sqs: SQSClient
    ) -> None:
        queue = create("orders.fifo", visibility_timeout=2, max_receive_count=100)
        send(queue, ["a0", "a1", "a2"], "a")
        gate = threading.Event()
        probe.behave = lambda message: gate.wait(30) if message.body == "a0" else None
        running = begin(queue, PATIENT)
        eventually(lambda: running.run.live() == live(in_flight=1, buffered=2), 10, "all are held")
        (lost, _) = running.run.holdings.buffer.waiting
        sqs.delete_message(QueueUrl=queue.queue_url, ReceiptHandle=lost.message.receipt_handle)
        eventually(lambda: running.run.live() == live(in_flight=1, buffered=0), 10, "the one after it was given back")
        gate.set()
        running.report()
        # Here nobody else had the lost one, so that the last one came back to us.
        assert [(message.body, message.receive_count) for message in probe.ended] == [("a0", 1), ("a2", 2)]

    def test_a_message_that_was_taken_away_while_it_was_handled_is_let_go(
        self, probe: Probe, begin: Begin, sqs: SQSClient
    ) -> None:
        queue = create(visibility_timeout=600)
        send(queue, ["m"])
        probe.behave = lambda message: sqs.delete_message(
            QueueUrl=queue.queue_url, ReceiptHandle=message.receipt_handle
        )
        with capture_logs() as logs:
            report = begin(queue).report()
        assert report.processed == 1
        assert [entry["message_id"] for entry in logs if entry["event"] == "message_not_ours"] == [probe.ended[0].id]


class TestFaults:
    def test_sqs_away_while_messages_are_handled(self, faulty: SqsProxy, probe: Probe, begin: Begin) -> None:
        queue = create()
        send(queue, numbers(12))
        handled = threading.Event()

        def behave(message: Message) -> None:
            for action in ("DeleteMessageBatch", "ReceiveMessage", "ChangeMessageVisibilityBatch"):
                faulty.cut(action)
            handled.set()

        probe.behave = behave
        running = begin(queue, PATIENT)
        assert handled.wait(10)
        eventually(lambda: faulty.count("DeleteMessageBatch") >= 4, 20, "deleting was tried again and again")
        assert depth(queue).total == 12
        probe.behave = lambda message: None
        faulty.heal()
        eventually(lambda: depth(queue) == Depth(0, 0, 0), 30, "it went on")
        report = running.end()
        assert probe.bodies == Counter(numbers(12))
        assert report.processed == 12

    def test_an_answer_that_got_lost_does_not_stop_a_delete(self, faulty: SqsProxy, probe: Probe, begin: Begin) -> None:
        queue = create()
        send(queue, numbers(3))
        faulty.cut("DeleteMessageBatch", after=True, times=1)
        report = begin(queue).report()
        assert report.processed == 3
        assert depth(queue) == Depth(0, 0, 0)

    def test_single_entries_that_fail_are_tried_again(self, faulty: SqsProxy, probe: Probe, begin: Begin) -> None:
        queue = create()
        send(queue, numbers(10))

        def half(parameters: Parameters, forward: Forward) -> Parameters:
            entries = parameters["Entries"]
            answer = forward({**parameters, "Entries": entries[::2]})
            failed = [{"Id": e["Id"], "Code": "InternalError", "SenderFault": False} for e in entries[1::2]]
            return {**answer, "Failed": failed}

        faulty.answer("DeleteMessageBatch", half, times=3)
        report = begin(queue).report()
        assert report.processed == 10
        assert depth(queue) == Depth(0, 0, 0)
        assert probe.bodies == Counter(numbers(10))

    def test_deletes_come_in_full_batches(self, faulty: SqsProxy, probe: Probe, begin: Begin) -> None:
        queue = create(concurrency=5)
        send(queue, numbers(100))
        begin(queue, RunLimits(idle=1, linger=5)).report()
        deletes = [p["Entries"] for action, p in faulty.requests if action == "DeleteMessageBatch"]
        assert sum(map(len, deletes)) == 100
        assert len(deletes) < 30
        assert max(map(len, deletes)) == 10


class TestSettings:
    def test_another_handler_and_other_options_hold_from_the_next_message(self, probe: Probe, begin: Begin) -> None:
        queue = create(concurrency=1, max_receive_count=1)  # so that nothing is received before its turn
        gate = threading.Semaphore(0)
        probe.behave = lambda message: gate.acquire(timeout=20)
        send(queue, ["a"])
        running = begin(queue, LASTING)
        eventually(lambda: probe.running == 1, 10, "the first is being handled")
        running.run.apply(replace(running.settings, handler="async-probe", handler_options={"number": 2}))

        async def nothing(message: Message) -> None:
            pass

        probe.behave_async = nothing
        send(queue, ["b"])
        gate.release()
        eventually(lambda: len(probe.ended) == 2, 10, "the second was handled")
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
        queue = create()
        running = begin(queue, RunLimits(idle=1, linger=0))
        running.run.apply(replace(running.settings, **changes))
        report = running.report()
        assert report.reason is EndReason.ERROR
        assert named in (report.last_error or "")
        with pytest.raises(InvalidInput, match=named):
            Run(get_gateway(), replace(running.settings, **changes), QUICK)

    def test_a_changed_visibility_timeout_holds_from_the_next_receive(
        self, faulty: SqsProxy, probe: Probe, begin: Begin
    ) -> None:
        queue = create()
        send(queue, ["a"])
        gate = threading.Event()
        probe.behave = lambda message: gate.wait(20)

        def asked() -> list[int]:
            return [p["VisibilityTimeout"] for action, p in faulty.requests if action == "ReceiveMessage"]

        running = begin(queue, RunLimits(idle=1, linger=0))
        eventually(lambda: probe.running == 1, 10, "a message is being handled")
        running.run.apply(replace(running.settings, visibility_timeout=17))
        eventually(lambda: asked()[-1] == 17, 10, "the next receive goes by it")
        gate.set()
        running.report()
        assert asked()[0] == 30

    def test_a_moved_queue_is_finished_where_it_was_begun(self, probe: Probe, begin: Begin) -> None:
        queue = create()
        running = begin(queue, LASTING)
        running.run.apply(replace(running.settings, queue_url="http://127.0.0.1:1/elsewhere"))
        send(queue, ["m"])
        eventually(lambda: probe.bodies == {"m": 1}, 10, "it goes on")
        assert running.end().processed == 1
