"""An action on all queues that match the filters of the list, in the background."""

from __future__ import annotations

import re

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from jobs import silences
from queues import services
from queuesite.models import BackgroundTask, TaskState
from tests.support.api import run_tasks, user
from tests.support.records import define

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("mongo")]

LIST, ACT = reverse("admin:queues_queue_changelist"), reverse("admin:queues_queue_act")


def ask(client: Client, filters: str, **form: str) -> str:
    """The answer's page, or where it leads."""
    answer = client.post(f"{ACT}?next={LIST}{filters}", {"matching": "1", **form})
    return answer.headers.get("Location") or re.sub(r"\s+", " ", answer.content.decode())


def paused() -> set[str]:
    return {queue.name for queue in services.list_queues() if queue.paused}


def test_all_that_match_are_paused_by_a_task_and_the_pause_is_undone(admin_client: Client) -> None:
    for place in range(60):  # more than a page
        define(f"shop-{place:02}")
    define("other")
    define("shop-held", paused=True)
    page = ask(admin_client, "%3Fq=shop-", action="pause", reason="stock-taking")
    assert "Pause: all 61 queues that match?" in page
    assert not BackgroundTask.objects.exists()

    address = ask(admin_client, "%3Fq=shop-", action="pause", reason="stock-taking", sure="61")
    task = BackgroundTask.objects.get()
    assert address == reverse("admin:queuesite_backgroundtask_change", args=[task.id])
    assert run_tasks() == 1
    task.refresh_from_db()
    assert (task.state, task.done, task.total) == (TaskState.COMPLETED, 61, 61)
    assert task.result is not None
    assert task.result["done"]["paused"]["count"] == 60
    assert task.result["skipped"] == {"paused already": {"count": 1, "queues": ["shop-held"]}}
    assert len(paused()) == 61
    assert services.get("shop-07").pause_reason == "stock-taking"
    assert LogEntry.objects.count() == 60

    undo = admin_client.get(LIST).context["undo"]
    admin_client.post(undo["address"], {"change": undo["change"]})
    assert paused() == {"shop-held"}


def test_the_number_of_the_question_must_still_be_true(admin_client: Client) -> None:
    define("a")
    define("b")
    assert "Other queues match than a moment ago" in ask(admin_client, "", action="pause", sure="1")
    assert not BackgroundTask.objects.exists()
    assert ask(admin_client, "%3Fq=nothing", action="pause", sure="0") == f"{LIST}?q=nothing"


def test_a_deletion_asks_for_the_number_to_be_typed(admin_client: Client) -> None:
    define("a", managed=False, queue_arn="arn:aws:sqs:us-east-1:000000000000:a")
    for typed in ({}, {"typed": ""}, {"typed": "2"}):
        assert "Type 1, the number of queues" in ask(admin_client, "", action="delete", sure="1", **typed)
    ask(admin_client, "", action="delete", sure="1", typed="1")
    run_tasks()
    assert services.list_queues() == []


def test_values_filters_and_permissions_are_checked(admin_client: Client) -> None:
    define("a")
    assert ask(admin_client, "", action="concurrency", value="x", sure="1") == LIST
    assert ask(admin_client, "%3Fstate=nonsense", action="pause", sure="1") == f"{LIST}?state=nonsense"
    viewer = Client()
    viewer.force_login(user("viewer", ["queues.view_queue"], is_staff=True))
    assert viewer.post(ACT, {"matching": "1", "action": "pause", "sure": "1"}).status_code == 403
    assert not BackgroundTask.objects.exists()

    ask(admin_client, "", action="concurrency", value="3", sure="1")
    run_tasks()
    assert services.get("a").concurrency == 3
    assert 'name="minutes" value="120"' in ask(admin_client, "", action="silence", minutes="120", reason="a move")
    ask(admin_client, "", action="silence", minutes="120", reason="a move", sure="1")
    run_tasks()
    (silence,) = silences.current()
    assert (silence.subject, silence.reason) == ("a", "a move")
