"""What becomes of messages that are refused, lost, or come back: a whole run on a queue in memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from jobs.consumer.acknowledger import Acknowledger
from jobs.consumer.buffer import Buffer
from jobs.consumer.comebacks import REMEMBERED, Comebacks
from jobs.consumer.held import Held
from jobs.consumer.receiver import ATTEMPT_SECONDS, Receiver
from jobs.consumer.refused import REFUSED_SECONDS, Refusals
from jobs.consumer.report import RunReport
from jobs.consumer.run import Run
from jobs.consumer.run_end import RunEnd
from jobs.consumer.settings import QueueSettings, RunLimits
from jobs.consumer.visibility import VisibilityKeeper
from jobs.models import EndReason
from queues.handlers import Message
from queuesite.foundation.errors import (
    QueueMissing,
    ServerError,
    SqsDenied,
    SqsRejected,
    SqsUnavailable,
    TooManyInFlight,
)
from tests.support import probe as probes
from tests.support.fake_gateway import URL, FakeGateway, handles, refused
from tests.support.memory_sqs import OneQueue
from tests.support.messages import again, held, received
from tests.support.probe import Probe
from tests.support.waiting import eventually

SETTINGS = QueueSettings(
    name="orders",
    queue_url=URL,
    dlq_url=None,
    fifo=False,
    concurrency=1,
    handler="probe",
    handler_options={},
    visibility_timeout=300,
    max_receive_count=5,
)


class Clock:
    """The monotonic clock of SQS, which a test may put forward: to the consumer it is an outage, or a freeze."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


class Running:
    """A run on a queue in memory, in a thread of its own."""

    def __init__(self, *, start: bool = True, **changes: Any) -> None:
        self.clock = Clock()
        self.sqs = OneQueue(clock=self.clock, fifo=changes.get("fifo", SETTINGS.fifo))
        self.settings = replace(SETTINGS, queue_url=self.sqs.url, **changes)
        self.run = Run(self.sqs.gateway, self.settings, RunLimits(idle=1, linger=0.01))
        self.reports: list[RunReport] = []
        self.thread = threading.Thread(target=lambda: self.reports.append(self.run.execute()), daemon=True)

    def start(self) -> None:
        self.thread.start()

    def end(self) -> RunReport:
        self.run.end(EndReason.SHUTDOWN)
        return self.report()

    def report(self) -> RunReport:
        self.thread.join(45)
        assert not self.thread.is_alive()
        return self.reports[0]

    def outage(self, seconds: float) -> None:
        """SQS is away for so long that what is held becomes visible."""
        self.sqs.away = True
        self.clock.ahead += seconds
        self.sqs.away = False


@pytest.fixture
def probe() -> Probe:
    return probes.fresh()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("queuesite.foundation.outage.FIRST_PAUSE", 0.01)
    monkeypatch.setattr("queuesite.foundation.outage.LONGEST_PAUSE", 0.05)


@pytest.fixture
def begin() -> Iterator[Callable[..., Running]]:
    made: list[Running] = []

    def begin(**changes: Any) -> Running:
        made.append(Running(**changes))
        return made[-1]

    yield begin
    for running in made:
        running.run.end(EndReason.SHUTDOWN)
        running.thread.join(45)


Begin = Callable[..., Running]


