"""Sending from code, over the SQS in memory: what is sent, what the answers say, and what is refused before."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any
from unittest.mock import Mock

import pytest
from django.db import transaction
from pydantic import BaseModel
from structlog.testing import capture_logs

import queues
from queues.handlers import handler, registry
from queues.handlers.sendable import HandlerFunction
from queues.sending import SendFailed, carried_by, destinations, transport, wakeups
from queues.sending.destinations import Destination, Directory
from queues.sending.transport import Delivery
from queues.sqs import BatchFailure, OutgoingMessage, SendResult
from queues.sqs.memory import MemorySqs, _Stored
from queuesite.foundation.errors import InvalidInput, NotFound, SqsDenied, SqsUnavailable


class Order(BaseModel):
    number: int


URL = "http://127.0.0.1/000000000000/"


class Sqs(MemorySqs):
    """SQS in memory, with names; batches whose bodies contain a word fail as a whole or one by one."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.batches: list[int] = []
        self.away_for = self.refused = "\0"
        self._lock = threading.Lock()

    def create_queue(self, name: str, **options: Any) -> str:
        memory = super().create_queue(name, **options)
        url = URL + name
        self._queues[url] = self._queues.pop(memory)
        return url

    def queue_url(self, name: str) -> str | None:
        self.asked.append(name)
        url = f"http://127.0.0.1/000000000000/{name}"
        return url if url in self._queues else None

    def send(self, queue_url: str, messages: Sequence[OutgoingMessage]) -> SendResult:
        with self._lock:
            self.batches.append(len(messages))
        if any(self.away_for in message.body for message in messages):
            raise SqsUnavailable("SQS is away")
        kept = [(place, one) for place, one in enumerate(messages) if self.refused not in one.body]
        result = super().send(queue_url, [one for _, one in kept])
        ids = {kept[index][0]: message_id for index, message_id in result.message_ids.items()}
        places = set(range(len(messages))) - {place for place, _ in kept}
        failures = tuple(BatchFailure(place, "InvalidMessageContents", "not this", True) for place in sorted(places))
        return SendResult(ids, failures)

    def attributes(self, queue_url: str, names: Sequence[str]) -> dict[str, str]:
        return {"ContentBasedDeduplication": str(self._queues[queue_url].content_based).lower()}

    def stored(self, name: str = "orders") -> list[_Stored]:
        return sorted(self._queues[f"http://127.0.0.1/000000000000/{name}"].messages, key=lambda one: one.number)

    def bodies(self, name: str = "orders") -> list[str]:
        return [one.body for one in self.stored(name)]


@pytest.fixture
def sqs(monkeypatch: pytest.MonkeyPatch) -> Sqs:
    """A process that has SQS and no MongoDB."""
    made = Sqs()
    directory = Directory()
    directory.mongodb.allowed = False
    for module in (transport, wakeups):
        monkeypatch.setattr(module, "directory", directory)
    monkeypatch.setattr(transport, "gateway_in", lambda region: made)
    monkeypatch.setattr(destinations, "get_gateway", lambda: made)
    monkeypatch.setattr(destinations, "get_config", lambda: type("Prefixed", (), {"queue_name_prefix": ""}))
    made.create_queue("orders")
    return made


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_handlers", {})
    monkeypatch.setattr(registry, "_discovered", True)


@pytest.fixture
def orders() -> HandlerFunction[[Order], str]:
    @handler("orders", payload=Order)
    def orders(order: Order) -> str:
        return f"handled {order.number}"

    return orders


Orders = HandlerFunction[[Order], str]


