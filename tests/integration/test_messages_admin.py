"""A queue's messages and dead letters in the admin."""

from __future__ import annotations

import html
import json
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from pydantic import BaseModel, Field

from jobs.admin.queues import payload_fields
from queues import peek, services
from queues.handlers import handler, registry
from queues.handlers.announcement import Announced
from queues.handlers.catalogue import Known
from queues.models import Queue
from queues.sqs import OutgoingMessage, get_gateway
from queuesite.foundation.errors import InvalidInput
from queuesite.models import BackgroundTask
from tests.support.bodies import LAMBDA_SUCCESS, in_sns
from tests.support.waiting import eventually

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("queues")]

EVIL = "<script>window.evil=1</script>"


@pytest.fixture
def admin(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("admin", password="x"))
    return client


def page(queue: Queue, name: str = "messages") -> str:
    return reverse(f"admin:queues_queue_{name}", args=[queue.name])


def post(client: Client, address: str, **data: Any) -> str:
    """What the page says in the end."""
    answer = client.post(address, {"kind": "text", "times": 1, **data}, follow=True)
    assert answer.status_code == 200
    return html.unescape(answer.content.decode())


def bodies(queue: Queue) -> list[str]:
    return sorted(message.body for message in peek.peek(queue.name, last=True).messages)


def test_one_is_sent_with_attributes_and_the_history_says_so(admin: Client) -> None:
    queue = services.create("orders")

    told = post(admin, page(queue), do="send", kind="json", body='{"n": 1}', attributes='{"colour": "blue", "size": 3}')

    assert "1 message sent." in told
    [message] = peek.peek("orders").messages
    assert message.body == '{"n": 1}'
    assert message.attributes["colour"]["StringValue"] == "blue"
    assert message.attributes["size"]["DataType"] == "Number"
    assert "Sent 1 message." in [entry.get_change_message() for entry in LogEntry.objects.all()]


def test_lines_and_times_make_many(admin: Client) -> None:
    queue = services.create("orders")

    assert "4 messages sent." in post(admin, page(queue), do="send", body="a\r\n\r\nb\r\n", each_line="on", times=2)

    assert bodies(queue) == ["a", "a", "b", "b"]


def test_a_text_of_several_lines_is_one_message(admin: Client) -> None:
    queue = services.create("orders")
    post(admin, page(queue), do="send", body="a\r\n b")
    assert bodies(queue) == ["a\n b"]


def test_a_file_of_many_goes_in_the_background(admin: Client) -> None:
    queue = services.create("orders")
    file = SimpleUploadedFile("many.jsonl", "".join(f'{{"n": {n}}}\n' for n in range(150)).encode())

    told = post(admin, page(queue), do="send", kind="json", file=file)

    task = BackgroundTask.objects.get()
    assert (task.kind, task.total, task.owner_name) == ("send", 150, "admin")
    assert json.loads(task.arguments["outgoing"][149]["body"]) == {"n": 149}
    assert task.id in told or "send" in told


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, "Enter a body"),
        ({"kind": "json", "body": "{"}, "not JSON"),
        ({"kind": "json", "body": "1\n{\n2", "each_line": "on"}, "line 2 is not JSON"),
        ({"body": "a", "attributes": "["}, "not JSON"),
        ({"body": "a", "attributes": "[1]"}, "expected a JSON object"),
        ({"body": "a", "attributes": '{"a b": "c"}'}, "String should match pattern"),
        ({"body": "a", "attributes": '{"a": ""}'}, "at least 1 character"),
        ({"body": "a", "delay": 901}, "less than or equal to 900"),
        ({"body": "a\x01"}, "U+0001"),
        ({"body": "a", "times": 100_000_000}, "API_MAX_BULK"),
        ({"file": SimpleUploadedFile("a", b"\xff\xfe")}, "not UTF-8"),
    ],
)
def test_what_sqs_would_refuse_is_told_at_its_field(admin: Client, data: dict[str, Any], words: str) -> None:
    queue = services.create("orders")
    assert words in post(admin, page(queue), do="send", **data)
    assert services.size("orders").depth.total == 0
    assert not BackgroundTask.objects.exists()


