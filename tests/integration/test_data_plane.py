"""What every data plane must do alike: the real gateway, and the one in memory that stands in for it in tests."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from queues.settings import FIFO_ONLY
from queues.sqs import MAX_VISIBILITY_SECONDS, DataPlane, Depth, OutgoingMessage, ReceivedMessage, redrive_policy
from queues.sqs.gateway import SqsGateway
from queues.sqs.memory import ManualClock, MemorySqs
from queues.sqs.refusals import BatchFailure
from queuesite.foundation.config import get_config
from queuesite.foundation.errors import QueueMissing
from tests.conftest import Configure
from tests.support.waiting import eventually

#: Seconds that a real server may take for what is expected of it.
PATIENCE = 30.0


@dataclass
class Subject:
    """A data plane, how a queue is made on it, and how its time passes."""

    plane: DataPlane
    create: Callable[..., str]
    #: Let a part of a second pass, on the clock that the plane goes by.
    tick: Callable[[], None]

    def comes(self, url: str, count: int, **options: Any) -> list[ReceivedMessage]:
        """Receive until `count` messages came."""
        found: list[ReceivedMessage] = []

        def enough() -> bool:
            self.tick()
            found.extend(self.plane.receive(url, limit=10, wait=0, **options))
            return len(found) >= count

        eventually(enough, PATIENCE, f"{count} messages come")
        return found

    def holds(self, url: str, depth: Depth) -> None:
        """Wait until the queue holds this."""

        def held() -> bool:
            self.tick()
            return self.plane.depth(url) == depth

        eventually(held, PATIENCE, f"the queue holds {depth}")


@pytest.fixture(params=["memory", "express", "boto3"])
def subject(request: pytest.FixtureRequest) -> Subject:
    if request.param == "memory":
        clock = ManualClock()
        memory = MemorySqs(clock)
        return Subject(memory, memory.create_queue, lambda: clock.advance(0.3))
    request.getfixturevalue("sqs")
    configure: Configure = request.getfixturevalue("configure")
    gateway = SqsGateway(configure(sqs_transport=request.param))

    def create(
        name: str,
        *,
        visibility: int = 30,
        delay: int = 0,
        dead_letters: str | None = None,
        max_receive_count: int = 5,
        **fifo: bool,
    ) -> str:
        attributes = {"VisibilityTimeout": str(visibility), "DelaySeconds": str(delay)}
        if name.endswith(".fifo"):
            attributes["FifoQueue"] = "true"
            settings = {"content_based_deduplication": fifo.get("content_based"), **fifo}
            for setting, one in FIFO_ONLY.items():
                if (value := settings.get(setting)) is not None and one.sqs is not None:
                    attributes |= one.sqs.attributes(value)
        if dead_letters is not None:
            arn = gateway.attributes(dead_letters, ("QueueArn",))["QueueArn"]
            attributes["RedrivePolicy"] = redrive_policy(arn, max_receive_count)
        return gateway.create_queue(get_config().queue_name_prefix + name, attributes)

    return Subject(gateway, create, lambda: None)


def bodies(messages: list[ReceivedMessage]) -> list[str]:
    return [message.body for message in messages]


def grouped(group: str, *names: str) -> list[OutgoingMessage]:
    return [OutgoingMessage(name, group=group, deduplication_id=name) for name in names]


def test_a_message_arrives_as_it_was_sent(subject: Subject) -> None:
    url = subject.create("orders")
    attributes = {"kind": {"DataType": "String", "StringValue": "ä"}}

    result = subject.plane.send(url, [OutgoingMessage("body", attributes)])
    [message] = subject.comes(url, 1)

    assert (message.message_id, message.body) == (result.message_ids[0], "body")
    assert message.attributes["kind"]["StringValue"] == "ä"
    assert (message.receive_count, message.group) == (1, None)
    assert int(message.system["SentTimestamp"]) > 0


def test_no_more_are_given_than_were_asked_for(subject: Subject) -> None:
    url = subject.create("orders")
    subject.plane.send(url, [OutgoingMessage(str(number)) for number in range(10)])

    assert 1 <= len(subject.plane.receive(url, limit=3, wait=1)) <= 3


def test_what_is_held_is_hidden_and_counted(subject: Subject) -> None:
    url = subject.create("orders")
    subject.plane.send(url, [OutgoingMessage("a"), OutgoingMessage("b"), OutgoingMessage("later", delay=900)])

    assert len(subject.plane.receive(url, limit=1, wait=1)) == 1

    subject.holds(url, Depth(1, 1, 1))


def test_what_is_not_deleted_comes_again(subject: Subject) -> None:
    url = subject.create("orders", visibility=1)
    subject.plane.send(url, [OutgoingMessage("again")])

    [first] = subject.comes(url, 1)
    [second] = subject.comes(url, 1)

    assert (second.message_id, second.receive_count) == (first.message_id, 2)
    assert second.receipt_handle != first.receipt_handle


def test_what_is_deleted_is_gone(subject: Subject) -> None:
    url = subject.create("orders")
    subject.plane.send(url, [OutgoingMessage("a"), OutgoingMessage("b")])

    received = subject.comes(url, 2)

    assert subject.plane.delete(url, [message.receipt_handle for message in received]) == ()
    subject.holds(url, Depth(0, 0, 0))


def test_visibility_zero_gives_a_message_back(subject: Subject) -> None:
    url = subject.create("orders")
    subject.plane.send(url, [OutgoingMessage("again")])
    [first] = subject.comes(url, 1)

    assert subject.plane.change_visibility(url, [(first.receipt_handle, 0)]) == ()

    [second] = subject.comes(url, 1)
    assert second.receive_count == 2


def test_a_longer_visibility_keeps_a_message_hidden(subject: Subject) -> None:
    url = subject.create("orders", visibility=30)
    subject.plane.send(url, [OutgoingMessage("kept")])
    [message] = subject.comes(url, 1)

    assert subject.plane.change_visibility(url, [(message.receipt_handle, 600)]) == ()

    for _ in range(150):  # in memory these are 45 s
        subject.tick()
    assert subject.plane.receive(url, limit=1, wait=0) == []


def test_a_visibility_of_ones_own(subject: Subject) -> None:
    url = subject.create("orders", visibility=600)
    subject.plane.send(url, [OutgoingMessage("again")])

    assert bodies(subject.comes(url, 1, visibility=1)) == ["again"]
    assert bodies(subject.comes(url, 1)) == ["again"]


def test_handles_of_nobody_are_refused_by_place(subject: Subject) -> None:
    url = subject.create("orders")
    subject.plane.send(url, [OutgoingMessage("a")])
    [message] = subject.comes(url, 1)

    unchanged = subject.plane.change_visibility(url, [(message.receipt_handle, 10), ("no-such-handle", 10)])
    undeleted = subject.plane.delete(url, [message.receipt_handle, "no-such-handle"])

    for failures in (unchanged, undeleted):
        [failure] = failures
        assert (failure.index, failure.gone, failure.transient) == (1, True, False)


def test_a_handle_of_a_message_that_is_gone_is_of_no_use(subject: Subject) -> None:
    url = subject.create("orders")
    subject.plane.send(url, [OutgoingMessage("a")])
    [message] = subject.comes(url, 1)
    subject.plane.delete(url, [message.receipt_handle])

    [failure] = subject.plane.change_visibility(url, [(message.receipt_handle, 10)])

    assert failure.gone


def test_a_fifo_group_comes_in_order_and_waits_for_its_first(subject: Subject) -> None:
    url = subject.create("orders.fifo")
    subject.plane.send(url, grouped("g", "1", "2", "3"))
    subject.plane.send(url, grouped("h", "4"))

    first = subject.comes(url, 4)
    assert [message.body for message in first if message.group == "g"] == ["1", "2", "3"]

    held = {message.body: message.receipt_handle for message in first}
    subject.plane.change_visibility(url, [(held["2"], 0), (held["3"], 0)])
    assert subject.plane.receive(url, limit=10, wait=0) == []  # the first of the group is still held

    subject.plane.delete(url, [held["1"]])
    assert bodies(subject.comes(url, 2)) == ["2", "3"]


def test_a_duplicate_is_dropped(subject: Subject) -> None:
    url = subject.create("orders.fifo")

    for body in ("first", "second"):
        subject.plane.send(url, [OutgoingMessage(body, group="g", deduplication_id="same")])

    assert bodies(subject.comes(url, 1)) == ["first"]
    assert subject.plane.depth(url).visible == 0


def test_equal_bodies_are_duplicates_by_their_content(subject: Subject) -> None:
    url = subject.create("orders.fifo", content_based=True)

    result = subject.plane.send(url, [OutgoingMessage(body, group="g") for body in ("same", "same", "other")])

    assert result.failures == ()
    assert bodies(subject.comes(url, 2)) == ["same", "other"]
    assert subject.plane.depth(url).visible == 0


def test_high_throughput_deduplicates_within_a_group(subject: Subject) -> None:
    url = subject.create("orders.fifo", high_throughput=True)

    for group in ("g", "h", "g"):
        subject.plane.send(url, [OutgoingMessage("a", group=group, deduplication_id="same")])

    assert sorted(str(message.group) for message in subject.comes(url, 2)) == ["g", "h"]
    assert subject.plane.depth(url).visible == 0


def test_a_fifo_message_needs_an_id_or_a_queue_that_makes_one(subject: Subject) -> None:
    url = subject.create("orders.fifo")

    [failure] = subject.plane.send(url, [OutgoingMessage("a", group="g")]).failures

    assert failure.code == "InvalidParameterValue"


def test_a_message_moves_to_the_dead_letters_after_its_receives(subject: Subject) -> None:
    dead = subject.create("orders-dlq")
    url = subject.create("orders", dead_letters=dead, max_receive_count=2)
    subject.plane.send(url, [OutgoingMessage("poison")])
    for count in (1, 2):
        assert [message.receive_count for message in subject.comes(url, 1, visibility=0)] == [count]

    def moved() -> bool:
        subject.tick()
        assert subject.plane.receive(url, limit=1, wait=0, visibility=0) == []
        return subject.plane.depth(dead).visible == 1

    eventually(moved, PATIENCE, "the message is a dead letter")
    assert bodies(subject.comes(dead, 1)) == ["poison"]


def test_a_queue_that_is_not_there_is_named(subject: Subject) -> None:
    gone = subject.create("orders") + "-gone"
    plane = subject.plane
    operations: list[Callable[[], object]] = [
        lambda: plane.send(gone, [OutgoingMessage("a")]),
        lambda: plane.receive(gone, limit=1, wait=0),
        lambda: plane.delete(gone, ["h"]),
        lambda: plane.change_visibility(gone, [("h", 1)]),
        lambda: plane.depth(gone),
    ]
    for operation in operations:
        with pytest.raises(QueueMissing, match="orders-gone"):
            operation()


def test_requests_are_counted(subject: Subject) -> None:
    url = subject.create("orders")
    before = subject.plane.requests

    subject.plane.send(url, [OutgoingMessage("a")])
    subject.plane.receive(url, limit=1, wait=0)

    assert subject.plane.requests == before + 2


class TestAsAwsDoesIt:
    """In memory only: the embedded server does not do as AWS documents."""

    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    def sqs(self, clock: ManualClock) -> MemorySqs:
        return MemorySqs(clock)

    def one(self, sqs: MemorySqs, url: str) -> ReceivedMessage:
        sqs.send(url, [OutgoingMessage("a")])
        [message] = sqs.receive(url, limit=1, wait=0)
        return message

    def test_twelve_hours_count_from_the_receive(self, sqs: MemorySqs, clock: ManualClock) -> None:
        url = sqs.create_queue("orders", visibility=100)
        message = self.one(sqs, url)
        clock.advance(50)

        [failure] = sqs.change_visibility(url, [(message.receipt_handle, MAX_VISIBILITY_SECONDS)])
        assert (failure.beyond_limit, failure.gone) == (True, False)

        assert sqs.change_visibility(url, [(message.receipt_handle, MAX_VISIBILITY_SECONDS - 50)]) == ()

    def test_an_expired_handle_changes_nothing_and_deletes(self, sqs: MemorySqs, clock: ManualClock) -> None:
        url = sqs.create_queue("orders", visibility=5)
        message = self.one(sqs, url)
        clock.advance(6)

        failure: BatchFailure
        [failure] = sqs.change_visibility(url, [(message.receipt_handle, 10)])
        assert failure.gone
        assert sqs.delete(url, [message.receipt_handle]) == ()
        assert sqs.depth(url).total == 0

    def test_a_repeated_attempt_is_given_the_same(self, sqs: MemorySqs) -> None:
        url = sqs.create_queue("orders.fifo")
        sqs.send(url, grouped("g", "1", "2"))

        lost = sqs.receive(url, limit=10, wait=0, attempt_id="x")
        assert sqs.receive(url, limit=10, wait=0, attempt_id="y") == []
        again = sqs.receive(url, limit=10, wait=0, attempt_id="x")

        assert again == lost
        assert bodies(again) == ["1", "2"]

    def test_a_fifo_message_needs_a_group(self, sqs: MemorySqs) -> None:
        [failure] = sqs.send(sqs.create_queue("orders.fifo"), [OutgoingMessage("a")]).failures
        assert failure.code == "MissingParameter"

    def test_a_long_poll_ends_with_a_message_or_by_the_clock(self, sqs: MemorySqs, clock: ManualClock) -> None:
        url = sqs.create_queue("orders")
        answers: list[list[ReceivedMessage]] = []

        def poll() -> None:
            answers.append(sqs.receive(url, limit=1, wait=20))

        polling = threading.Thread(target=poll)
        polling.start()
        sqs.send(url, [OutgoingMessage("a")])
        polling.join(PATIENCE)
        assert [bodies(answer) for answer in answers] == [["a"]]

        polling = threading.Thread(target=poll)
        polling.start()
        eventually(lambda: sqs.requests == 3, PATIENCE, "the second poll is under way")
        clock.advance(20)
        polling.join(PATIENCE)
        assert answers[1] == []
