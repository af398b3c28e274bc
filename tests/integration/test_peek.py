"""Looking at messages: what it costs them, who may, and when it is refused."""

from __future__ import annotations

import html
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse

from queues import peek, repository, services
from queues.models import Queue
from queues.sqs import OutgoingMessage, get_gateway
from queuesite import tokens
from queuesite.foundation.errors import Conflict
from tests.support.api import Api, everything, user

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("queues")]

PEEK = "/queues/orders/messages/peek"


def filled(count: int, receives: int) -> Queue:
    queue = services.create("orders", settings={"max_receive_count": receives})
    get_gateway().send(queue.queue_url, [OutgoingMessage(f"m{n}") for n in range(count)])
    return queue


def letters() -> int:
    return services.size("orders").dead_letters


def test_looks_send_nothing_to_the_dead_letter_queue() -> None:
    filled(3, 2)

    peek.peek("orders")
    for _ in range(3):
        with pytest.raises(Conflict, match="last receive"):
            peek.peek("orders")

    assert letters() == 0
    assert services.size("orders").depth.visible == 3


def test_look_ends_at_the_first_message_that_has_none_to_spare() -> None:
    filled(3, 2)

    look = peek.peek("orders")

    assert len(look.messages) == 1
    assert look.messages[0].message_id in (look.warning or "")
    assert "another look would be the last receive" in (look.warning or "")


def test_receives_to_spare_are_no_matter_of_warnings() -> None:
    filled(3, 5)

    look = peek.peek("orders")

    assert sorted(message.body for message in look.messages) == ["m0", "m1", "m2"]
    assert look.warning is None
    assert len(peek.peek("orders", 2).messages) == 2


def test_whoever_wants_spends_the_last_receives() -> None:
    filled(3, 2)
    peek.peek("orders")

    look = peek.peek("orders", last=True)

    assert len(look.messages) == 3
    assert "the last receive of" in (look.warning or "")


def test_consumer_that_emptied_the_queue_ends_the_refusal() -> None:
    queue = filled(1, 2)
    peek.peek("orders")
    seen = services.get("orders").last_receive_seen_at
    assert seen is not None
    with pytest.raises(Conflict):
        peek.peek("orders")
    services.purge("orders")
    repository.served(queue.id, seen.replace(year=seen.year + 1))

    assert peek.peek("orders").messages == []


def test_look_that_found_nothing_near_its_end_ends_the_refusal() -> None:
    filled(1, 2)
    peek.peek("orders")
    services.purge("orders")

    assert peek.peek("orders", last=True).messages == []
    assert peek.peek("orders").messages == []


def test_every_look_is_the_last_at_a_queue_of_one_receive() -> None:
    filled(1, 1)
    with pytest.raises(Conflict, match="maxReceiveCount 1"):
        peek.peek("orders")
    assert letters() == 0


def test_queue_without_dead_letters_loses_none() -> None:
    queue = services.create("orders", with_dlq=False, settings={"max_receive_count": 1})
    get_gateway().send(queue.queue_url, [OutgoingMessage("a")])
    for _ in range(3):
        assert len(peek.peek("orders").messages) == 1


def test_group_of_a_fifo_queue_is_seen_as_a_whole() -> None:
    queue = services.create("orders.fifo")
    get_gateway().send(
        queue.queue_url, [OutgoingMessage(f"m{n}", group="g", deduplication_id=str(n)) for n in range(3)]
    )
    assert [message.body for message in peek.peek("orders.fifo").messages] == ["m0", "m1", "m2"]


class TestApi:
    def test_refusal_and_how_to_look_all_the_same(self) -> None:
        filled(1, 2)
        api = everything()

        first = api.post(PEEK).ok()
        assert first["items"][0]["messageId"] in first["warning"]
        assert "last=true" in api.post(PEEK).problem(409)["detail"]
        assert len(api.post(f"{PEEK}?last=true").ok()["items"]) == 1

    def test_get_looks_at_nothing(self) -> None:
        filled(1, 5)
        api = everything()
        for path in ("messages", "messages/peek", "dead-letters/peek"):
            api.get(f"/queues/orders/{path}").problem(405)
        api.get("/queues/orders/dead-letters").problem(404)

    def test_read_only_token_and_viewer_look_at_nothing(self) -> None:
        filled(1, 5)
        ada = user("ada", ["queues.view_queue", "queues.peek_message"])
        for token in (tokens.make(ada, read_only=True)[1], tokens.make(member("viewers"))[1]):
            Api(token).post(PEEK).problem(403)
            Api(token).post("/queues/orders/dead-letters/peek").problem(403)
        assert len(Api(tokens.make(member("operators"))[1]).post(PEEK).ok()["items"]) == 1


def member(group: str) -> Any:
    made = user(f"of-{group}", is_staff=True)
    made.groups.add(Group.objects.get(name=group))
    return made


class TestAdmin:
    def page(self, client: Client, address: str, **data: Any) -> str:
        return html.unescape(client.post(address, data, follow=True).content.decode())

    def test_button_looks_and_asks_before_a_last_receive(self, client: Client) -> None:
        queue = filled(1, 2)
        client.force_login(member("operators"))
        address = reverse("admin:queues_queue_messages", args=[queue.name])

        assert "Look anyway" not in client.get(address).content.decode()
        assert "another look would be the last receive" in self.page(client, address, do="look").lower()
        refused = self.page(client, address, do="look")
        assert "Refused" in refused
        assert "Look anyway" in refused
        assert 'name="last"' in refused
        assert letters() == 0
        assert "m0" in self.page(client, address, do="look", last="1")

    @pytest.mark.parametrize("name", ["messages", "dead_letters"])
    def test_viewer_has_no_button_and_no_look(self, client: Client, name: str) -> None:
        queue = filled(1, 5)
        client.force_login(member("viewers"))
        address = reverse(f"admin:queues_queue_{name}", args=[queue.name])

        assert 'value="look"' not in client.get(address).content.decode()
        assert client.post(address, {"do": "look"}).status_code == 403