class TestOne:
    def test_a_handlers_payload(self, sqs: Sqs, orders: Orders) -> None:
        message_id = orders.send(
            Order(number=1),
            delay=timedelta(seconds=30.2),
            group="tenant-7",
            attributes={"text": "a", "whole": 3, "share": 0.5, "exact": Decimal("1.10"), "raw": b"\x00"},
        )

        (stored,) = sqs.stored()
        assert (stored.message_id, stored.body, stored.group) == (message_id, '{"number":1}', "tenant-7")
        assert round(stored.visible_at - stored.sent_at) == 31
        # Once another test of this process has set tracing up, sends carry a trace.
        assert {name: value for name, value in stored.attributes.items() if name != "traceparent"} == {
            "text": {"DataType": "String", "StringValue": "a"},
            "whole": {"DataType": "Number", "StringValue": "3"},
            "share": {"DataType": "Number", "StringValue": "0.5"},
            "exact": {"DataType": "Number", "StringValue": "1.10"},
            "raw": {"DataType": "Binary", "BinaryValue": b"\x00"},
        }

    def test_the_function_is_still_called_directly(self, orders: Orders) -> None:
        assert orders(Order(number=1)) == "handled 1"

    @pytest.mark.parametrize(
        ("body", "sent"), [("text", "text"), ({"a": [1]}, '{"a":[1]}'), (Order(number=2), '{"number":2}'), (7, "7")]
    )
    def test_to_a_queue_by_name(self, sqs: Sqs, body: object, sent: str) -> None:
        queues.send("orders", body)

        assert sqs.bodies() == [sent]

    def test_to_a_queue_by_url_nothing_is_looked_up(self, sqs: Sqs) -> None:
        queues.send("http://127.0.0.1/000000000000/orders", "text")

        assert sqs.bodies() == ["text"]
        assert sqs.asked == []

    def test_names_are_looked_up_once(self, sqs: Sqs, orders: Orders) -> None:
        for number in range(3):
            orders.send({"number": number})

        assert len(sqs.bodies()) == 3
        assert sqs.asked == ["orders"]

    def test_a_fifo_message_gets_a_deduplication_id(self, sqs: Sqs) -> None:
        sqs.create_queue("events.fifo")
        queues.send("events.fifo", "same", group="g")
        queues.send("events.fifo", "same", group="g")
        queues.send("events.fifo", "same", group="g", deduplication_id="one")
        queues.send("events.fifo", "same", group="g", deduplication_id="one")

        assert len(sqs.bodies("events.fifo")) == 3

    def test_a_queue_that_deduplicates_by_content_needs_no_id(self, sqs: Sqs) -> None:
        sqs.create_queue("events.fifo", content_based=True)
        for body in ("same", "same", "other"):
            queues.send("events.fifo", body, group="g")

        assert sqs.bodies("events.fifo") == ["same", "other"]

    def test_without_the_right_to_ask_each_message_gets_an_id(self, sqs: Sqs, monkeypatch: pytest.MonkeyPatch) -> None:
        sqs.create_queue("events.fifo", content_based=True)
        monkeypatch.setattr(sqs, "attributes", Mock(side_effect=SqsDenied("may only send")))
        for _ in range(2):
            queues.send("events.fifo", "same", group="g")

        assert sqs.bodies("events.fifo") == ["same", "same"]

    @pytest.mark.parametrize("method", ["asend", "asend_many"])
    def test_async(self, sqs: Sqs, orders: Orders, method: str) -> None:
        async def send() -> None:
            if method == "asend":
                await orders.asend(Order(number=1))
            else:
                report = await orders.asend_many(Order(number=n) for n in range(1, 2))
                assert report.sent == 1

        asyncio.run(send())

        assert sqs.bodies() == ['{"number":1}']

    def test_a_bound_method_can_send_too(self, sqs: Sqs) -> None:
        class Shop:
            def handle(self, message: Any) -> str:
                return "handled"

        registered = handler("orders")(Shop().handle)
        registered.send("text")

        assert sqs.bodies() == ["text"]
        assert registered("message") == "handled"

    def test_the_declared_queue_is_used_unless_another_is_named(self, sqs: Sqs) -> None:
        sqs.create_queue("shop")

        @handler("orders", queue="shop")
        def orders(message: Any) -> None: ...

        orders.send("declared")
        orders.send("named", queue="orders")

        assert (sqs.bodies("shop"), sqs.bodies("orders")) == (["declared"], ["named"])


