"""Each door says in its own way that MongoDB is away: commands, the API, the admin, background tasks.

What is below them raises pymongo's errors, so a door that forgot to translate them would show a fault of ours.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from pymongo.errors import AutoReconnect, OperationFailure

from queues import services, tasks
from queuesite.api import problems
from queuesite.foundation import databases
from queuesite.foundation.errors import MongoDenied, MongoUnavailable
from tests.support.api import everything, run_tasks
from tests.support.outages import mongodb_goes_away

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("queues")]

AWAY = "MongoDB does not answer"


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    return lambda: mongodb_goes_away(monkeypatch)


@pytest.mark.parametrize(
    "line",
    [
        "sqs list",
        "sqs create new",
        "sqs set-concurrency orders 3",
        "sqs pause orders",
        "sqs resume orders",
        "sqs notify orders",
        "sqs size orders",
        "sqs send orders 2",
        "sqs redrive orders",
        "sqs purge orders --yes",
        "sqs delete orders --yes",
        "sqs sync",
        "worker list",
        "worker drain w-1",
    ],
)
def test_a_command_ends_with_one_line(away: Callable[[], None], line: str) -> None:
    away()

    with pytest.raises(CommandError) as caught:
        call_command(*line.split(), stdout=io.StringIO())

    assert caught.value.returncode == 1
    assert "does not answer; is it running, and is MONGODB_URI right?" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_send_says_how_much_was_sent_before(monkeypatch: pytest.MonkeyPatch) -> None:
    services.create("orders")

    def send(*_: Any, **__: Any) -> Any:
        mongodb_goes_away(monkeypatch)
        services.get("orders")

    monkeypatch.setattr("queues.messages.send", send)

    with pytest.raises(CommandError, match=r"does not answer.*\(0 of 2 messages were sent\)"):
        call_command("sqs", "send", "orders", "2", stdout=io.StringIO())


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/queues", None),
        ("GET", "/queues/orders", None),
        ("POST", "/queues", {"name": "new"}),
        ("PATCH", "/queues/orders", {"priority": 3}),
        ("DELETE", "/queues/orders", None),
        ("POST", "/queues/orders/notify", None),
        ("POST", "/queues/orders/messages", {"messages": [{"body": "m"}]}),
        ("GET", "/workers", None),
        ("GET", "/jobs", None),
        ("GET", "/failures", None),
        ("GET", "/stats", None),
        ("GET", "/assignments", None),
        ("GET", "/leader", None),
        ("GET", "/metrics", None),
        ("POST", "/workers/w-1/drain", None),
    ],
)
def test_the_api_answers_503(away: Callable[[], None], method: str, path: str, body: Any) -> None:
    api = everything()
    away()

    problem = api.request(method, path, body).problem(503)

    assert problem["type"] == "urn:queuesite:problem:unavailable"
    assert problem["detail"] == f"{AWAY}; the log says why"


def test_a_refused_password_is_said_without_the_address(rf: Any) -> None:
    answer = problems.answer(rf.get("/api/v1/queues"), OperationFailure("auth failed", 18))

    assert answer.status_code == 503
    assert "MongoDB refused our user or password" in answer.content.decode()


@pytest.mark.parametrize(
    "error",
    [MongoDenied("db.example"), MongoUnavailable("db.example"), OperationFailure("auth failed", 18)],
)
def test_a_page_names_mongodb(admin_client: Client, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr("jobs.admin.jobs.reads.find_jobs", fail)

    page = admin_client.get(reverse("admin:jobs_job_changelist"))

    assert page.status_code == 503
    assert AWAY in page.content.decode()
    assert "db.example" not in page.content.decode()


@pytest.mark.parametrize(
    "name", ["queues_queue_changelist", "jobs_job_changelist", "jobs_worker_changelist", "jobs_failure_changelist"]
)
def test_each_page_says_so(admin_client: Client, away: Callable[[], None], name: str) -> None:
    away()

    page = admin_client.get(reverse(f"admin:{name}"))

    assert page.status_code == 503
    assert AWAY in page.content.decode()


@pytest.mark.parametrize("action", ["pause", "notify"])
def test_an_action_of_the_admin_reports_it_for_each_queue(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    queue = services.create("orders")
    found = services.by_ids([str(queue.id)])
    monkeypatch.setattr(services, "by_ids", lambda _: found)
    mongodb_goes_away(monkeypatch)

    answer = admin_client.post(reverse("admin:queues_queue_act"), {"action": action, "chosen": str(queue.id)})

    assert [AWAY in str(message) for message in get_messages(answer.wsgi_request)] == [True]


class TestTasks:
    def test_a_task_fails_with_what_may_be_shown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        api = everything()
        task = api.post("/sync").ok()
        with monkeypatch.context() as patch:
            mongodb_goes_away(patch)
            run_tasks()

        shown = api.get(f"/tasks/{task['id']}").ok()

        assert (shown["state"], shown["error"]) == ("failed", f"{AWAY}; the log says why")

    def test_a_purge_of_several_reports_it_for_each(self, away: Callable[[], None]) -> None:
        class Nothing:
            def set_total(self, total: int) -> None: ...

            def advance(self, count: int) -> None: ...

        away()

        result = tasks.purge.__wrapped__(Nothing(), ["a", "b"])  # type: ignore[attr-defined]

        assert result == {"purged": [], "failed": dict.fromkeys("ab", f"{AWAY}; the log says why")}

    @pytest.mark.parametrize("scheduled", [tasks.sync_queues, tasks.observe_dead_letters, tasks.sample_depths])
    def test_what_is_scheduled_fails_with_the_remedy(
        self, away: Callable[[], None], scheduled: Callable[[], object]
    ) -> None:
        away()

        with pytest.raises(MongoUnavailable, match="does not answer"):
            scheduled()


def test_a_check_at_the_start_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("queuesite.foundation.databases.time.sleep", slept.append)
    answers = iter([True, True, False])

    def check() -> None:
        if next(answers):
            raise AutoReconnect("closed")

    databases.wait_for(check, "MongoDB", 60)

    assert len(slept) == 2
