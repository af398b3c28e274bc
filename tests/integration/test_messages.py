"""Sending and redriving, against a real SQS and with faults between."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from queues import messages, moving, repository, services
from queues.messages import RedriveReport
from queues.models import Queue
from queues.sqs import MAX_MESSAGE_BYTES, OutgoingMessage, ReceivedMessage, batches, get_gateway
from queuesite.foundation.errors import Conflict, InvalidInput, NotFound, SqsDenied, SqsRejected, SqsUnavailable
from tests.support.faults import Forward, SqsProxy
from tests.support.values import given
from tests.support.waiting import eventually

pytestmark = pytest.mark.usefixtures("queues")

Parameters = dict[str, Any]


def quiet(queue: Queue) -> None:
    """Have the queue count as looked at."""
    woken_at = services.get(queue.name).wake_requested_at
    if woken_at is not None:
        repository.served(queue.id, woken_at)
    assert not services.get(queue.name).wake_pending


def drain(url: str, count: int) -> list[ReceivedMessage]:
    """Receive and delete messages until `count` came, and then for as long as more come at once."""
    gateway = get_gateway()
    found: list[ReceivedMessage] = []

    def enough() -> bool:
        while received := gateway.receive(url, limit=10, wait=0):
            found.extend(received)
            gateway.delete(url, [m.receipt_handle for m in received])
        return len(found) >= count

    eventually(enough, 20, f"{count} messages came")
    return found


def bodies(url: str, count: int) -> list[str]:
    return [m.body for m in drain(url, count)]


def dead_letter_url(queue: Queue) -> str:
    return given(queue.dlq_url)


def bury(queue: Queue, *letters: OutgoingMessage) -> None:
    """Put messages into a queue's dead-letter queue."""
    for first in range(0, len(letters), 10):
        result = get_gateway().send(dead_letter_url(queue), letters[first : first + 10])
        assert not result.failures