class TestComingBack:
    @pytest.mark.parametrize("fifo", [False, True])
    def test_what_comes_back_while_it_is_handled_is_handled_once(self, probe: Probe, begin: Begin, fifo: bool) -> None:
        gate = threading.Event()
        probe.behave = lambda message: gate.wait(60)
        running = begin(fifo=fifo, concurrency=2)
        running.sqs.put("m", group="g")
        running.start()
        eventually(lambda: probe.running == 1, 30, "it is being handled")
        running.outage(60)
        eventually(lambda: running.sqs.messages[0].receives == 2, 30, "it has come back")
        gate.set()
        eventually(lambda: not running.sqs.bodies, 30, "it is deleted by its new handle")
        assert running.end().processed == 1
        assert probe.bodies == {"m": 1}

    def test_what_comes_back_although_it_was_handled_is_deleted_and_not_handled_again(
        self, probe: Probe, begin: Begin
    ) -> None:
        """AWS refuses to delete a FIFO message that is visible again."""
        running = begin(fifo=True)
        running.sqs.put("m", "n", group="g")

        def behave(message: Message) -> None:
            if message.body == "m" and message.receive_count == 1:
                running.outage(60)

        probe.behave = behave
        running.start()
        eventually(lambda: not running.sqs.bodies, 30, "both are deleted")
        assert running.end().processed == 2
        assert [message.body for message in probe.ended] == ["m", "n"]

    def test_what_waited_in_vain_waits_again_by_its_new_handle(self, probe: Probe, begin: Begin) -> None:
        gate = threading.Event()
        probe.behave = lambda message: gate.wait(60)
        running = begin()
        running.sqs.put("a", "b", "c")
        running.start()
        eventually(lambda: running.run.live()["buffered"] == 2, 30, "two wait")
        running.outage(60)
        eventually(lambda: all(stored.receives == 2 for stored in running.sqs.messages), 30, "all have come back")
        gate.set()
        eventually(lambda: not running.sqs.bodies, 30, "all are deleted")
        assert running.end().processed == 3
        assert probe.bodies == {"a": 1, "b": 1, "c": 1}

    def test_one_that_came_back_during_its_delete_is_deleted_again(self) -> None:
        gateway = FakeGateway()
        keeper = VisibilityKeeper(gateway.real, URL, lambda held_for: 30)
        message = held()
        keeper.keep(message)
        newer = again(message)

        class During(FakeGateway):
            def delete(self, queue_url: str, receipt_handles: Any) -> tuple[()]:
                if not self.deleted:
                    assert keeper.adopt(newer)
                self.deleted.append(list(receipt_handles))
                return ()

        during = During()
        acknowledger = Acknowledger(during.real, URL, keeper, 0.0)
        first = handles([message])
        acknowledger.start()
        acknowledger.delete(message, at_once=True)
        acknowledger.close(time.monotonic() + 5)
        assert during.deleted == [first, handles([newer])]
        assert keeper.known(message.message.message_id) is None

    def test_no_more_is_remembered_than_there_may_be(self) -> None:
        keeper = VisibilityKeeper(FakeGateway().real, URL, lambda held_for: 30)
        deleted: list[Held] = []
        comebacks = Comebacks(keeper, Buffer(fifo=False), deleted.append)
        messages = [held() for _ in range(REMEMBERED + 1)]
        for message in messages:
            comebacks.remember(message)
        forgotten = again(messages[0])
        assert comebacks.new([forgotten, again(messages[-1])]) == [forgotten]
        assert len(deleted) == 1


class TestLettingGo:
    def test_what_ran_out_in_the_buffer_is_not_extended_any_more(self, probe: Probe, begin: Begin) -> None:
        """Else it would stay hidden for twelve hours, and nobody would handle it."""
        gate = threading.Event()
        probe.behave = lambda message: gate.wait(60)
        running = begin()
        running.sqs.put("a", "b")
        running.start()
        eventually(lambda: running.run.live()["buffered"] == 1, 30, "one waits")
        message_id = running.sqs.messages[1].message_id
        waiting = running.run.holdings.keeper.known(message_id)
        assert waiting is not None
        waiting.hidden_until = time.monotonic()
        gate.set()
        eventually(lambda: probe.bodies == {"a": 1}, 30, "the first was handled")
        eventually(lambda: running.run.holdings.keeper.known(message_id) is None, 30, "the other is let go")
        assert running.run.live()["buffered"] == 0
        running.clock.ahead += 60
        eventually(lambda: not running.sqs.bodies, 30, "it has come back and was handled")
        assert running.end().processed == 2

    def test_those_behind_a_lost_message_of_a_group_are_given_back(self, probe: Probe, begin: Begin) -> None:
        gate = threading.Event()
        probe.behave = lambda message: gate.wait(60)
        running = begin(fifo=True)
        running.sqs.put("a", "b", "c", group="g")
        running.start()
        eventually(lambda: running.run.live()["buffered"] == 2, 30, "two wait")
        keeper = running.run.holdings.keeper
        first, second, _ = (keeper.known(stored.message_id) for stored in running.sqs.messages)
        assert first is not None
        assert second is not None
        first.limit = first.hidden_until = time.monotonic()
        keeper.beat(time.monotonic())
        eventually(lambda: sorted(running.sqs.changes) == [("b", 0), ("c", 0)], 30, "they are given back")
        assert running.run.live()["buffered"] == 0
        assert keeper.known(second.message.message_id) is None
        gate.set()
        eventually(lambda: not running.sqs.bodies, 30, "all are handled")
        running.end()
        assert [message.body for message in probe.ended] == ["a", "b", "c"]

    def test_what_has_waited_too_long_is_given_back(self, probe: Probe, begin: Begin) -> None:
        gate = threading.Event()
        probe.behave = lambda message: gate.wait(60)
        running = begin()
        running.sqs.put("a", "b")
        running.start()
        eventually(lambda: running.run.live()["buffered"] == 1, 30, "one waits")
        (waiting,) = running.run.holdings.buffer.waiting
        waiting.received_at -= 4_000
        running.run.holdings.keeper.wake()
        eventually(lambda: ("b", 0) in running.sqs.changes, 30, "it is given back")
        gate.set()
        eventually(lambda: probe.bodies == {"a": 1, "b": 1}, 30, "both are handled")


