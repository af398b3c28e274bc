"""Acknowledger, visibility heartbeat and receiver in the face of faults that no real server makes on demand.

The gateway is a fake that notes what it is asked and answers as it is told; `tests/integration/test_consumer_*` do the
same parts against a real SQS.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from jobs.consumer.acknowledger import Acknowledger
from jobs.consumer.buffer import Buffer
from jobs.consumer.held import Held
from jobs.consumer.receiver import Receiver
from jobs.consumer.run_end import RunEnd
from jobs.consumer.visibility import VisibilityKeeper
from jobs.models import EndReason
from queues.sqs import ReceivedMessage
from queuesite.foundation.errors import QueueMissing, SqsRejected, SqsUnavailable
from tests.support.fake_gateway import URL, Failures, FakeGateway, handles, refused
from tests.support.messages import held, received
from tests.support.waiting import eventually


@pytest.fixture
def gateway() -> FakeGateway:
    return FakeGateway()


@pytest.fixture
def keeper(gateway: FakeGateway) -> VisibilityKeeper:
    return VisibilityKeeper(gateway.real, URL, lambda held_for: 30)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("queuesite.foundation.outage.FIRST_PAUSE", 0.01)
    monkeypatch.setattr("queuesite.foundation.outage.LONGEST_PAUSE", 0.05)


def started(gateway: FakeGateway, keeper: VisibilityKeeper, linger: float) -> Acknowledger:
    acknowledger = Acknowledger(gateway.real, URL, keeper, linger)
    acknowledger.start()
    return acknowledger


@pytest.fixture
def patient(gateway: FakeGateway, keeper: VisibilityKeeper) -> Iterator[Acknowledger]:
    """One that would wait an hour for a batch to fill."""
    acknowledger = started(gateway, keeper, 3_600)
    yield acknowledger
    gateway.away.clear()
    acknowledger.close(time.monotonic() + 5)


class TestBatches:
    def test_deletes_wait_until_there_are_ten(self, gateway: FakeGateway, patient: Acknowledger) -> None:
        messages = [held() for _ in range(25)]
        for message in messages:
            patient.delete(message)
        eventually(lambda: len(gateway.deleted) == 2, 30, "two full batches were deleted")
        assert gateway.deleted == [handles(messages[:10]), handles(messages[10:20])]
        patient.close(time.monotonic() + 5)
        assert gateway.deleted[2:] == [handles(messages[20:])]

    def test_none_waits_longer_than_the_linger(self, gateway: FakeGateway, keeper: VisibilityKeeper) -> None:
        acknowledger = started(gateway, keeper, 0.05)
        message = held()
        acknowledger.delete(message)
        eventually(lambda: gateway.deleted == [handles([message])], 30, "it was deleted")
        acknowledger.close(time.monotonic() + 5)

    def test_hurry_settles_what_there_is(self, gateway: FakeGateway, patient: Acknowledger) -> None:
        message = held()
        patient.flush()  # of nothing; it must not be remembered
        patient.delete(message)
        other = held()
        patient.delete(other)
        assert gateway.deleted == []
        patient.flush()
        eventually(lambda: gateway.deleted == [handles([message, other])], 30, "both were deleted, together")

    def test_one_that_cannot_wait_takes_the_others_along(self, gateway: FakeGateway, patient: Acknowledger) -> None:
        first, second = held(), held()
        patient.delete(first)
        patient.delete(second, at_once=True)
        eventually(lambda: gateway.deleted == [handles([first, second])], 30, "both were deleted, together")

    def test_visibility_changes_have_batches_of_their_own(self, gateway: FakeGateway, patient: Acknowledger) -> None:
        done, failed, unstarted = held(), held(), held()
        patient.delete(done)
        patient.release(failed, 7)
        patient.release(unstarted, 0, at_once=True)
        wanted = [(failed.message.receipt_handle, 7), (unstarted.message.receipt_handle, 0)]
        eventually(lambda: gateway.changed == [wanted], 30, "visibility was changed")
        assert gateway.deleted == []

    def test_a_message_that_is_to_be_seen_again_is_not_kept_hidden(
        self, gateway: FakeGateway, patient: Acknowledger, keeper: VisibilityKeeper
    ) -> None:
        a_while_ago = time.monotonic() - 20
        failed, done = held(now=a_while_ago), held(now=a_while_ago)
        keeper.keep(failed)
        keeper.keep(done)
        patient.release(failed, 7)
        patient.delete(done)
        keeper.beat(time.monotonic())
        assert gateway.changed == [[(done.message.receipt_handle, 30)]]

    def test_the_caller_is_told_when_sqs_has_confirmed(self, gateway: FakeGateway, patient: Acknowledger) -> None:
        gateway.answers.append((refused(0),))
        gone = threading.Event()
        attempts_at_confirmation: list[int] = []

        def settled() -> None:
            attempts_at_confirmation.append(len(gateway.deleted))
            gone.set()

        patient.delete(held(), at_once=True, settled=settled)
        assert gone.wait(30)
        assert attempts_at_confirmation == [2]


class TestRefusedEntries:
    def test_failed_entries_alone_are_tried_again(self, gateway: FakeGateway, patient: Acknowledger) -> None:
        gateway.answers.append((refused(3), refused(7)))
        messages = [held() for _ in range(10)]
        for message in messages:
            patient.delete(message)
        patient.flush()
        eventually(lambda: gateway.deleted, 30, "a batch was deleted")
        patient.close(time.monotonic() + 5)
        assert gateway.deleted == [handles(messages), handles([messages[3], messages[7]])]

    @pytest.mark.parametrize(
        "code",
        [
            "ReceiptHandleIsInvalid",
            "InvalidParameterValue",
            "MessageNotInflight",
            "AWS.SimpleQueueService.MessageNotInflight",
        ],
    )
    def test_messages_that_are_not_ours_any_more_are_let_go(
        self, gateway: FakeGateway, patient: Acknowledger, keeper: VisibilityKeeper, code: str
    ) -> None:
        gateway.answers.append((refused(0, code, sender_fault=True),))
        message = held(now=0.0)
        keeper.keep(message)
        gone = threading.Event()
        patient.delete(message, at_once=True, settled=gone.set)
        assert gone.wait(30)
        patient.close(time.monotonic() + 5)
        assert len(gateway.deleted) == 1
        keeper.beat(time.monotonic())
        assert gateway.changed == []

    def test_a_queue_that_is_gone_takes_its_messages_with_it(self, gateway: FakeGateway, patient: Acknowledger) -> None:
        gateway.answers.append(QueueMissing("gone"))
        gone = threading.Event()
        patient.delete(held(), at_once=True, settled=gone.set)
        assert gone.wait(30)
        assert len(gateway.deleted) == 1


class TestSqsAway:
    def test_nothing_is_forgotten_and_all_is_settled_when_it_is_back(
        self, gateway: FakeGateway, patient: Acknowledger
    ) -> None:
        gateway.away.set()
        messages = [held() for _ in range(10)]
        for message in messages:
            patient.delete(message)
        eventually(lambda: len(gateway.deleted) >= 3, 30, "it was tried several times")
        assert all(attempt == handles(messages) for attempt in gateway.deleted)
        gateway.away.clear()
        patient.close(time.monotonic() + 5)
        assert gateway.deleted[-1] == handles(messages)
        assert not any(patient._pending)

    def test_what_comes_meanwhile_does_not_cut_the_pauses_short(
        self, gateway: FakeGateway, keeper: VisibilityKeeper, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("queuesite.foundation.outage.FIRST_PAUSE", 3_600)
        monkeypatch.setattr("queuesite.foundation.outage.LONGEST_PAUSE", 3_600)
        acknowledger = started(gateway, keeper, 0.0)
        gateway.away.set()
        acknowledger.delete(held())
        eventually(lambda: len(gateway.deleted) == 1, 30, "it was tried")
        for _ in range(50):
            acknowledger.delete(held())
            acknowledger.release(held(), 0, at_once=True)
        # The only thing that ends a pause is the end of the run, which is tried once more for.
        acknowledger.close(time.monotonic() + 0.2)
        assert len(gateway.deleted) + len(gateway.changed) <= 2

    def test_closing_gives_up_at_the_deadline(self, gateway: FakeGateway, keeper: VisibilityKeeper) -> None:
        acknowledger = started(gateway, keeper, 0.0)
        gateway.away.set()
        acknowledger.delete(held())
        eventually(lambda: gateway.deleted, 30, "it was tried")
        acknowledger.close(time.monotonic() + 0.2)
        assert not any(thread.is_alive() for thread in acknowledger._threads)
        assert sum(map(len, acknowledger._pending)) == 1

    def test_closing_settles_what_there_is_as_soon_as_it_can(
        self, gateway: FakeGateway, keeper: VisibilityKeeper
    ) -> None:
        acknowledger = started(gateway, keeper, 3_600)
        gateway.answers.extend([SqsUnavailable("away"), SqsUnavailable("away"), ()])
        done, other = held(), held()
        acknowledger.delete(done)
        acknowledger.release(other, 3)
        acknowledger.close(time.monotonic() + 30)
        assert not any(thread.is_alive() for thread in acknowledger._threads)
        assert gateway.deleted[-1] == handles([done])
        assert gateway.changed[-1] == [(other.message.receipt_handle, 3)]
        assert not any(acknowledger._pending)


class TestVisibility:
    def beat(self, keeper: VisibilityKeeper, gateway: FakeGateway, now: float) -> list[list[tuple[str, int]]]:
        gateway.changed.clear()
        keeper.beat(now)
        return gateway.changed

    def test_it_is_extended_when_half_has_passed(self, gateway: FakeGateway, keeper: VisibilityKeeper) -> None:
        message = held(now=100.0, timeout=30)
        keeper.keep(message)
        assert self.beat(keeper, gateway, 114.9) == []
        assert self.beat(keeper, gateway, 115.0) == [[(message.message.receipt_handle, 30)]]

    def test_from_then_on_the_next_half_counts(self, gateway: FakeGateway, keeper: VisibilityKeeper) -> None:
        message = held(timeout=0)
        keeper.keep(message)
        before = time.monotonic()
        keeper.beat(before)
        assert before + 30 <= message.hidden_until <= time.monotonic() + 30
        assert self.beat(keeper, gateway, message.hidden_until - 15.1) == []
        assert len(self.beat(keeper, gateway, message.hidden_until - 15)) == 1

    def test_ten_in_a_request(self, gateway: FakeGateway, keeper: VisibilityKeeper) -> None:
        messages = [held(now=100.0) for _ in range(23)]
        for message in messages:
            keeper.keep(message)
        requests = self.beat(keeper, gateway, 120.0)
        assert [len(request) for request in requests] == [10, 10, 3]
        assert {handle for request in requests for handle, _ in request} == set(handles(messages))

    def test_a_changed_timeout_holds_from_the_next_extension(self, gateway: FakeGateway) -> None:
        timeout = [30]
        keeper = VisibilityKeeper(gateway.real, URL, lambda held_for: timeout[0], monotonic=lambda: 115.0)
        message = held(now=100.0, timeout=30)
        keeper.keep(message)
        timeout[0] = 120
        # It has 30 s: nothing is due before half of that.
        assert self.beat(keeper, gateway, 114.9) == []
        assert self.beat(keeper, gateway, 115.0) == [[(message.message.receipt_handle, 120)]]
        timeout[0] = 2
        assert self.beat(keeper, gateway, message.hidden_until - 1.5) == []
        assert self.beat(keeper, gateway, message.hidden_until - 1.0) == [[(message.message.receipt_handle, 2)]]

    def test_a_message_is_kept_until_it_is_forgotten(self, gateway: FakeGateway, keeper: VisibilityKeeper) -> None:
        message = held(now=100.0)
        keeper.keep(message)
        keeper.forget(message)
        keeper.forget(message)
        assert self.beat(keeper, gateway, 129.0) == []

    def test_a_message_that_is_not_ours_any_more_is_marked_and_not_extended_again(
        self, gateway: FakeGateway, keeper: VisibilityKeeper
    ) -> None:
        lost, kept = held(now=100.0), held(now=100.0)
        keeper.keep(lost)
        keeper.keep(kept)
        gateway.answers.append((refused(0, "ReceiptHandleIsInvalid", sender_fault=True),))
        self.beat(keeper, gateway, 120.0)
        assert (lost.lost, kept.lost) == (True, False)
        kept.hidden_until = 120.0
        assert self.beat(keeper, gateway, 121.0) == [[(kept.message.receipt_handle, 30)]]

    def test_one_that_was_settled_during_the_request_is_not_taken_for_lost(
        self, gateway: FakeGateway, keeper: VisibilityKeeper
    ) -> None:
        message = held(now=100.0)
        keeper.keep(message)

        class Settled(FakeGateway):
            def change_visibility(self, queue_url: str, changes: Sequence[tuple[str, int]]) -> Failures:
                keeper.forget(message)
                return (refused(0, "ReceiptHandleIsInvalid", sender_fault=True),)

        keeper._gateway = Settled().real
        keeper.beat(120.0)
        assert not message.lost

    @pytest.mark.parametrize("answer", [SqsUnavailable("away"), (refused(0),)])
    def test_where_sqs_fails_the_next_beat_tries_again(
        self, gateway: FakeGateway, keeper: VisibilityKeeper, answer: Failures | Exception
    ) -> None:
        message = held(now=100.0)
        keeper.keep(message)
        gateway.answers.append(answer)
        assert len(self.beat(keeper, gateway, 120.0)) == 1
        assert not message.lost
        assert len(self.beat(keeper, gateway, 121.0)) == 1
        assert message.hidden_until > 130.0

    def test_its_thread_beats_by_itself_and_ends(self, gateway: FakeGateway) -> None:
        keeper = VisibilityKeeper(gateway.real, URL, lambda held_for: 1)
        keeper.keep(held(timeout=1))
        keeper.start()
        eventually(lambda: len(gateway.changed) >= 2, 30, "it was extended, and again")
        keeper.stop()
        assert not any(thread.name == "visibility" for thread in threading.enumerate())


@dataclass
class Pulled:
    """A receiver, and what it told."""

    receiver: Receiver
    buffer: Buffer
    accepted: list[Held] = field(default_factory=list)
    end: RunEnd = field(default_factory=RunEnd)
    target: int = 10
    visibility: int = 30


def pulled(gateway: FakeGateway, *, idle: int = 0) -> Pulled:
    buffer = Buffer(fifo=False)

    def accept(messages: list[Held]) -> None:
        found.accepted.extend(messages)
        buffer.put(messages)

    end = RunEnd()
    demand = SimpleNamespace(window=lambda: found.visibility, prefetch=lambda: found.target)
    intake = SimpleNamespace(buffer=buffer, accept=accept)
    found: Pulled = Pulled(Receiver(gateway.real, URL, demand, intake, end, idle), buffer, end=end)
    return found


class TestReceiver:
    def test_it_receives_until_the_buffer_is_full(self, gateway: FakeGateway) -> None:
        gateway.inbox.extend([received() for _ in range(10)] for _ in range(3))
        found = pulled(gateway)
        found.target, found.visibility = 20, 77
        found.receiver.start()
        eventually(lambda: len(found.accepted) == 20, 30, "two batches came")
        found.buffer.wake()
        found.receiver.stop()
        found.receiver.join()
        assert gateway.asked == [{"limit": 10, "wait": 0, "visibility": 77}] * 2

    def test_it_goes_on_when_the_buffer_has_room_again(self, gateway: FakeGateway) -> None:
        gateway.inbox.extend([received() for _ in range(10)] for _ in range(2))
        found = pulled(gateway)
        found.receiver.start()
        eventually(lambda: len(found.accepted) == 10, 30, "a batch came")
        for _ in range(10):
            found.buffer.take()
        eventually(lambda: len(found.accepted) == 20, 30, "the next batch came")
        found.receiver.stop()
        found.receiver.join()

    def test_how_long_a_message_stays_hidden_is_counted_from_its_receive(self, gateway: FakeGateway) -> None:
        gateway.inbox.append([received()])
        found = pulled(gateway)
        before = time.monotonic()
        found.receiver.start()
        eventually(lambda: found.accepted, 30, "it came")
        message = found.accepted[0]
        # SQS begins to count when it sends its answer, at the earliest when it was asked: the 12 hours count from then.
        assert before <= message.received_at <= message.hidden_until - message.window <= time.monotonic()
        assert message.window == 30
        found.receiver.stop()
        found.receiver.join()

    def test_an_empty_queue_is_drained_since_the_last_request_began(self, gateway: FakeGateway) -> None:
        found = pulled(gateway)
        before = time.monotonic()
        found.receiver.start()
        found.receiver.join()
        assert found.end.reason is EndReason.DRAINED
        assert before <= (found.end.empty_at or 0.0) <= time.monotonic()

    def test_it_is_not_drained_while_a_message_is_being_handled(self, gateway: FakeGateway) -> None:
        gateway.inbox.append([received()])
        found = pulled(gateway)
        found.receiver.start()
        eventually(lambda: found.accepted, 30, "it came")
        message = found.buffer.take()
        assert message is not None
        eventually(lambda: len(gateway.asked) > 4, 30, "the queue was found empty several times")
        assert not found.end.asked
        found.buffer.finished(message)
        eventually(lambda: found.end.reason is EndReason.DRAINED, 30, "it was drained")

    def test_what_arrives_after_the_stop_is_handed_over_too(self) -> None:
        message = received()

        class Late(FakeGateway):
            def receive(self, queue_url: str, **_: Any) -> list[ReceivedMessage]:
                found.receiver.stop()
                return [message]

        found = pulled(Late())
        found.receiver.start()
        found.receiver.join()
        assert [taken.message for taken in found.accepted] == [message]

    def test_a_queue_that_is_gone_is_told_once_and_ends_it(self, gateway: FakeGateway) -> None:
        gateway.inbox.append(QueueMissing("gone"))
        found = pulled(gateway)
        found.receiver.start()
        found.receiver.join()
        assert found.end.reason is EndReason.QUEUE_MISSING

    @pytest.mark.parametrize("error", [SqsUnavailable("away"), SqsRejected("no")])
    def test_it_lives_through_failures(self, gateway: FakeGateway, error: Exception) -> None:
        gateway.inbox.extend([error, error, [received()]])
        found = pulled(gateway)
        found.receiver.start()
        eventually(lambda: found.accepted, 30, "the message came")
        found.receiver.stop()
        found.receiver.join()

    def test_while_sqs_is_away_nothing_counts_as_drained(self, gateway: FakeGateway) -> None:
        found = pulled(gateway, idle=3_600)
        found.receiver._empty_since = time.monotonic() - 7_200
        gateway.inbox.append(SqsUnavailable("away"))
        found.receiver.start()
        eventually(lambda: len(gateway.asked) >= 3, 30, "it was asked again")
        assert not found.end.asked
        found.receiver.stop()
        found.receiver.join()
