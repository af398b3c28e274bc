"""Queues in the admin: through the same services as on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from queues import repository, services
from queues.models import Queue
from queues.sqs import get_gateway
from tests.support.faults import SqsProxy

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("queues")]

LIST = reverse("admin:queues_queue_changelist")
ADD = reverse("admin:queues_queue_add")


@pytest.fixture
def admin(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("admin", password="x"))
    return client


def form(**changes: Any) -> dict[str, Any]:
    """What a browser sends for a queue."""
    return {
        "name": "orders",
        "with_dlq": "on",
        "concurrency": 5,
        "handler": "log",
        "handler_options": "{}",
        "priority": 0,
        "max_consumers": 1,
        "visibility_timeout": 30,
        "max_receive_count": 5,
        **changes,
    }


def change_page(queue: Queue) -> str:
    return reverse("admin:queues_queue_change", args=[queue.pk])


def act(admin: Client, action: str, *queues: Queue) -> str:
    answer = admin.post(LIST, {"action": action, "_selected_action": [str(q.pk) for q in queues]}, follow=True)
    assert answer.status_code == 200
    return answer.content.decode()


def test_strangers_are_asked_to_log_in(client: Client) -> None:
    for page in (LIST, ADD):
        answer = client.get(page)
        assert answer.status_code == 302
        assert "/admin/login/" in answer.headers["Location"]


def test_list_shows_and_finds_queues(admin: Client) -> None:
    services.create("orders")
    services.create("events")

    page = admin.get(LIST).content.decode()
    assert "orders" in page
    assert "events" in page

    found = admin.get(LIST, {"q": "ord"}).content.decode()
    assert change_page(services.get("orders")) in found
    assert change_page(services.get("events")) not in found


def test_form_offers_the_registered_handlers(admin: Client) -> None:
    page = admin.get(ADD).content.decode()

    assert "simulate: Sleep 1 to 5 seconds" in page
    assert "NAME-dlq" in page


def test_adding_creates_the_queue_in_sqs(admin: Client) -> None:
    answer = admin.post(ADD, form(concurrency=2, priority=7), follow=True)

    assert answer.redirect_chain, answer.content.decode()
    queue = services.get("orders")
    assert (queue.concurrency, queue.priority) == (2, 7)
    assert queue.dlq_url is not None
    assert get_gateway().queue_url(services.sqs_name("orders")) == queue.queue_url


def test_adding_without_dead_letter_queue(admin: Client) -> None:
    data = form()
    del data["with_dlq"]

    admin.post(ADD, data)

    assert services.get("orders").dlq_url is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "or ders"}, "is not valid"),
        ({"name": "x" * 78}, "is too long"),
        ({"concurrency": 6}, "concurrency 6 is out of range"),
        ({"concurrency": 0}, "out of range"),
        ({"handler": "nobody"}, "nobody"),
        ({"handler": "http"}, "Field required"),
        ({"handler_options": "[1]"}, "expected a JSON object"),
        ({"handler_options": '{"a": 1}'}, "takes no options"),
        ({"priority": 10}, "priority 10 is out of range"),
        ({"visibility_timeout": ""}, "required"),
    ],
)
def test_bad_values_are_told_on_the_form(admin: Client, faulty: SqsProxy, changes: dict[str, Any], words: str) -> None:
    answer = admin.post(ADD, form(**changes))

    assert answer.status_code == 200
    assert words in answer.content.decode()
    assert faulty.requests == []
    assert services.list_queues() == []


def test_duplicate_is_told_on_the_form(admin: Client) -> None:
    services.create("orders")

    answer = admin.post(ADD, form(), follow=True)

    assert "already exists" in answer.content.decode() or "exists already" in answer.content.decode()
    assert len(services.list_queues()) == 1


def test_refusal_of_sqs_is_told_and_leaves_nothing(admin: Client, faulty: SqsProxy) -> None:
    faulty.refuse("CreateQueue", "AccessDenied", "not you", status=403)

    answer = admin.post(ADD, form(), follow=True)

    assert "not you" in answer.content.decode()
    assert services.list_queues() == []


def test_changing_changes_the_queue_in_sqs(admin: Client) -> None:
    queue = services.create("orders")

    answer = admin.post(change_page(queue), form(visibility_timeout=99, concurrency=1), follow=True)

    assert answer.redirect_chain, answer.content.decode()
    assert get_gateway().attributes(queue.queue_url)["VisibilityTimeout"] == "99"
    assert services.get("orders").concurrency == 1


def test_name_is_fixed(admin: Client) -> None:
    queue = services.create("orders")

    admin.post(change_page(queue), form(name="other"), follow=True)

    assert [q.name for q in services.list_queues()] == ["orders"]


def test_saving_does_not_undo_what_others_wrote_meanwhile(admin: Client) -> None:
    """The form writes what was changed in it, not the whole document as it was when the page was opened."""
    queue = services.create("orders")
    repository.wake(queue.id)
    services.set_paused("orders", True)
    woken = services.get("orders").wake_requested_at

    admin.post(change_page(queue), form(priority=4), follow=True)

    after = services.get("orders")
    assert (after.priority, after.paused, after.wake_requested_at) == (4, True, woken)


def test_handler_that_is_gone_can_be_seen_and_kept(admin: Client) -> None:
    queue = services.create("orders")
    repository.update(queue.id, {"handler": "gone"})

    page = admin.get(change_page(queue)).content.decode()

    assert "gone (not registered)" in page


def test_deleting_deletes_the_queue_in_sqs(admin: Client) -> None:
    queue = services.create("orders")
    page = reverse("admin:queues_queue_delete", args=[queue.pk])

    assert admin.get(page).status_code == 200
    admin.post(page, {"post": "yes"}, follow=True)

    assert services.list_queues() == []
    assert get_gateway().queue_url(services.sqs_name("orders")) is None


def test_failed_deletion_keeps_the_queue_and_says_why(admin: Client, faulty: SqsProxy) -> None:
    queue = services.create("orders")
    faulty.refuse("DeleteQueue", "AccessDenied", "not you", status=403)

    answer = admin.post(reverse("admin:queues_queue_delete", args=[queue.pk]), {"post": "yes"}, follow=True)

    assert "not you" in answer.content.decode()
    assert [q.name for q in services.list_queues()] == ["orders"]


def test_chosen_queues_are_paused_resumed_and_notified(admin: Client) -> None:
    one, other = services.create("one"), services.create("other")
    services.set_paused("other", True)

    assert "1 paused, unchanged: other" in act(admin, "pause", one, other)
    assert services.get("one").paused
    assert "2 resumed" in act(admin, "resume", one, other)
    assert not services.get("other").paused
    assert "1 notified" in act(admin, "notify", one)


def test_chosen_queues_are_deleted_after_a_question(admin: Client) -> None:
    one, other, kept = (services.create(name) for name in ("one", "other", "kept"))
    assert "Are you sure" in act(admin, "delete_selected", one, other)
    assert len(services.list_queues()) == 3

    admin.post(
        LIST,
        {"action": "delete_selected", "_selected_action": [str(one.pk), str(other.pk)], "post": "yes"},
        follow=True,
    )

    assert [q.name for q in services.list_queues()] == [kept.name]
    assert get_gateway().queue_url(services.sqs_name("one")) is None


def test_viewer_without_permission_cannot_act(client: Client) -> None:
    queue = services.create("orders")
    viewer = User.objects.create_user("viewer", password="x", is_staff=True)
    client.force_login(viewer)

    assert client.get(LIST).status_code == 403
    client.post(LIST, {"action": "pause", "_selected_action": [str(queue.pk)]})

    assert not services.get("orders").paused


def test_unknown_queue(admin: Client, queues: SQSClient) -> None:
    answer = admin.get(reverse("admin:queues_queue_change", args=["5f0000000000000000000000"]), follow=True)

    assert "doesn" in answer.content.decode()  # "… doesn't exist. Perhaps it was deleted?"