def test_fifo_queue_needs_a_group_and_takes_a_deduplication_id(admin: Client) -> None:
    queue = services.create("orders.fifo")
    told = post(admin, page(queue), do="send", body="a", deduplication_id="a b", attributes="[")
    for words in ("needs a message group", "not JSON"):
        assert words in told
    assert "String should match pattern" in post(admin, page(queue), do="send", body="a", group="a b")
    once = {"group": "g", "deduplication_id": "once"}
    assert "would drop all but the first" in post(admin, page(queue), do="send", body="a", times=2, **once)
    for _ in range(2):
        assert "1 message sent." in post(admin, page(queue), do="send", body="a", **once)
    assert services.size(queue.name).depth.total == 1


def test_fields_of_fifo_queues_are_theirs_only(admin: Client) -> None:
    def fields(name: str) -> set[str]:
        return set(admin.get(page(services.create(name))).context["form"].fields) & {
            "group", "deduplication_id", "delay",
        }  # fmt: skip

    assert fields("orders.fifo") == {"group", "deduplication_id"}
    assert fields("orders") == {"group", "delay"}
    queue = services.get("orders")
    assert "String should match pattern" in post(admin, page(queue), do="send", body="a", group="a b")
    assert "1 message sent." in post(admin, page(queue), do="send", body="a", group="tenant-7")
    assert [message.group for message in peek.peek("orders", 1).messages] == ["tenant-7"]


def test_curl_says_what_the_form_says(admin: Client) -> None:
    queue = services.create("orders")
    answer = admin.post(
        page(queue), {"kind": "text", "times": 1, "body": "it's", "attributes": '{"a": "b"}', "delay": 3, "do": "curl"}
    )
    words = shlex.split(answer.context["command"])
    assert json.loads(words[words.index("--data-raw") + 1]) == {
        "messages": [{"body": "it's", "attributes": {"a": "b"}, "delay": 3}]
    }
    assert words[-1].endswith("/api/v1/queues/orders/messages")
    assert services.size("orders").depth.total == 0


def test_messages_are_looked_at_and_escaped(admin: Client) -> None:
    queue = services.create("orders")
    get_gateway().send(queue.queue_url, [OutgoingMessage(EVIL), OutgoingMessage(json.dumps({"html": EVIL}))])

    shown = admin.post(page(queue), {"do": "look"}).content.decode()

    assert shown.count("&lt;script&gt;") >= 2
    assert "<script>window" not in shown
    assert bodies(queue) == sorted([EVIL, json.dumps({"html": EVIL})])


class TestDeadLetters:
    @pytest.fixture
    def queue(self) -> Queue:
        queue = services.create("orders")
        assert queue.dlq_url is not None
        reason = {"QueuesiteRejectReason": {"DataType": "String", "StringValue": f"no such customer {EVIL}"}}
        get_gateway().send(queue.dlq_url, [OutgoingMessage(f"dead {n}", reason if n == 0 else {}) for n in range(3)])
        return queue

    def ids(self, *texts: str) -> list[str]:
        return [one.message_id for one in peek.peek_dead_letters("orders").messages if one.body in texts]

    def test_are_looked_at_with_their_reason(self, admin: Client, queue: Queue) -> None:
        shown = admin.post(page(queue, "dead_letters"), {"do": "look"}).content.decode()
        assert "no such customer &lt;script&gt;" in shown
        assert "received as often as maxReceiveCount allows" in shown
        assert "3 dead letters" in shown

    def test_some_are_redriven(self, admin: Client, queue: Queue) -> None:
        told = post(admin, page(queue, "dead_letters"), do="redrive", chosen=[*self.ids("dead 0", "dead 2"), "gone"])
        assert "2 dead letters redriven; 1 not found" in told
        assert bodies(queue) == ["dead 0", "dead 2"]
        assert [one.body for one in peek.peek_dead_letters("orders").messages] == ["dead 1"]

    def test_some_are_deleted_after_a_question(self, admin: Client, queue: Queue) -> None:
        chosen = self.ids("dead 1")
        asked = post(admin, page(queue, "dead_letters"), do="delete", chosen=chosen)
        assert "Delete 1 dead letter of orders?" in asked
        assert services.size("orders").dead_letters == 3
        assert "1 dead letter deleted." in post(
            admin, page(queue, "dead_letters"), do="delete", chosen=chosen, sure="yes"
        )
        assert sorted(one.body for one in peek.peek_dead_letters("orders").messages) == ["dead 0", "dead 2"]

    def test_nothing_chosen(self, admin: Client, queue: Queue) -> None:
        assert "choose dead letters first" in post(admin, page(queue, "dead_letters"), do="redrive")

    def test_queue_without_any(self, admin: Client) -> None:
        assert admin.get(page(services.create("bare", with_dlq=False), "dead_letters")).status_code == 404

    def test_each_needs_its_permission(self, client: Client, queue: Queue) -> None:
        for group, refused in (("viewers", {"look", "send", "redrive", "delete"}), ("operators", {"delete"})):
            user = User.objects.create_user(group, password="x", is_staff=True)
            user.groups.add(Group.objects.get(name=group))
            client.force_login(user)
            answers = {
                "look": client.post(page(queue), {"do": "look"}),
                "send": client.post(page(queue), {"do": "send", "kind": "text", "times": 1, "body": "a"}),
                "redrive": client.post(page(queue, "dead_letters"), {"do": "redrive"}),
                "delete": client.post(page(queue, "dead_letters"), {"do": "delete"}),
            }
            assert {name for name, answer in answers.items() if answer.status_code == 403} == refused


