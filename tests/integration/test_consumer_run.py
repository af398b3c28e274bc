"""A run on a real SQS: what is SQS's own part in it. The rest is in `tests/unit/test_consumer_run.py`."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from jobs.consumer.settings import RunLimits
from jobs.models import EndReason
from queues import services
from queues.handlers import Message, Reject, Retry
from queues.models import Queue
from queues.sqs import MAX_MESSAGE_BYTES, Depth, ReceivedMessage, get_gateway
from tests.support import probe as probes
from tests.support.faults import Forward, Refused, SqsProxy
from tests.support.probe import Probe
from tests.support.real_sqs import depth, put
from tests.support.runs import LASTING, PATIENT, QUICK, Running, numbers
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient

pytestmark = pytest.mark.usefixtures("queues")

Parameters = dict[str, Any]


@pytest.fixture
def probe() -> Probe:
    return probes.fresh()


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures come back at once; how long they really wait is `test_consumer_outcome`'s concern."""
    monkeypatch.setattr("jobs.consumer.outcome.retry_delay", lambda receive_count: 0)
    monkeypatch.setattr("jobs.consumer.settler.retry_delay", lambda receive_count: 0)
    monkeypatch.setattr("queuesite.foundation.outage.FIRST_PAUSE", 0.02)
    monkeypatch.setattr("queuesite.foundation.outage.LONGEST_PAUSE", 0.1)


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
        ended.append(Running(get_gateway(), queue, limits, **changes))
        return ended[-1]

    return begin


Begin = Callable[..., Running]


def create(name: str = "orders", *, with_dlq: bool = True, **settings: Any) -> Queue:
    return services.create(name, with_dlq=with_dlq, settings={"handler": "probe", **settings})


def dead_letters(queue: Queue, count: int = 1) -> list[ReceivedMessage]:
    """What came to the dead-letter queue."""
    assert queue.dlq_url is not None
    url = queue.dlq_url
    found: list[ReceivedMessage] = []

    def came() -> bool:
        found.extend(get_gateway().receive(url, limit=10, wait=0))
        return len(found) >= count

    eventually(came, 30, f"{count} dead letters came")
    return found


class TestDone:
    def test_every_message_is_handled_once_and_deleted(self, probe: Probe, begin: Begin) -> None:
        queue = create()
        put(queue, *numbers(25))
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
        put(queue, body)
        assert begin(queue).report().processed == 1
        assert probe.bodies == {body: 1}


class TestFailure:
    @pytest.mark.parametrize(("delay", "seconds"), [(0, 0), (7, 7), (1.2, 2), (36_000, 36_000)])
    def test_a_retry_is_hidden_for_its_delay(
        self, faulty: SqsProxy, probe: Probe, begin: Begin, delay: float, seconds: int
    ) -> None:
        queue = create()
        put(queue, "m")

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
        put(queue, "poison", "good")

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
        assert letter.attributes.pop("QueuesiteRejectMessageId")["StringValue"] != letter.message_id
        assert letter.attributes == attributes
        assert (report.processed, report.failed) == (0, 1)
        assert report.last_error == "rejected: no such order"
        assert depth(queue) == Depth(0, 0, 0)

    def test_it_is_deleted_only_after_the_dead_letter_queue_has_it(
        self, faulty: SqsProxy, probe: Probe, begin: Begin
    ) -> None:
        queue = create()
        put(queue, "m")
        probe.behave = lambda message: Reject("no")
        before = len(faulty.requests)
        begin(queue).report()
        actions = [a for a, _ in faulty.requests[before:] if a in {"SendMessageBatch", "DeleteMessageBatch"}]
        assert actions == ["SendMessageBatch", "DeleteMessageBatch"]

    @pytest.mark.parametrize("fault", ["refused", "missing", "entry", "cut"])
    def test_where_the_dead_letter_queue_does_not_take_it_it_is_kept_until_it_does(
        self, faulty: SqsProxy, probe: Probe, begin: Begin, fault: str
    ) -> None:
        queue = create()
        put(queue, "m")

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
            faulty.cut("SendMessageBatch", times=1)  # it may have been carried out, so it is not repeated
        probe.behave = lambda message: Reject("no")
        running = begin(queue, LASTING)
        (letter,) = dead_letters(queue)
        report = running.end()
        assert letter.body == "m"
        assert depth(queue) == Depth(0, 0, 0)
        assert (report.processed, report.failed) == (0, 2)
        assert probe.bodies == {"m": 2}


