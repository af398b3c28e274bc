"""What the palette finds: for each user what they may see and do."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from queues.models import Queue
from tests.support import records
from tests.support.api import somebody

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("mongo")]


def found(client: Client, text: str) -> list[dict[str, Any]]:
    answer = client.get(reverse("palette"), {"q": text})
    assert answer.status_code == 200
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def titles(client: Client, text: str) -> set[str]:
    return {item["title"] for item in found(client, text)}


@pytest.fixture
def orders() -> Queue:
    return records.define("orders", dlq_url="http://sqs/orders-dlq")


def test_a_queue_is_found_by_a_part_of_its_name_with_what_can_be_done(orders: Queue, admin_client: Client) -> None:
    records.define("reorders")
    items = found(admin_client, "ORDERS")
    queues = [item for item in items if item["kind"] == "Queues"]
    assert [item["title"] for item in queues] == ["orders", "reorders"]  # what begins with it comes first
    assert queues[0]["address"] == reverse("admin:queues_queue_change", args=["orders"])
    about = {(item["title"], item["note"]) for item in items}
    assert {(title, "orders") for title in ("Messages", "Dead letters", "Jobs", "Pause")} <= about
    kinds = [item["kind"] for item in items]
    assert kinds == sorted(kinds, key=kinds.index), "items of a kind are together"
    (pause,) = [item for item in items if item.get("action") == "pause"]
    assert pause["chosen"] == str(orders.id)
    assert "Resume" not in titles(admin_client, "orders")


def test_a_job_and_a_page_are_found(orders: Queue, admin_client: Client) -> None:
    records.register()
    job = records.job_of(records.running(orders))
    (item,) = [item for item in found(admin_client, str(job.id)) if item["kind"] == "Jobs"]
    assert item["address"] == reverse("admin:jobs_job_change", args=[job.id])
    assert "Workers" in titles(admin_client, "work")
    (everything,) = found(admin_client, "no such thing")
    assert everything["address"] == f"{reverse('admin:find')}?q=no+such+thing"


def test_a_null_character_finds_nothing(admin_client: Client) -> None:
    assert found(admin_client, "or\0ders") == []


def test_a_message_is_found_by_its_id(orders: Queue, admin_client: Client) -> None:
    records.attempted(orders, "0b5e-1")
    items = [item for item in found(admin_client, "0b5e-1") if item["kind"] == "Messages"]
    assert [(item["address"], item["note"]) for item in items] == [
        (reverse("admin:jobs_attempt_message", args=["0b5e-1"]), "orders: failed")
    ]
    assert "Messages" not in {item["kind"] for item in found(somebody("queues.view_queue"), "0b5e-1")}


def test_everybody_finds_what_they_may(orders: Queue) -> None:
    nobody = somebody()
    assert titles(nobody, "") == {"Overview"}
    assert titles(nobody, "orders") == {"Everything with “orders”"}
    viewer = titles(somebody("queues.view_queue"), "orders")
    assert "orders" in viewer
    assert not viewer & {"Pause", "Jobs", "Redrive dead letters…"}


def test_strangers_find_nothing() -> None:
    assert Client().get(reverse("palette"), {"q": "o"}).status_code == 302


def test_at_most_eight_queues_are_found(admin_client: Client) -> None:
    for number in range(12):
        records.define(f"many-{number:02}")
    assert len([item for item in found(admin_client, "many") if item["kind"] == "Queues"]) == 8