class Order(BaseModel):
    number: int = Field(description="as on the invoice")
    express: bool = False
    lines: list[str] = []


@pytest.fixture
def ordering() -> Iterator[None]:
    """A handler with a payload, and one with an envelope."""
    registry.discover()
    handler("typed", payload=Order)(lambda order: None)
    handler("wrapped", payload=Order, envelope=("sns", "lambda"))(lambda order: None)
    yield
    del registry.registered()["typed"], registry.registered()["wrapped"]


@pytest.mark.usefixtures("ordering")
class TestPayloads:
    def test_the_form_has_the_payloads_fields_and_sends_it(self, admin: Client) -> None:
        queue = services.create("orders", settings={"handler": "typed"})
        shown = html.unescape(admin.get(page(queue)).content.decode())
        assert "as on the invoice; required" in shown
        assert 'name="payload.express"' in shown

        fields = {"payload.number": "7", "payload.express": "true", "payload.lines": "a\r\nb"}
        told = post(admin, page(queue), do="send", **{**fields, "kind": "payload"})

        assert "1 message sent." in told
        assert bodies(queue) == ['{"number":7,"express":true,"lines":["a","b"]}']

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({}, "does not fit Order: number: Field required"),
            ({"payload.number": "many"}, "does not fit Order: number: Input should be a valid integer"),
            ({"payload.number": "1", "body": "x"}, "leave this empty, or choose text or JSON"),
        ],
    )
    def test_what_does_not_fit_is_told(self, admin: Client, fields: dict[str, str], words: str) -> None:
        queue = services.create("orders", settings={"handler": "typed"})

        assert words in post(admin, page(queue), do="send", **{**fields, "kind": "payload"})
        assert services.size("orders").depth.total == 0

    def test_without_the_handlers_code_its_announced_schema_decides(self, admin: Client) -> None:
        known = Known("elsewhere", announced=[Announced.of(registry.get("typed"), "1")])

        assert set(payload_fields.fields(known)) == {"payload.number", "payload.express", "payload.lines"}
        assert json.loads(payload_fields.body(known, {"payload.number": "7"})) == {"number": 7}
        with pytest.raises(InvalidInput, match="number: expected type integer"):
            payload_fields.body(known, {"payload.number": "many"})
        with pytest.raises(InvalidInput, match="number: is missing"):
            payload_fields.body(known, {})

    def test_a_payload_that_comes_in_an_envelope_is_not_asked_for(self, admin: Client) -> None:
        queue = services.create("results", settings={"handler": "wrapped"})
        assert 'name="payload.number"' not in admin.get(page(queue)).content.decode()

    def test_a_look_shows_payloads_and_what_does_not_fit(self, admin: Client) -> None:
        queue = services.create("results", settings={"handler": "wrapped"})
        good = in_sns({**LAMBDA_SUCCESS, "responsePayload": {"number": 4711}})
        wrong = in_sns({**LAMBDA_SUCCESS, "responsePayload": {"number": EVIL}})
        get_gateway().send(queue.queue_url, [OutgoingMessage(text) for text in (good, wrong, "{}")])

        shown = ""

        def all_seen() -> bool:
            nonlocal shown
            shown = admin.post(page(queue), {"do": "look", "last": "1"}).content.decode()
            return shown.count("Would be rejected") == 2 and "Fits Order" in shown

        eventually(all_seen, 20, "three messages are shown")
        assert "Payload 1 of 1" in shown
        assert "does not fit Order: number: Input should be a valid integer" in html.unescape(shown)
        assert "is not in the envelope sns of lambda: requestContext: expected an object" in html.unescape(shown)
        assert EVIL not in shown