class TestSend:
    def test_messages_arrive_and_the_queue_is_woken(self) -> None:
        queue = services.create("orders")
        quiet(queue)

        report = messages.send("orders", [OutgoingMessage(f"m{i}") for i in range(25)])

        assert report.sent == 25
        assert report.failures == {}
        assert sorted(report.message_ids) == list(range(25))
        assert services.get("orders").wake_pending
        received = drain(queue.queue_url, 25)
        assert {m.message_id: m.body for m in received} == {report.message_ids[i]: f"m{i}" for i in range(25)}

    def test_progress_adds_up(self) -> None:
        services.create("orders")
        steps: list[int] = []

        messages.send("orders", [OutgoingMessage("x")] * 205, steps.append)

        assert sum(steps) == 205

    def test_batches_are_full(self, faulty: SqsProxy) -> None:
        services.create("orders")

        messages.send("orders", [OutgoingMessage("x")] * 25)

        sizes = Counter(len(body["Entries"]) for action, body in faulty.requests if action == "SendMessageBatch")
        assert sizes == {10: 2, 5: 1}

    def test_a_batch_holds_one_mebibyte_at_the_most(self, faulty: SqsProxy) -> None:
        queue = services.create("orders")
        half = MAX_MESSAGE_BYTES // 2

        report = messages.send("orders", [OutgoingMessage("x" * half)] * 5)

        assert report.sent == 5
        sizes = Counter(len(body["Entries"]) for action, body in faulty.requests if action == "SendMessageBatch")
        assert sizes == {2: 2, 1: 1}
        assert len(bodies(queue.queue_url, 5)) == 5

    def test_message_of_exactly_one_mebibyte_is_sent(self) -> None:
        queue = services.create("orders")
        body = "é" * (MAX_MESSAGE_BYTES // 2)

        messages.send("orders", [OutgoingMessage(body)])

        assert bodies(queue.queue_url, 1) == [body]

    def test_delay_arrives(self) -> None:
        services.create("orders")

        messages.send("orders", [OutgoingMessage("later", delay=900)])

        eventually(lambda: services.size("orders").depth.delayed == 1, 60, "one message is delayed")

    def test_fifo_order_is_kept_over_many_batches(self) -> None:
        queue = services.create("orders.fifo")
        sent = [f"m{i:03d}" for i in range(57)]

        report = messages.send("orders.fifo", [OutgoingMessage(b, group="g") for b in sent])

        assert report.sent == 57
        assert bodies(queue.queue_url, 57) == sent

    def test_equal_bodies_are_no_duplicates_on_a_fifo_queue(self) -> None:
        queue = services.create("orders.fifo")

        messages.send("orders.fifo", [OutgoingMessage("same", group="g")] * 3)

        assert bodies(queue.queue_url, 3) == ["same"] * 3

    def test_equal_bodies_are_duplicates_if_the_queue_goes_by_content(self) -> None:
        queue = services.create("orders.fifo", settings={"content_based_deduplication": True})

        messages.send("orders.fifo", [OutgoingMessage(body, group="g") for body in ("same", "same", "other")])
        messages.send("orders.fifo", [OutgoingMessage("copied", group="g")] * 2, copies=True)

        assert bodies(queue.queue_url, 4) == ["same", "other", "copied", "copied"]

    def test_deduplication_id_of_the_caller_is_kept(self) -> None:
        queue = services.create("orders.fifo")
        twice = [OutgoingMessage(body, group="g", deduplication_id="d") for body in ("first", "second")]

        messages.send("orders.fifo", twice)

        assert bodies(queue.queue_url, 1) == ["first"]

    def test_nothing_to_send(self) -> None:
        services.create("orders")

        assert messages.send("orders", []).sent == 0

    def test_unknown_queue(self) -> None:
        with pytest.raises(NotFound):
            messages.send("nothing", [OutgoingMessage("x")])

    @pytest.mark.parametrize(
        ("name", "bad", "words"),
        [
            ("orders", OutgoingMessage(""), "empty body"),
            ("orders", OutgoingMessage("a\x00b"), "U+0000"),
            ("orders", OutgoingMessage("a\x0bb"), "U+000B"),
            ("orders", OutgoingMessage("a\ud800b"), "U+D800"),
            ("orders", OutgoingMessage("a\ufffeb"), "U+FFFE"),
            ("orders", OutgoingMessage("a\uffffb"), "U+FFFF"),
            ("orders", OutgoingMessage("x" * (MAX_MESSAGE_BYTES + 1)), "1,048,577 bytes"),
            ("orders", OutgoingMessage("é" * (MAX_MESSAGE_BYTES // 2) + "x"), "1,048,577 bytes"),
            (
                "orders",
                OutgoingMessage("x" * MAX_MESSAGE_BYTES, {"a": {"DataType": "String", "StringValue": "b"}}),
                "with its attributes",
            ),
            ("orders", OutgoingMessage("x", delay=901), "delay 901 is out of range"),
            ("orders", OutgoingMessage("x", delay=-1), "delay -1 is out of range"),
            ("orders.fifo", OutgoingMessage("x"), "needs a message group"),
            ("orders.fifo", OutgoingMessage("x", group="g", delay=5), "takes no delay"),
        ],
    )
    def test_bad_message_is_refused_before_anything_is_sent(
        self, faulty: SqsProxy, name: str, bad: OutgoingMessage, words: str
    ) -> None:
        services.create(name)
        good = [OutgoingMessage("fine", group="g" if name.endswith(".fifo") else None)] * 10

        with pytest.raises(InvalidInput) as caught:
            messages.send(name, [*good, bad])

        assert str(caught.value).startswith("message 11 of 11")
        assert words in str(caught.value)
        assert faulty.count("SendMessageBatch") == 0

    @pytest.mark.parametrize("body", ["\t\n\r", " ", "\ud7ff", "\ue000", "\ufffd", "\U00010000", "\U0010ffff", "\x7f"])
    def test_odd_characters_that_sqs_takes(self, body: str) -> None:
        queue = services.create("orders")

        messages.send("orders", [OutgoingMessage(f"{body}.")])

        assert bodies(queue.queue_url, 1) == [f"{body}."]

    def test_entries_that_sqs_could_not_take_are_sent_again(self, faulty: SqsProxy) -> None:
        queue = services.create("orders")
        faulty.answer("SendMessageBatch", failing("InternalError", sender=False, places={1, 3}), times=2)

        report = messages.send("orders", [OutgoingMessage(f"m{i}") for i in range(5)])

        assert report.sent == 5
        assert report.failures == {}
        assert sorted(report.message_ids) == [0, 1, 2, 3, 4]
        assert sorted(bodies(queue.queue_url, 5)) == ["m0", "m1", "m2", "m3", "m4"]

    def test_entries_that_fail_for_good_are_reported_by_their_place(self, faulty: SqsProxy) -> None:
        queue = services.create("orders")
        faulty.answer("SendMessageBatch", failing("InvalidMessageContents", sender=True, places={2}))

        report = messages.send("orders", [OutgoingMessage(f"m{i}") for i in range(15)])

        assert report.failures == {
            2: "InvalidMessageContents: made up",
            12: "InvalidMessageContents: made up",
        }
        assert report.sent == 13
        assert faulty.count("SendMessageBatch") == 2
        assert len(bodies(queue.queue_url, 13)) == 13

    def test_entry_that_is_refused_again_and_again_is_given_up(
        self, faulty: SqsProxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(batches, "SEND_ATTEMPTS", 3)
        services.create("orders")
        faulty.answer("SendMessageBatch", failing("InternalError", sender=False, places={0}))

        report = messages.send("orders", [OutgoingMessage("m0"), OutgoingMessage("m1")])

        assert report.sent == 1
        assert report.failures == {0: "InternalError: made up"}
        assert faulty.count("SendMessageBatch") == 3

    def test_failure_half_way_ends_the_send_and_wakes_for_what_arrived(self, faulty: SqsProxy) -> None:
        queue = services.create("orders")
        quiet(queue)
        faulty.answer("SendMessageBatch", lambda parameters, forward: forward(parameters), times=1)
        faulty.refuse("SendMessageBatch", "ExpiredToken", status=403)
        steps: list[int] = []

        with pytest.raises(SqsDenied, match="ExpiredToken"):
            messages.send("orders", [OutgoingMessage("x")] * 400, steps.append)

        assert sum(steps) <= 10
        assert faulty.count("SendMessageBatch") < 40
        assert services.get("orders").wake_pending
        assert len(bodies(queue.queue_url, 10)) == 10

    def test_consumers_are_woken_while_the_rest_is_being_sent(self, faulty: SqsProxy) -> None:
        queue = services.create("orders")
        quiet(queue)
        woken = threading.Event()

        def look(more: int) -> None:
            if services.get("orders").wake_pending:
                woken.set()

        messages.send("orders", [OutgoingMessage("x")] * 400, look)

        assert woken.is_set()

    def test_queue_that_vanished(self) -> None:
        queue = services.create("orders")
        get_gateway().delete_queue(queue.queue_url)

        with pytest.raises(Exception, match="sqs sync"):
            messages.send("orders", [OutgoingMessage("x")])


def failing(code: str, *, sender: bool, places: set[int]) -> Callable[[Parameters, Forward], Parameters]:
    """An answer to SendMessageBatch in which the entries at these places fail; the others are sent."""

    def answer(parameters: Parameters, forward: Forward) -> Parameters:
        entries = parameters["Entries"]
        bad = [e for i, e in enumerate(entries) if i in places]
        good = [e for i, e in enumerate(entries) if i not in places]
        sent = forward({**parameters, "Entries": good}).get("Successful", []) if good else []
        failed = [{"Id": e["Id"], "Code": code, "Message": "made up", "SenderFault": sender} for e in bad]
        return {"Successful": sent, "Failed": failed}

    return answer


class TestRedriveByHand:
    def test_dead_letters_go_back_and_the_queue_is_woken(self) -> None:
        queue = services.create("orders")
        bury(queue, *[OutgoingMessage(f"m{i}") for i in range(23)])
        quiet(queue)
        steps: list[int] = []

        report = messages.redrive("orders", steps.append)

        assert report == RedriveReport(23, by_sqs=False)
        assert sum(steps) == 23
        assert services.get("orders").wake_pending
        assert sorted(bodies(queue.queue_url, 23)) == sorted(f"m{i}" for i in range(23))
        assert services.size("orders").dead_letters == 0

    def test_attributes_go_along_except_the_reason_of_a_rejection(self) -> None:
        queue = services.create("orders")
        bury(
            queue,
            OutgoingMessage(
                "m",
                {
                    "kind": {"DataType": "String", "StringValue": "é"},
                    "raw": {"DataType": "Binary", "BinaryValue": b"\x00\x01"},
                    f"{messages.REJECTION_PREFIX}Reason": {"DataType": "String", "StringValue": "no"},
                },
            ),
        )

        messages.redrive("orders")

        [message] = drain(queue.queue_url, 1)
        assert sorted(message.attributes) == ["kind", "raw"]
        assert message.attributes["kind"]["StringValue"] == "é"
        assert message.attributes["raw"]["BinaryValue"] == b"\x00\x01"

    def test_letters_larger_together_than_a_batch_may_be(self) -> None:
        queue = services.create("orders")
        large = [str(i) * (MAX_MESSAGE_BYTES * 2 // 3) for i in range(3)]
        for body in large:
            bury(queue, OutgoingMessage(body))

        assert messages.redrive("orders").moved == 3

        assert sorted(bodies(queue.queue_url, 3)) == large

    def test_fifo_letters_keep_their_groups_and_order(self) -> None:
        queue = services.create("orders.fifo")
        letters = [
            OutgoingMessage(f"{group}{i}", group=group, deduplication_id=f"{group}{i}")
            for i in range(6)
            for group in ("a", "b")
        ]
        bury(queue, *letters)

        assert messages.redrive("orders.fifo").moved == 12

        received = drain(queue.queue_url, 12)
        for group in ("a", "b"):
            assert [m.body for m in received if m.group == group] == [f"{group}{i}" for i in range(6)]

    def test_fifo_letter_goes_back_although_it_was_sent_a_moment_ago(self) -> None:
        queue = services.create("orders.fifo")
        messages.send("orders.fifo", [OutgoingMessage("m", group="g", deduplication_id="d")])
        drain(queue.queue_url, 1)
        bury(queue, OutgoingMessage("m", group="g", deduplication_id="d"))

        messages.redrive("orders.fifo")

        assert bodies(queue.queue_url, 1) == ["m"]

    def test_nothing_to_move(self) -> None:
        services.create("orders")

        assert messages.redrive("orders").moved == 0

    def test_queue_without_dead_letter_queue(self) -> None:
        services.create("orders", with_dlq=False)

        with pytest.raises(InvalidInput, match="'orders' has no dead-letter queue"):
            messages.redrive("orders")

    def test_no_more_is_moved_than_was_there_at_the_start(self, faulty: SqsProxy) -> None:
        queue = services.create("orders")
        bury(queue, OutgoingMessage("first"), OutgoingMessage("second"))

        def bury_another(parameters: Parameters, forward: Forward) -> Parameters:
            forward({"QueueUrl": dead_letter_url(queue), "Entries": [{"Id": "0", "MessageBody": "again"}]})
            return forward(parameters)

        faulty.answer("SendMessageBatch", bury_another)

        assert messages.redrive("orders").moved == 2

    def test_interruption_before_the_send_loses_nothing(self, faulty: SqsProxy) -> None:
        queue = services.create("orders")
        bury(queue, *[OutgoingMessage(f"m{i}") for i in range(15)])
        faulty.answer("SendMessageBatch", lambda parameters, forward: forward(parameters), times=1)
        faulty.refuse("SendMessageBatch", "ExpiredToken", status=403)

        with pytest.raises(SqsDenied):
            messages.redrive("orders")

        eventually(lambda: services.size("orders").dead_letters == 5, 60, "what was not sent is a dead letter still")
        assert len(bodies(queue.queue_url, 10)) == 10

    def test_interruption_between_send_and_delete_loses_nothing(self, faulty: SqsProxy) -> None:
        queue = services.create("orders")
        letters = [f"m{i}" for i in range(5)]
        bury(queue, *[OutgoingMessage(body) for body in letters])
        faulty.refuse("DeleteMessageBatch", "ExpiredToken", status=403)

        with pytest.raises(SqsDenied):
            messages.redrive("orders")

        faulty.heal()
        assert services.size("orders").dead_letters == 5
        assert sorted(bodies(queue.queue_url, 5)) == letters
        assert services.get("orders").wake_pending

    def test_fifo_letter_that_was_sent_but_not_deleted_is_not_doubled(self, faulty: SqsProxy) -> None:
        queue = services.create("orders.fifo")
        bury(queue, OutgoingMessage("m", group="g", deduplication_id="d"))
        faulty.refuse("DeleteMessageBatch", "ExpiredToken", status=403)
        with pytest.raises(SqsDenied):
            messages.redrive("orders.fifo")
        faulty.heal()
        give_back(faulty, dead_letter_url(queue))

        assert messages.redrive("orders.fifo").moved == 1

        assert bodies(queue.queue_url, 1) == ["m"]

    def test_connection_cut_after_the_send_loses_nothing(
        self, faulty: SqsProxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        queue = services.create("orders")
        bury(queue, *[OutgoingMessage(f"m{i}") for i in range(5)])
        faulty.cut("SendMessageBatch", after=True, times=1)
        with monkeypatch.context() as patch:
            patch.setattr("queues.moving.HIDDEN_SECONDS", 0)
            with pytest.raises(SqsUnavailable, match="may have been sent"):  # so they are not sent again unasked
                messages.redrive("orders")

        messages.redrive("orders")

        assert sorted(bodies(queue.queue_url, 10)) == sorted(f"m{i}" for i in range(5) for _ in range(2))
        assert services.size("orders").dead_letters == 0

    def test_letters_that_sqs_refuses_stay(self, faulty: SqsProxy) -> None:
        queue = services.create("orders")
        bury(queue, *[OutgoingMessage(f"m{i}") for i in range(5)])
        faulty.answer("SendMessageBatch", failing("InvalidMessageContents", sender=True, places={1}))

        with pytest.raises(SqsRejected, match=r"refused 1 messages .* after 4 were moved"):
            messages.redrive("orders")

        assert services.size("orders").dead_letters == 1
        assert len(bodies(queue.queue_url, 4)) == 4

    def test_letters_that_sqs_throttles_are_sent_again(self, faulty: SqsProxy) -> None:
        queue = services.create("orders")
        bury(queue, *[OutgoingMessage(f"m{i}") for i in range(5)])
        faulty.answer("SendMessageBatch", failing("RequestThrottled", sender=True, places={1, 3}), times=1)

        assert messages.redrive("orders").moved == 5

        assert sorted(bodies(queue.queue_url, 5)) == [f"m{i}" for i in range(5)]

    def test_letters_are_moved_though_the_counts_are_late(self, faulty: SqsProxy) -> None:
        queue = services.create("orders")
        bury(queue, OutgoingMessage("m"))

        def nothing_yet(parameters: Parameters, forward: Forward) -> Parameters:
            found = forward(parameters)["Attributes"]
            return {"Attributes": {k: "0" if k.startswith("Approximate") else v for k, v in found.items()}}

        faulty.answer("GetQueueAttributes", nothing_yet)

        assert messages.redrive("orders").moved == 1

    def test_letter_that_comes_back_meanwhile_is_left_visible(self, faulty: SqsProxy) -> None:
        queue = services.create("orders")
        bury(queue, OutgoingMessage("m"))

        def bury_another(parameters: Parameters, forward: Forward) -> Parameters:
            forward({"QueueUrl": dead_letter_url(queue), "Entries": [{"Id": "0", "MessageBody": "again"}]})
            return forward(parameters)

        faulty.answer("SendMessageBatch", bury_another)

        messages.redrive("orders")

        assert get_gateway().depth(dead_letter_url(queue)).visible == 1

    def test_deletes_that_sqs_could_not_do_are_repeated(self, faulty: SqsProxy) -> None:
        queue = services.create("orders")
        bury(queue, *[OutgoingMessage(f"m{i}") for i in range(5)])

        def second_fails(parameters: Parameters, forward: Forward) -> Parameters:
            entries = parameters["Entries"]
            done = forward({**parameters, "Entries": [e for e in entries if e["Id"] != "1"]})
            failed = [{"Id": "1", "Code": "InternalError", "Message": "made up", "SenderFault": False}]
            return {"Successful": done["Successful"], "Failed": failed}

        faulty.answer("DeleteMessageBatch", second_fails, times=1)

        messages.redrive("orders")

        assert services.size("orders").dead_letters == 0
        assert len(bodies(queue.queue_url, 5)) == 5

    def test_delete_that_sqs_refuses_for_good_is_given_up(
        self, faulty: SqsProxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(moving, "SEND_ATTEMPTS", 2)
        queue = services.create("orders")
        bury(queue, OutgoingMessage("m"))
        refused = [{"Id": "0", "Code": "InternalError", "Message": "made up", "SenderFault": False}]
        faulty.answer("DeleteMessageBatch", lambda _, __: {"Successful": [], "Failed": refused})

        assert messages.redrive("orders").moved == 1

        assert faulty.count("DeleteMessageBatch") == 2
        faulty.heal()
        assert bodies(queue.queue_url, 1) == ["m"]
        assert services.size("orders").dead_letters == 1


def give_back(proxy: SqsProxy, url: str) -> None:
    """Make visible again what was last received from the queue, which a test must not wait a minute for."""
    handles = [
        entry["ReceiptHandle"]
        for action, parameters in proxy.requests
        if action == "DeleteMessageBatch" and parameters["QueueUrl"] == url
        for entry in parameters["Entries"]
    ]
    assert get_gateway().change_visibility(url, [(handle, 0) for handle in handles]) == ()


class TestRedriveBySqs:
    """What AWS does by itself, which the emulator cannot."""

    def test_task_is_followed_to_its_end(self, faulty: SqsProxy) -> None:
        queue = services.create("orders")
        quiet(queue)
        answers = iter(
            [
                {"TaskHandle": "h", "Status": "RUNNING", "ApproximateNumberOfMessagesMoved": 2},
                {"Status": "COMPLETED", "ApproximateNumberOfMessagesMoved": 5},
            ]
        )
        faulty.answer("StartMessageMoveTask", lambda _, __: {"TaskHandle": "h"})
        faulty.answer("ListMessageMoveTasks", lambda _, __: {"Results": [next(answers)]})
        steps: list[int] = []

        report = messages.redrive("orders", steps.append)

        assert report == RedriveReport(5, by_sqs=True)
        assert steps == [2, 3]
        [started] = [body for action, body in faulty.requests if action == "StartMessageMoveTask"]
        assert started["SourceArn"].endswith("orders-dlq")
        assert faulty.count("ReceiveMessage") == 0
        assert services.get("orders").wake_pending

    def test_what_a_failed_task_leaves_is_moved_by_hand(self, faulty: SqsProxy) -> None:
        queue = services.create("orders")
        bury(queue, *[OutgoingMessage(f"m{i}") for i in range(3)])
        faulty.answer("StartMessageMoveTask", lambda _, __: {"TaskHandle": "h"})
        faulty.answer(
            "ListMessageMoveTasks",
            lambda _, __: {"Results": [{"Status": "FAILED", "ApproximateNumberOfMessagesMoved": 2}]},
        )
        steps: list[int] = []

        report = messages.redrive("orders", steps.append)

        assert report == RedriveReport(5, by_sqs=False)
        assert sum(steps) == 5
        assert sorted(bodies(queue.queue_url, 3)) == ["m0", "m1", "m2"]
        assert services.size("orders").dead_letters == 0

    def test_letter_that_the_failed_task_still_hides_is_waited_for(self, faulty: SqsProxy) -> None:
        queue = services.create("orders")
        bury(queue, OutgoingMessage("m"))

        def hide(_: Parameters, __: Forward) -> Parameters:
            get_gateway().receive(dead_letter_url(queue), limit=1, wait=1, visibility=2)
            return {"TaskHandle": "h"}

        faulty.answer("StartMessageMoveTask", hide)
        faulty.answer("ListMessageMoveTasks", lambda _, __: {"Results": [{"Status": "FAILED"}]})

        assert messages.redrive("orders").moved == 1

    @pytest.mark.parametrize("code", ["InvalidParameterValue", "InvalidParameterValueException"])
    def test_refused_task_is_replaced_by_hand(self, faulty: SqsProxy, code: str) -> None:
        queue = services.create("orders")
        bury(queue, OutgoingMessage("m"))
        faulty.refuse("StartMessageMoveTask", code, "Source queue must be configured as a Dead Letter Queue.")

        assert messages.redrive("orders") == RedriveReport(1, by_sqs=False)

        assert bodies(queue.queue_url, 1) == ["m"]

    def test_destination_is_named(self, faulty: SqsProxy) -> None:
        """A rejected message was sent to the dead-letter queue, so SQS knows no source of it."""
        services.create("orders")
        faulty.answer("StartMessageMoveTask", lambda _, __: {"TaskHandle": "h"})
        faulty.answer("ListMessageMoveTasks", lambda _, __: {"Results": [{"Status": "COMPLETED"}]})

        messages.redrive("orders")

        [started] = [body for action, body in faulty.requests if action == "StartMessageMoveTask"]
        assert started["SourceArn"].endswith("orders-dlq")
        assert started["DestinationArn"] == started["SourceArn"].removesuffix("-dlq")

    def test_task_that_runs_already_is_followed(self, faulty: SqsProxy) -> None:
        """A redrive whose process died goes on where its task is."""
        services.create("orders")
        faulty.refuse("StartMessageMoveTask", "InvalidParameterValue", "There is already a task running. Only one …")
        states = iter(["RUNNING", "RUNNING", "COMPLETED"])
        faulty.answer(
            "ListMessageMoveTasks",
            lambda _, __: {
                "Results": [{"TaskHandle": "h", "Status": next(states), "ApproximateNumberOfMessagesMoved": 7}]
            },
        )

        assert messages.redrive("orders") == RedriveReport(7, by_sqs=True)

    def test_task_that_runs_already_and_cannot_be_found(self, faulty: SqsProxy) -> None:
        services.create("orders")
        faulty.refuse("StartMessageMoveTask", "InvalidParameterValue", "There is already a task running.")
        faulty.answer("ListMessageMoveTasks", lambda _, __: {"Results": []})

        with pytest.raises(Conflict, match="moving these dead letters already"):
            messages.redrive("orders")