class TestRefusals:
    @pytest.mark.parametrize("kind", ["receive", "settle"])
    @pytest.mark.parametrize("error", [SqsDenied("KMS refused"), SqsRejected("no such thing")])
    def test_a_run_that_sqs_refuses_ends_as_an_error_that_says_so(
        self, probe: Probe, begin: Begin, monkeypatch: pytest.MonkeyPatch, error: ServerError, kind: str
    ) -> None:
        monkeypatch.setattr("jobs.consumer.refused.REFUSED_SECONDS", 0.05)
        monkeypatch.setattr("jobs.consumer.run.SETTLE_SECONDS", 0.1)
        running = begin()
        running.sqs.put("m")
        running.sqs.refuse[kind] = error
        running.start()
        report = running.report()
        assert (report.reason, report.last_error) == (EndReason.ERROR, str(error))

    def test_it_takes_some_seconds_of_nothing_but_refusals(self) -> None:
        now = 100.0
        ended: list[ServerError] = []
        refusals = Refusals(ended.append, lambda: now)
        error = SqsDenied("no")
        refusals.note(error)
        now += REFUSED_SECONDS - 0.1
        refusals.note(error)
        refusals.over()
        refusals.note(error)
        now += REFUSED_SECONDS - 0.1
        refusals.note(SqsUnavailable("away"))
        refusals.note(error)
        assert ended == []
        now += REFUSED_SECONDS
        refusals.note(error)
        assert ended == [error]

    def test_too_many_in_flight_is_waited_for_while_some_of_them_are_ours(self) -> None:
        ended: list[ServerError] = []
        gateway = FakeGateway()
        buffer = Buffer(fifo=False)
        now = 100.0

        def later() -> float:
            nonlocal now
            now += 6.0
            return now

        receiver = pulling(gateway, buffer, refusals=Refusals(ended.append, later))
        ours = held()
        buffer.put([ours])
        assert buffer.take() is ours
        gateway.inbox.extend(TooManyInFlight("120,000") for _ in range(50))
        receiver.start()
        eventually(lambda: len(gateway.asked) >= 5, 30, "it is asked for again")
        assert ended == []
        buffer.finished(ours)
        eventually(lambda: ended, 30, "with nothing of ours in flight it is a refusal")
        receiver.stop()
        receiver.join()


def pulling(gateway: FakeGateway, buffer: Buffer, *, fifo: bool = False, refusals: Refusals | None = None) -> Receiver:
    demand = SimpleNamespace(window=lambda: 30, prefetch=lambda: 10)
    intake = SimpleNamespace(buffer=buffer, accept=buffer.put)
    return Receiver(gateway.real, URL, demand, intake, RunEnd(), 0, refusals, fifo=fifo)


