"""Sending from code with MongoDB and SQS: queues by their handlers, wake-ups, and both servers away."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from pydantic import BaseModel
from types_boto3_sqs.client import SQSClient

import queues as sending
from queues import repository, services
from queues.handlers import handler, registry
from queues.handlers.sendable import HandlerFunction
from queues.models import Queue
from queues.sending import destinations, transport, wakeups
from queues.sending.destinations import Directory
from queues.sending.wakeups import WakeUps
from queues.sqs import get_gateway
from queuesite.foundation import optional_mongodb
from queuesite.foundation.errors import InvalidInput, MongoUnavailable, NotFound, SqsUnavailable
from tests.conftest import Configure
from tests.support.faults import SqsProxy
from tests.support.waiting import eventually

pytestmark = pytest.mark.usefixtures("queues")


class Order(BaseModel):
    number: int


@pytest.fixture(autouse=True)
def directory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Directory]:
    """What a process that has just begun knows."""
    made, waker = Directory(), WakeUps()
    for module in (transport, wakeups, destinations):
        monkeypatch.setattr(module, "directory", made)
    monkeypatch.setattr(transport, "wake_ups", waker)
    yield made
    assert waker.flush(20)
    made.mongodb.close()


@pytest.fixture
def orders() -> Iterator[HandlerFunction[[Order], None]]:
    registry.discover()

    @handler("orders-of-a-test", payload=Order)
    def orders(order: Order) -> None: ...

    yield orders
    del registry.registered()["orders-of-a-test"]


Orders = HandlerFunction[[Order], None]
SETTINGS = {"handler": "orders-of-a-test"}


def bodies(queue: Queue) -> list[str]:
    found: list[str] = []

    def some() -> bool:
        received = get_gateway().receive(queue.queue_url, limit=10, wait=0)
        found.extend(message.body for message in received)
        return bool(found)

    eventually(some, 20, "messages came")
    return found


def satisfied(queue: Queue) -> None:
    woken_at = services.get(queue.name).wake_requested_at
    if woken_at is not None:
        repository.served(queue.id, woken_at)
    assert not services.get(queue.name).wake_pending


def test_the_one_queue_of_a_handler_gets_the_message_and_is_woken(orders: Orders) -> None:
    queue = services.create("shop", settings=SETTINGS)
    services.create("other")
    satisfied(queue)

    orders.send(Order(number=1))

    assert bodies(queue) == ['{"number":1}']
    eventually(lambda: services.get("shop").wake_pending, 20, "the queue is woken")


def test_of_several_queues_one_is_to_be_named(orders: Orders) -> None:
    for name in ("one", "two"):
        services.create(name, settings=SETTINGS)

    with pytest.raises(
        InvalidInput, match=r"several queues have the handler .* \(one, two\); name one: send\(…, queue="
    ):
        orders.send(Order(number=1))
    orders.send(Order(number=2), queue="two")

    assert bodies(services.get("two")) == ['{"number":2}']


def test_no_queue_at_all(orders: Orders) -> None:
    with pytest.raises(NotFound, match="no queue has the handler 'orders-of-a-test'; create one"):
        orders.send(Order(number=1))
    with pytest.raises(NotFound, match="there is no queue 'nothing'"):
        sending.send("nothing", "text")


def test_many_are_sent_to_sqs_itself(orders: Orders) -> None:
    queue = services.create("shop", settings=SETTINGS)

    report = orders.send_many({"number": number} for number in range(25))

    assert (report.sent, report.failures) == (25, {})
    eventually(lambda: get_gateway().depth(queue.queue_url).total == 25, 20, "25 messages are there")


@pytest.fixture
def away(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    """MongoDB is configured and does not answer, in a project that does not have our apps."""
    monkeypatch.setattr(optional_mongodb, "MONGO", "not in DATABASES")
    monkeypatch.setattr(optional_mongodb, "REQUEST_SECONDS", 0.3)
    configure(mongodb_uri="mongodb://127.0.0.1:1/")


def test_without_our_apps_mongodb_is_asked_by_its_address(orders: Orders, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = services.create("shop", settings=SETTINGS)
    satisfied(queue)
    monkeypatch.setattr(optional_mongodb, "MONGO", "not in DATABASES")

    orders.send(Order(number=1))

    assert bodies(queue) == ['{"number":1}']
    eventually(lambda: services.get("shop").wake_pending, 20, "the queue is woken")


def test_while_mongodb_is_away_sqs_knows_the_queue(away: None) -> None:
    queue = services.create("shop")

    for _ in range(3):
        sending.send("shop", "text")

    assert len(bodies(queue)) >= 1


def test_what_was_found_before_is_used_while_mongodb_is_away(
    orders: Orders, directory: Directory, monkeypatch: pytest.MonkeyPatch, configure: Configure
) -> None:
    queue = services.create("shop", settings=SETTINGS)
    monkeypatch.setattr(destinations, "KEPT_SECONDS", 0.0)
    monkeypatch.setattr(optional_mongodb, "REQUEST_SECONDS", 5.0)
    orders.send(Order(number=1))
    monkeypatch.setattr(optional_mongodb, "MONGO", "not in DATABASES")
    configure(mongodb_uri="mongodb://127.0.0.1:1/")
    monkeypatch.setattr(optional_mongodb, "REQUEST_SECONDS", 0.3)

    orders.send(Order(number=2))

    eventually(lambda: get_gateway().depth(queue.queue_url).total == 2, 20, "both are there")


def test_which_queue_has_a_handler_is_not_guessed_while_mongodb_is_away(away: None, orders: Orders) -> None:
    services.create("orders-of-a-test")

    with pytest.raises(MongoUnavailable):
        orders.send(Order(number=1))


def test_without_mongodb_a_handlers_own_name_is_its_queues(orders: Orders, directory: Directory) -> None:
    directory.mongodb.allowed = False
    queue = services.create("orders-of-a-test")

    orders.send(Order(number=1))

    assert bodies(queue) == ['{"number":1}']


def test_an_outage_of_sqs_is_reported(faulty: SqsProxy, orders: Orders, directory: Directory) -> None:
    services.create("shop", settings=SETTINGS)
    faulty.refuse("SendMessageBatch", "InternalFailure", status=500)

    with pytest.raises(SqsUnavailable):
        orders.send(Order(number=1))
    report = orders.send_many([{"number": 1}, {"number": 2}])

    assert report.sent == 0
    assert sorted(report.failures) == [0, 1]


def test_a_queue_that_is_made_again_is_found_again(sqs: SQSClient, directory: Directory) -> None:
    queue = services.create("shop")
    sending.send("shop", json.dumps({"a": 1}))
    found = directory.find(sending_to("shop"))
    assert found.url == queue.queue_url

    directory.forget(found.url)

    assert directory._found == {}


def sending_to(name: str) -> destinations.Destination:
    return destinations.Destination(name)
