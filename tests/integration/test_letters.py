"""Dead letters with the errors that made them, and what is done with those of one kind."""

from __future__ import annotations

import html
import io
import time

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from jobs import failures as kinds
from jobs import letters
from jobs.repositories import failures
from queues import peek, services
from queues.models import Queue
from queues.moving import REJECTED_ID
from queues.sqs import OutgoingMessage, get_gateway
from queuesite.foundation.errors import InvalidInput
from queuesite.models import BackgroundTask
from tests.support import records
from tests.support.api import everything, user

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("queues")]

ONE, OTHER = "a" * 32, "b" * 32


@pytest.fixture
def queue() -> Queue:
    """Six dead letters: two of either kind, a rejected copy of the one kind, and one that nobody knows of."""
    made = services.create("orders")
    assert made.dlq_url is not None
    for body in ("one-1", "one-2", "other-1", "other-2", "copy", "unknown"):
        attributes = {REJECTED_ID: {"DataType": "String", "StringValue": "original"}} if body == "copy" else {}
        sent = get_gateway().send(made.dlq_url, [OutgoingMessage(body, attributes)])
        message = "original" if body == "copy" else sent.message_ids[0]
        if body != "unknown":
            kind = OTHER if body.startswith("other") else ONE
            records.attempted(made, message, fingerprint=OTHER, age=60.0, error="an earlier one")
            records.attempted(made, message, fingerprint=kind, error=f"error of {body}", receive_count=5)
    return made


def left(queue: Queue) -> list[str]:
    assert queue.dlq_url is not None
    return sorted(message.body for message in peek.peek_dead_letters(queue.name).messages)


def test_those_of_a_kind_are_redriven_and_the_others_stay_visible(queue: Queue) -> None:
    assert letters.redrive_kind("orders", ONE) == 3
    assert left(queue) == ["other-1", "other-2", "unknown"]
    assert sorted(message.body for message in peek.peek("orders", last=True).messages) == ["copy", "one-1", "one-2"]


def test_those_of_a_kind_are_deleted(queue: Queue) -> None:
    assert letters.delete_kind("orders", OTHER) == 2
    assert left(queue) == ["copy", "one-1", "one-2", "unknown"]
    assert letters.delete_kind("orders", "c" * 32) == 0
    assert services.size("orders").dead_letters == 4


def test_the_command_line_acts_by_kind(queue: Queue) -> None:
    out = io.StringIO()
    call_command("sqs", "redrive", "orders", "--kind", ONE, stdout=out)
    call_command("sqs", "delete-letters", "orders", "--kind", OTHER, "--yes", stdout=out)
    assert "3 dead letters moved back to 'orders'" in out.getvalue()
    assert "2 dead letters of 'orders' deleted" in out.getvalue()
    assert left(queue) == ["unknown"]
    with pytest.raises(CommandError, match="32 hexadecimal digits") as caught:
        call_command("sqs", "redrive", "orders", "--kind", "odd", stdout=out)
    assert caught.value.returncode == 2


def test_a_message_s_page_finds_and_acts_on_its_letter(queue: Queue, client: Client) -> None:
    page = reverse("admin:jobs_attempt_message", args=["original"])
    client.force_login(user("viewer", ["jobs.view_attempt", "queues.view_queue"], is_staff=True))
    assert "Look for it" not in client.get(page).content.decode()
    assert client.post(page, {"do": "look"}).status_code == 403

    client.force_login(User.objects.create_superuser("admin", password="x"))
    found = client.post(page, {"do": "look"})
    assert [row["received"].body for row in found.context["seen"]] == ["copy"]
    assert "error of copy" in found.content.decode()
    act = found.context["letter"]["act"]
    asked = client.post(act, {"do": "delete", "chosen": "original"})
    assert "Delete 1 dead letter of orders?" in asked.content.decode()
    assert asked.context["back"] == page
    assert client.post(act, {"do": "redrive", "chosen": "original"}).headers["Location"] == page
    assert left(queue) == ["one-1", "one-2", "other-1", "other-2", "unknown"]
    assert [message.body for message in peek.peek("orders", last=True).messages] == ["copy"]
    gone = client.post(page, {"do": "look"})
    assert "SQS gave out no such letter" in gone.content.decode()
    services.delete("orders")
    assert "Redrive it" not in client.get(page).content.decode()


@pytest.mark.parametrize("kind", ["", "x" * 32, "a" * 31])
def test_what_is_no_kind(kind: str) -> None:
    with pytest.raises(InvalidInput, match="32 hexadecimal digits"):
        letters.of_kind(kind)


def test_the_api_shows_the_error_and_acts_by_kind(queue: Queue) -> None:
    api = everything()
    shown = {item["body"]: item for item in api.request("POST", "/queues/orders/dead-letters/peek").ok()["items"]}
    assert shown["one-1"]["attempt"]["error"] == "error of one-1"
    assert shown["copy"]["attempt"]["messageId"] == "original"
    assert shown["copy"]["attributes"] == {}
    assert shown["unknown"]["attempt"] is None
    task = api.request("POST", f"/queues/orders/dead-letters/redrive?kind={ONE}").ok()
    letters.redrive_in_background(task["id"])
    assert BackgroundTask.objects.get(pk=task["id"]).result == {"queue": "orders", "kind": ONE, "moved": 3}
    task = api.request("POST", f"/queues/orders/dead-letters/delete?kind={OTHER}").ok()
    letters.delete_in_background(task["id"])
    assert left(queue) == ["unknown"]
    api.request("POST", "/queues/orders/dead-letters/delete").problem(422)
    api.request("POST", "/queues/orders/dead-letters/redrive?kind=odd").problem(422)


def test_pages_show_the_error_and_act_by_kind(queue: Queue, client: Client) -> None:
    client.force_login(User.objects.create_superuser("admin", password="x"))
    page = client.post(reverse("admin:queues_queue_dead_letters", args=["orders"]), {"do": "look"}).content.decode()
    assert "error of other-2" in page
    assert reverse("admin:jobs_attempt_message", args=["original"]) in page
    now = time.monotonic()
    kind = kinds.FailureGroup("KeyError", "shop.f", "no", "trace", now, now)
    failures.add([failures.Seen(queue, kind)])
    (failure,) = records.failures_of(queue)
    of_failure = reverse("admin:jobs_failure_change", args=[failure.id])
    do = reverse("admin:jobs_failure_letters", args=[failure.id])
    assert do in client.get(of_failure).content.decode()
    assert client.get(do).status_code == 405
    assert client.post(do, {"do": "odd"}).status_code == 404
    assert client.post(do, {"do": "redrive"}).status_code == 302
    assert "You cannot undo this" in html.unescape(client.post(do, {"do": "delete"}).content.decode())
    assert client.post(do, {"do": "delete", "sure": "yes"}).status_code == 302
    assert [(task.kind, task.arguments["kind"]) for task in BackgroundTask.objects.order_by("created_at")] == [
        ("redrive-kind", failure.fingerprint),
        ("delete-kind", failure.fingerprint),
    ]
    operator = Client()
    operator.force_login(user("operator", ["jobs.view_failure", "queues.redrive_queue"], is_staff=True))
    assert operator.post(do, {"do": "delete", "sure": "yes"}).status_code == 403