class TestFifo:
    def test_the_order_within_a_group_holds_across_failures(self, probe: Probe, begin: Begin) -> None:
        queue = create("orders.fifo", concurrency=4, max_receive_count=100)
        groups = ("a", "b", "c")
        for n in range(6):
            for group in groups:
                put(queue, f"{group}{n}", group=group)
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

    def test_the_next_waits_until_its_predecessor_is_really_deleted(
        self, faulty: SqsProxy, probe: Probe, begin: Begin
    ) -> None:
        queue = create("orders.fifo", concurrency=2)
        put(queue, "a0", "a1", group="a")
        faulty.refuse("DeleteMessageBatch", "InternalError", status=500, times=4)
        deletes_before_the_next: list[int] = []
        probe.behave = lambda message: deletes_before_the_next.append(faulty.count("DeleteMessageBatch"))
        report = begin(queue).report()
        assert report.processed == 2
        assert deletes_before_the_next[0] == 0
        assert deletes_before_the_next[1] == 5  # four that failed and the one that did not


class TestEnd:
    def test_a_queue_that_is_deleted_ends_it(self, probe: Probe, begin: Begin) -> None:
        queue = create()
        gate = threading.Event()
        probe.behave = lambda message: gate.wait(60)
        put(queue, "m")
        running = begin(queue, RunLimits(idle=1, linger=0))
        eventually(lambda: probe.running == 1, 30, "the message is being handled")
        get_gateway().delete_queue(queue.queue_url)
        eventually(lambda: running.run.ending.asked, 30, "the receiver has noticed")
        gate.set()
        report = running.report()
        assert (report.reason, report.processed) == (EndReason.QUEUE_MISSING, 1)


class TestVisibility:
    def test_a_message_is_kept_hidden_for_as_long_as_it_is_handled(
        self, faulty: SqsProxy, probe: Probe, begin: Begin
    ) -> None:
        queue = create(concurrency=1, visibility_timeout=1)
        put(queue, "slow", "waits")

        def behave(message: Message) -> None:
            if message.body == "slow":
                # Each half a second later than the one before: three and more mean more than its timeout.
                eventually(lambda: faulty.count("ChangeMessageVisibilityBatch") >= 4, 20, "it was extended")

        probe.behave = behave
        report = begin(queue, RunLimits(idle=1, linger=0)).report()
        assert probe.bodies == {"slow": 1, "waits": 1}
        asked = [p["Entries"] for action, p in faulty.requests if action == "ChangeMessageVisibilityBatch"]
        assert {entry["VisibilityTimeout"] for entries in asked for entry in entries} == {1}
        assert (report.processed, report.failed) == (2, 0)

    def test_a_message_waiting_for_its_delete_is_kept_too(self, faulty: SqsProxy, probe: Probe, begin: Begin) -> None:
        queue = create(visibility_timeout=1)
        put(queue, "m")

        def delete(parameters: Parameters, forward: Forward) -> Parameters:
            if faulty.count("ChangeMessageVisibilityBatch") < 3:
                raise Refused("InternalError", status=500)
            return forward(parameters)

        faulty.answer("DeleteMessageBatch", delete)
        running = begin(queue, LASTING)
        eventually(lambda: depth(queue) == Depth(0, 0, 0), 20, "it was deleted")
        running.end()
        assert probe.bodies == {"m": 1}

    def test_a_message_that_was_taken_away_while_it_was_handled_is_let_go(
        self, probe: Probe, begin: Begin, sqs: SQSClient
    ) -> None:
        queue = create(visibility_timeout=600)
        put(queue, "m")
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
        put(queue, *numbers(12))
        handled = threading.Event()

        def behave(message: Message) -> None:
            for action in ("DeleteMessageBatch", "ReceiveMessage", "ChangeMessageVisibilityBatch"):
                faulty.cut(action)
            handled.set()

        probe.behave = behave
        running = begin(queue, PATIENT)
        assert handled.wait(30)
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
        put(queue, *numbers(3))
        faulty.cut("DeleteMessageBatch", after=True, times=1)
        report = begin(queue).report()
        assert report.processed == 3
        assert depth(queue) == Depth(0, 0, 0)

    def test_single_entries_that_fail_are_tried_again(self, faulty: SqsProxy, probe: Probe, begin: Begin) -> None:
        queue = create()
        put(queue, *numbers(10))

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
        put(queue, *numbers(100))
        begin(queue, RunLimits(idle=1, linger=5)).report()
        deletes = [p["Entries"] for action, p in faulty.requests if action == "DeleteMessageBatch"]
        assert sum(map(len, deletes)) == 100
        assert len(deletes) < 30
        assert max(map(len, deletes)) == 10


class TestSettings:
    def test_a_changed_visibility_timeout_holds_from_the_next_receive(
        self, faulty: SqsProxy, probe: Probe, begin: Begin
    ) -> None:
        queue = create()
        put(queue, "a")
        gate = threading.Event()
        probe.behave = lambda message: gate.wait(60)

        def asked() -> list[int]:
            return [p["VisibilityTimeout"] for action, p in faulty.requests if action == "ReceiveMessage"]

        running = begin(queue, RunLimits(idle=1, linger=0))
        eventually(lambda: probe.running == 1, 30, "a message is being handled")
        running.run.apply(replace(running.settings, visibility_timeout=17))
        eventually(lambda: asked()[-1] == 17, 30, "the next receive goes by it")
        gate.set()
        running.report()
        assert asked()[0] == 30
