"""A listener's polls: which queue is polled when, whatever SQS answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from bson import ObjectId

from jobs.consumer.held import Batch
from jobs.listener.orders import Target
from jobs.listener.polls import BEGUN_AT_ONCE, REFUSED_SECONDS, Polls
from queues.sqs import ReceivedMessage
from queues.sqs.express.protocol import Call
from queuesite.foundation.errors import QueueMissing, QueuesiteError, SqsDenied, SqsUnavailable

AWAY = SqsUnavailable("SQS does not answer")


class Desk:
    """Polls whose requests the test answers."""

    def __init__(self) -> None:
        self.now = 100.0
        self.open: list[tuple[Call[Any], Callable[[Any, QueuesiteError | None], None]]] = []
        self.brought: list[Batch] = []
        self.missing: list[str] = []
        self.heard_from: float | None = None
        self.polls = Polls(
            self._request,
            self.brought.append,
            self.missing.append,
            lambda: self.now,
            lambda: self.now if self.heard_from is None else self.heard_from,
            ("SentTimestamp", "AWSTraceHeader"),
        )

    def _request(self, call: Call[Any], done: Callable[[Any, QueuesiteError | None], None]) -> None:
        self.open.append((call, done))

    def hold(self, *names: str, window: int = 30) -> None:
        self.polls.hold([Target(ObjectId(), f"http://sqs/{name}", window) for name in names], ())

    def drop(self, *names: str) -> None:
        self.polls.hold((), [f"http://sqs/{name}" for name in names])

    def begin(self) -> list[str]:
        """Begin what is due: the names of all queues with an open poll."""
        self.polls.begin_due()
        return sorted(call.queue_url.rpartition("/")[2] for call, _ in self.open)

    def answer(self, *found: str, error: QueuesiteError | None = None) -> None:
        """Answer the oldest request."""
        _, done = self.open.pop(0)
        done(None if error else [ReceivedMessage(body, f"handle-{body}", body, {}, {}) for body in found], error)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_each_queue_has_one_poll_after_another(desk: Desk) -> None:
    desk.hold("a", "b")
    assert desk.begin() == ["a", "b"]
    assert desk.begin() == ["a", "b"]
    desk.answer()
    assert desk.begin() == ["a", "b"]
    assert desk.polls.requests["http://sqs/a", "listen"] == 2


def test_sqs_is_asked_for_the_attributes_that_middleware_names(desk: Desk) -> None:
    desk.hold("a")
    desk.begin()
    call, _ = desk.open[0]
    assert b'["SentTimestamp","AWSTraceHeader"]' in call.body


def test_what_comes_is_brought_and_its_queue_is_left_alone(desk: Desk) -> None:
    desk.hold("a")
    desk.begin()
    desk.now += 7
    desk.answer("one", "two")
    (batch,) = desk.brought
    assert [message.body for message in batch.messages] == ["one", "two"]
    assert (batch.asked_at, batch.answered_at, batch.window) == (100.0, 107.0, 30)
    assert desk.begin() == []
    desk.hold("a")
    assert desk.begin() == ["a"]


def test_visibility_counts_from_when_a_frozen_process_last_looked(desk: Desk) -> None:
    desk.hold("a")
    desk.begin()
    desk.heard_from = 101.0
    desk.now += 25
    desk.answer("one")
    assert desk.brought[0].answered_at == 101.0


def test_a_queue_that_is_let_go_has_its_poll_to_the_end(desk: Desk) -> None:
    desk.hold("a")
    desk.begin()
    desk.drop("a")
    desk.answer("late")
    assert len(desk.brought) == 1
    assert desk.begin() == []


def test_a_queue_that_is_taken_again_meanwhile_has_no_second_poll(desk: Desk) -> None:
    desk.hold("a")
    desk.begin()
    desk.drop("a")
    desk.hold("a", window=5)
    assert desk.begin() == ["a"]
    desk.answer()
    assert desk.begin() == ["a"]
    assert b'"VisibilityTimeout":5' in desk.open[0][0].body


def test_while_sqs_is_away_one_poll_looks_for_it(desk: Desk) -> None:
    desk.hold("a", "b", "c")
    desk.begin()
    for _ in range(3):
        desk.answer(error=AWAY)
    assert desk.begin() == []
    for _ in range(4):
        desk.now += 10
        assert len(desk.begin()) == 1
        desk.answer(error=AWAY)
    desk.now += 10
    assert len(desk.begin()) == 1
    desk.answer()
    assert desk.begin() == ["a", "b", "c"]


def test_a_fifo_queue_is_asked_again_for_what_got_lost(desk: Desk) -> None:
    desk.hold("a.fifo")
    desk.begin()
    first = desk.open[0][0].body
    desk.answer(error=AWAY)
    desk.now += 10
    desk.begin()
    assert desk.open[0][0].body == first
    desk.answer()
    desk.begin()
    assert desk.open[0][0].body != first
    assert b"ReceiveRequestAttemptId" in first


def test_a_queue_that_is_refused_waits_alone(desk: Desk) -> None:
    desk.hold("a", "b")
    desk.begin()
    desk.answer(error=SqsDenied("no permission"))
    assert desk.begin() == ["b"]
    desk.now += 2 * REFUSED_SECONDS
    assert desk.begin() == ["a", "b"]


def test_a_missing_queue_is_reported_and_left_alone(desk: Desk) -> None:
    desk.hold("a")
    desk.begin()
    desk.answer(error=QueueMissing("no such queue"))
    desk.now += 1_000
    assert desk.begin() == []
    assert desk.missing == ["http://sqs/a"]


def test_messages_are_given_back(desk: Desk) -> None:
    desk.hold("a")
    desk.begin()
    desk.answer("one")
    desk.polls.give_back(desk.brought[0])
    call, done = desk.open[0]
    assert call.operation == "ChangeMessageVisibilityBatch"
    assert b'"ReceiptHandle":"handle-one","VisibilityTimeout":0' in call.body
    done(None, AWAY)  # nothing is to be done about it: their visibility runs out


def test_many_are_not_begun_in_one_go(desk: Desk) -> None:
    desk.hold(*map(str, range(BEGUN_AT_ONCE + 5)))
    assert len(desk.begin()) == BEGUN_AT_ONCE
    assert len(desk.begin()) == BEGUN_AT_ONCE + 5