class TestRefused:
    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"delay": 901}, "delay 901 is out of range: expected 0 to 900 seconds"),
            ({"delay": -1}, "delay -1 is out of range"),
            ({"delay": "soon"}, "delay='soon': expected seconds or a timedelta"),
            ({"delay": float("nan")}, "delay=nan: expected seconds"),
            ({"delay": True}, "delay=True: expected seconds"),
            ({"group": 7}, "group=7: expected text"),
            ({"group": "two words"}, "expected 1 to 128 letters, digits and punctuation"),
            ({"deduplication_id": "x"}, "is not a FIFO queue and takes no deduplication id"),
            ({"attributes": ["a"]}, "attributes are a list: expected a mapping"),
            ({"attributes": {"a": None}}, "attribute 'a' is a NoneType: expected text, a number or bytes"),
            ({"attributes": {"a": True}}, "attribute 'a' is a bool"),
            ({"attributes": {"a b": "x"}}, "attribute name 'a b'"),
            ({"attributes": {str(n): "x" for n in range(11)}}, "has 11 attributes: SQS takes 10"),
        ],
    )
    def test_options(self, sqs: Sqs, options: dict[str, Any], words: str) -> None:
        with pytest.raises(InvalidInput, match=words):
            queues.send("orders", "text", **options)
        assert sqs.bodies() == []

    def test_unknown_option(self, sqs: Sqs, orders: Orders) -> None:
        with pytest.raises(TypeError, match="unexpected option 'dely': expected delay, group"):
            orders.send(Order(number=1), dely=3)  # type: ignore[call-arg]

    @pytest.mark.parametrize("body", ["", "a\x00", "x" * 1_048_577, {1, object()}])
    def test_body(self, sqs: Sqs, body: object) -> None:
        with pytest.raises(InvalidInput):
            queues.send("orders", body)

    def test_payload(self, sqs: Sqs, orders: Orders) -> None:
        with pytest.raises(InvalidInput, match="does not fit Order: number: Input should be a valid integer"):
            orders.send({"number": "many"})

    def test_queue_that_is_not_there(self, sqs: Sqs) -> None:
        with pytest.raises(NotFound, match="there is no queue 'nothing' to send to"):
            queues.send("nothing", "text")

    def test_handler_without_a_queue_of_its_name(self, sqs: Sqs) -> None:
        registered = handler("unheard")(lambda message: None)

        with pytest.raises(NotFound, match=r"handler 'unheard' sends to the queue of its own name.*queue='NAME'"):
            registered.send("text")

    def test_sqs_away_and_refusals_are_raised(self, sqs: Sqs) -> None:
        sqs.away_for, sqs.refused = "away", "refused"

        with pytest.raises(SqsUnavailable, match="SQS is away"):
            queues.send("orders", "away")
        with pytest.raises(Exception, match="InvalidMessageContents"):
            queues.send("orders", "refused")


class TestMany:
    def test_batches_of_ten_and_of_a_mebibyte(self, sqs: Sqs) -> None:
        report = queues.send_many("orders", (str(n) for n in range(25)))

        assert (report.sent, report.failures) == (25, {})
        assert sorted(sqs.batches) == [5, 10, 10]
        assert sorted(report.message_ids) == list(range(25))
        sqs.batches.clear()

        queues.send_many("orders", ["x" * 400_000] * 5)

        assert sorted(sqs.batches) == [1, 2, 2]

    def test_failures_are_named_by_place_and_the_rest_is_sent(self, sqs: Sqs, orders: Orders) -> None:
        sqs.away_for, sqs.refused = ":13}", ":25}"
        payloads: list[Any] = [{"number": n} for n in range(30)]
        payloads[5] = {"number": "five"}

        report = orders.send_many(payloads, delay=lambda order: -1 if order["number"] == 7 else 0)

        assert report.sent == 30 - len(report.failures)
        assert "does not fit Order" in report.failures[5]
        assert "delay -1 is out of range" in report.failures[7]
        assert "InvalidMessageContents" in report.failures[25]
        # With 5 and 7 left out, 12 to 21 are the second batch, which SQS did not take.
        assert {place for place, text in report.failures.items() if "away" in text} == set(range(12, 22))
        sent = {json.loads(body)["number"] for body in sqs.bodies()}
        assert sent == set(range(30)) - set(report.failures)
        with pytest.raises(
            SendFailed, match="13 of 30 messages were not sent; the first of them is number 6: "
        ) as caught:
            report.raise_for_failures()
        assert caught.value.report is report

    def test_options_of_each(self, sqs: Sqs, orders: Orders) -> None:
        sqs.create_queue("orders.fifo")

        orders.send_many(
            [{"number": 1}, {"number": 2}],
            queue="orders.fifo",
            group=lambda order: f"tenant-{order['number']}",
            deduplication_id=lambda order: str(order["number"]),
            attributes={"by": "test"},
        )

        assert [one.group for one in sqs.stored("orders.fifo")] == ["tenant-1", "tenant-2"]

    @pytest.mark.parametrize("bad", ["refused", "away", ""])
    def test_on_a_fifo_queue_nothing_is_sent_after_a_failure(self, sqs: Sqs, bad: str) -> None:
        sqs.create_queue("events.fifo")
        sqs.away_for, sqs.refused = "away", "refused"
        bodies = [f"m{n}" for n in range(35)]
        bodies[14] = bad

        report = queues.send_many("events.fifo", bodies, group="g")

        sent = sqs.bodies("events.fifo")
        assert sent == [body for body in bodies if body in set(sent)], "in order"
        assert report.sent == len(sent) <= 20
        assert set(report.failures) == {place for place, body in enumerate(bodies) if body not in set(sent)}
        assert "not sent, to keep the order: message" in report.failures[34]

    def test_an_iterable_that_raises_says_what_was_sent(self, sqs: Sqs) -> None:
        def bodies() -> Iterator[str]:
            yield from map(str, range(15))
            raise KeyError("the source has ended")

        with pytest.raises(SendFailed, match=r"ended with KeyError: .*; 1[05] messages were sent before") as caught:
            queues.send_many("orders", bodies())

        assert caught.value.report.sent == len(sqs.bodies())
        assert isinstance(caught.value.__cause__, KeyError)

    def test_it_is_read_as_it_is_sent(self, sqs: Sqs) -> None:
        most = 0

        def bodies() -> Iterator[str]:
            nonlocal most
            for number in range(2_000):
                most = max(most, number - len(sqs._queues["http://127.0.0.1/000000000000/orders"].messages))
                yield str(number)

        assert queues.send_many("orders", bodies()).sent == 2_000
        assert most < 500, "it does not pile up"

    def test_nothing(self, sqs: Sqs) -> None:
        report = queues.send_many("orders", [])

        assert (report.sent, report.failures) == (0, {})
        report.raise_for_failures()