class TestAttempts:
    def turns(self, gateway: FakeGateway, count: int, *, fifo: bool = True) -> Receiver:
        buffer = Buffer(fifo=fifo)
        receiver = pulling(gateway, buffer, fifo=fifo)
        for _ in range(count):
            receiver.turn()
            buffer.empty_out()
        return receiver

    def test_a_lost_answer_is_asked_for_again_as_it_was(self) -> None:
        gateway = FakeGateway()
        gateway.inbox.extend([SqsUnavailable("lost"), SqsUnavailable("lost"), [received(group="a")], []])
        self.turns(gateway, 4)
        first, *_ = gateway.attempts
        assert first is not None
        assert gateway.attempts[:3] == [first] * 3
        assert gateway.attempts[3] not in (None, first)
        assert gateway.asked[0] == gateway.asked[1] == gateway.asked[2]

    def test_a_refused_attempt_is_not_repeated(self) -> None:
        gateway = FakeGateway()
        gateway.inbox.extend([SqsRejected("attempt"), []])
        self.turns(gateway, 2)
        assert len(set(gateway.attempts)) == 2

    def test_nothing_is_asked_of_a_queue_that_is_gone(self) -> None:
        gateway = FakeGateway()
        gateway.inbox.extend([QueueMissing("gone"), []])
        self.turns(gateway, 2)
        assert len(gateway.attempts) == 1

    def test_nor_one_that_sqs_has_forgotten(self) -> None:
        gateway = FakeGateway()
        gateway.inbox.extend([SqsUnavailable("lost"), []])
        receiver = self.turns(gateway, 1)
        assert receiver._attempt is not None
        receiver._attempt = replace(receiver._attempt, begun_at=time.monotonic() - ATTEMPT_SECONDS - 1)
        receiver.turn()
        assert len(set(gateway.attempts)) == 2

    def test_standard_queues_have_none(self) -> None:
        gateway = FakeGateway()
        self.turns(gateway, 1, fifo=False)
        assert gateway.attempts == [None]

    def test_a_lost_answer_does_not_block_its_group(self, probe: Probe, begin: Begin) -> None:
        running = begin(fifo=True)
        running.sqs.put("a", "b", group="g")
        running.sqs.lose_answers = 1
        running.start()
        eventually(lambda: not running.sqs.bodies, 30, "it was handled without waiting for its visibility")
        assert running.end().processed == 2


class TestEntries:
    """An entry that SQS refuses concerns no other."""

    @pytest.fixture
    def gateway(self) -> FakeGateway:
        return FakeGateway()

    def started(self, gateway: FakeGateway, not_deleted: list[Held] | None = None) -> Acknowledger:
        keeper = VisibilityKeeper(gateway.real, URL, lambda held_for: 30)
        told = [] if not_deleted is None else not_deleted
        acknowledger = Acknowledger(gateway.real, URL, keeper, 0.0, told.append)
        acknowledger.start()
        return acknowledger

    def test_a_throttled_entry_does_not_hold_up_those_after_it(
        self, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("queuesite.foundation.outage.FIRST_PAUSE", 3_600)
        monkeypatch.setattr("queuesite.foundation.outage.LONGEST_PAUSE", 3_600)
        acknowledger = self.started(gateway)
        gateway.answers.append((refused(0, "ThrottlingException"),))
        slow = held()
        acknowledger.delete(slow, at_once=True)
        eventually(lambda: gateway.deleted, 30, "it was refused")
        others = [held() for _ in range(3)]
        for other in others:
            acknowledger.delete(other, at_once=True)
        eventually(lambda: {h for batch in gateway.deleted[1:] for h in batch} == set(handles(others)), 30, "they went")
        with capture_logs() as logs:
            acknowledger.close(time.monotonic() + 0.1)
        assert [(entry["event"], entry["count"]) for entry in logs] == [("messages_not_settled", 1)]

    @pytest.mark.parametrize("code", ["InvalidParameterValueException", "Unheard", "AccessDeniedException"])
    @pytest.mark.parametrize("delay", [None, 5])
    def test_what_cannot_succeed_is_given_up_at_once(self, gateway: FakeGateway, code: str, delay: int | None) -> None:
        told: list[Held] = []
        acknowledger = self.started(gateway, told)
        gateway.answers.append((refused(0, code, sender_fault=code == "Unheard"),))
        message = held()
        with capture_logs() as logs:
            if delay is None:
                acknowledger.delete(message, at_once=True)
            else:
                acknowledger.release(message, delay, at_once=True)
            acknowledger.close(time.monotonic() + 5)
        assert len(gateway.deleted) + len(gateway.changed) == 1
        (entry,) = logs
        assert entry["event"] in ("message_not_ours", "message_not_settled")
        assert told == ([message] if delay is None else [])

    def test_throttling_is_told_once(self, gateway: FakeGateway) -> None:
        acknowledger = self.started(gateway)
        gateway.answers.extend([(refused(0, "RequestThrottled"),)] * 4)
        with capture_logs() as logs:
            acknowledger.delete(held(), at_once=True)
            eventually(lambda: len(gateway.deleted) == 5, 30, "it was tried until it succeeded")
            acknowledger.close(time.monotonic() + 5)
        assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == ["outage_began"]
