"""Pages have addresses by name below /admin/; old addresses, and ids in place of names, redirect to them."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from jobs.admin.pages import queue_address
from queues.models import Queue
from tests.support.records import define, register

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("mongo")]


@pytest.fixture
def queue() -> Queue:
    return define("orders")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("queues/queue/", "queues/"),
        ("queues/queue/?state=paused", "queues/?state=paused"),
        ("queues/queue/add/", "new-queue/"),
        ("queues/queue/adopt/?queue=a%2Fb", "adopt-queue/?queue=a%2Fb"),
        ("queues/queue/discover/", "discover-queues/"),
        ("queues/queue/ID/change/?span=7d", "queues/orders/?span=7d"),
        ("queues/queue/ID/settings/", "queues/orders/settings/"),
        ("queues/queue/ID/history/", "queues/orders/history/"),
        ("queues/ID/", "queues/orders/"),
        ("queues/ID/settings/", "queues/orders/settings/"),
        ("queues/orders", "queues/orders/"),
        ("jobs/job/", "jobs/"),
        ("jobs/failure/?queue=orders", "failures/?queue=orders"),
        ("jobs/worker/w1/change/", "workers/w1/"),
        ("jobs/worker/w1/drain/", "workers/w1/drain/"),
        ("jobs/handlerversion/log/change/", "handlers/log/"),
        ("jobs/master/", "masters/"),
        ("queuesite/backgroundtask/", "tasks/"),
    ],
)
def test_an_old_address_redirects(old: str, new: str, queue: Queue, admin_client: Client) -> None:
    register("w1")
    answer = admin_client.get(f"/admin/{old.replace('ID', str(queue.id))}", follow=True)
    assert answer.redirect_chain[-1][0].removeprefix("http://testserver") == f"/admin/{new}"
    assert answer.status_code == 200


@pytest.mark.parametrize("name", ["queue", "add", "act", "new-queue", "a" * 80, "0" * 24, "orders.fifo"])
def test_a_queue_may_have_any_name(name: str, admin_client: Client) -> None:
    define(name)
    assert queue_address(name) == f"/admin/queues/{name}/"
    for page in ("change", "settings", "history"):
        answer = admin_client.get(reverse(f"admin:queues_queue_{page}", args=[name]))
        assert answer.context["original"].name == name


@pytest.mark.parametrize("path", ["queues/nothing/", "queues/queue/x/nothing/", "queues/queue/settings/", "jobs/x/"])
def test_there_is_no_such_page(path: str, admin_client: Client) -> None:
    assert admin_client.get(f"/admin/{path}").status_code == 404


def test_a_stranger_is_led_to_the_login_and_nobody_learns_a_name(queue: Queue, client: Client) -> None:
    for path in (f"queues/{queue.id}/", f"queues/queue/{queue.id}/change/"):
        assert client.get(f"/admin/{path}").headers["Location"].startswith("/admin/login/")