@pytest.mark.django_db(transaction=True)
class TestOnCommit:
    def test_it_waits_for_the_commit(self, sqs: Sqs, orders: Orders) -> None:
        with transaction.atomic():
            orders.send_on_commit(Order(number=1), delay=0)
            with transaction.atomic():
                queues.send_on_commit("orders", "second")
            assert sqs.bodies() == []

        assert sqs.bodies() == ['{"number":1}', "second"]

    def test_what_is_rolled_back_is_not_sent(self, sqs: Sqs, orders: Orders) -> None:
        with transaction.atomic():
            try:
                with transaction.atomic():
                    orders.send_on_commit(Order(number=1))
                    raise LookupError
            except LookupError:
                pass
            orders.send_on_commit(Order(number=2))

        assert sqs.bodies() == ['{"number":2}']

    def test_the_payload_is_that_of_the_call(self, sqs: Sqs, orders: Orders) -> None:
        order = Order(number=1)
        with transaction.atomic():
            orders.send_on_commit(order)
            order.number = 2

        assert sqs.bodies() == ['{"number":1}']

    def test_what_is_wrong_is_raised_at_the_call(self, sqs: Sqs, orders: Orders) -> None:
        with transaction.atomic(), pytest.raises(InvalidInput):
            orders.send_on_commit({"number": "x"})

    def test_a_failure_after_the_commit_is_logged_and_later_callbacks_are_called(
        self, sqs: Sqs, orders: Orders
    ) -> None:
        sqs.away_for = ":1}"
        with capture_logs() as logs, transaction.atomic():
            orders.send_on_commit(Order(number=1))
            orders.send_on_commit(Order(number=2))

        assert sqs.bodies() == ['{"number":2}']
        assert [(one["event"], one["handler"]) for one in logs] == [("send_on_commit_failed", "orders")]


def test_another_transport_takes_all_sends(orders: Orders) -> None:
    class Caught:
        def __init__(self) -> None:
            self.sent: list[tuple[Destination, str]] = []

        def send(self, to: Destination, items: Any) -> Delivery:
            delivery = Delivery()
            for place, message in items:
                self.sent.append((to, message.body))
                delivery.sent += 1
                delivery.message_ids[place] = f"m{len(self.sent)}"
            return delivery

    caught = Caught()
    with carried_by(caught):
        assert orders.send(Order(number=1)) == "m1"
        queues.send_many("shop", ["a"])

    assert caught.sent == [(Destination(None, "orders"), '{"number":1}'), (Destination("shop"), "a")]


def test_unknown_attributes_of_the_package_stay_unknown() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'sent'"):
        queues.sent  # noqa: B018


def test_a_consumer_asks_mongodb_nothing_and_leaves_its_wake_ups_to_its_worker(
    sqs: Sqs, monkeypatch: pytest.MonkeyPatch
) -> None:
    waker = wakeups.WakeUps()
    monkeypatch.setattr(transport, "wake_ups", waker)
    directory: Directory = vars(wakeups)["directory"]
    directory.mongodb.allowed = True
    waker.hand_over()
    sqs.create_queue("shop")

    for name in ("shop", "orders", "shop"):
        queues.send(name, "text")

    assert not directory.mongodb.allowed
    assert waker.take() == (URL + "orders", URL + "shop")
    assert waker.take() == ()
