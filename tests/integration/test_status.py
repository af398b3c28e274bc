"""The strip on every page: what it says of each part, of what does not answer, and of what nothing can be found out."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_q.models import Schedule
from pymongo.errors import AutoReconnect, InvalidOperation
from structlog.testing import capture_logs

from jobs.admin import status
from jobs.models import Worker
from jobs.repositories import leases
from queues import readiness
from queuesite.foundation.databases import collection, database_clock
from queuesite.foundation.errors import ServerError, SqsUnavailable
from tests.support import records
from tests.support.api import somebody
from tests.support.waiting import eventually

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("mongo")]

#: Long enough for a busy machine.
PATIENCE = 60.0


def failing(error: Exception) -> Callable[..., Any]:
    def fail(*args: object, **kwargs: object) -> Any:
        raise error

    return fail


def strip(client: Client) -> list[str]:
    answer = client.get(reverse("admin:status"))
    assert answer.status_code == 200
    return re.findall(r"<li[^>]*>(.*?)</li>", re.sub(r"</?a[^>]*>", "", answer.content.decode()))


@pytest.fixture(autouse=True)
def probes(monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[], None]]:
    """Servers that answer at once; a test may have one do something else."""
    asked: dict[str, Callable[[], None]] = {name: lambda: None for name in ("mongodb", "sqs", "database")}

    def probe(name: str) -> readiness.Probe[None]:
        return readiness.Probe(name, lambda: asked[name]())

    monkeypatch.setattr(readiness, "_probes", tuple(map(probe, asked)))
    monkeypatch.setattr(status, "PATIENCE_SECONDS", PATIENCE)
    return asked


def test_names_each_part(admin_client: Client, probes: dict[str, Callable[[], None]]) -> None:
    Schedule.objects.update(next_run=timezone.now())
    assert strip(admin_client) == [
        "MongoDB: answers", "SQS: answers", "Master: none leads", "Workers: none runs", "Background tasks: run",
    ]  # fmt: skip
    records.register()
    leases.acquire("m1", 30)
    probes["sqs"] = failing(SqsUnavailable("gone"))
    assert strip(admin_client)[1:4] == ["SQS: unavailable", "Master: leads, term 1", "Workers: 1 live"]
    collection(Worker).update_one({"_id": "w1"}, {"$set": {"heartbeatAt": database_clock.now() - timedelta(minutes=5)}})
    assert "Workers: none runs" in strip(admin_client), "nothing of it is remembered"


def test_says_what_one_may_know() -> None:
    assert strip(somebody()) == ["MongoDB: answers", "SQS: answers"]
    assert strip(somebody("jobs.view_worker"))[2:] == ["Workers: none runs"]


@pytest.mark.parametrize("server", ["mongodb", "sqs"])
def test_a_server_that_is_silent_shows_before_its_question_has_failed(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    clock, answers, asked = [100.0], threading.Event(), threading.Semaphore(0)

    def hang() -> None:
        asked.release()
        assert answers.wait(PATIENCE)

    monkeypatch.setattr(status, "PATIENCE_SECONDS", 1.0)
    held = readiness.Probe(server, hang, lambda: clock[0])
    others = tuple(one for one in readiness._probes if one.name != server)
    monkeypatch.setattr(readiness, "_probes", (held, *others))
    held.start()
    title = {"mongodb": "MongoDB", "sqs": "SQS"}[server]
    try:
        for passed, words in ((1.5, "1 s"), (2.9, "1 s"), (3, "3 s"), (59, "30 s"), (4_000, "1 h")):
            clock[0] = 100 + passed
            assert f"{title}: no answer for {words}" in strip(admin_client)
        assert asked.acquire(timeout=PATIENCE)
        assert not asked.acquire(blocking=False), "only one question was asked of it"
    finally:
        answers.set()
    eventually(lambda: f"{title}: answers" in strip(admin_client), PATIENCE, "it answers again")


@pytest.mark.parametrize(
    ("where", "error", "words"),
    [
        ("queues.readiness.answers", RuntimeError("can't start new thread"), "Servers: not known"),
        ("jobs.reads.leader", AutoReconnect("gone"), "Master: not known"),
        ("jobs.reads.leader", InvalidOperation("Cannot use MongoClient after close"), "Master: not known"),
        ("jobs.services.list_workers", TypeError("a fault of ours"), "Workers: not known"),
        ("jobs.services.is_alive", AttributeError("'NoneType'"), "Workers: not known"),
        ("queuesite.tasks.are_run", OperationalError("locked"), "Background tasks: not known"),
        ("queuesite.tasks.are_run", InterfaceError("connection closed"), "Background tasks: not known"),
    ],
)
def test_says_what_it_cannot_find_out(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch, where: str, error: Exception, words: str
) -> None:
    records.register()
    before = strip(admin_client)
    monkeypatch.setattr(where, failing(error))
    now = strip(admin_client)
    assert words in now
    assert len({*before} & {*now}) == (1 if words.startswith("Servers") else 4), "the others are as before"


@pytest.mark.parametrize("server", ["MongoDB", "SQS", "Django&#x27;s database"])
@pytest.mark.parametrize("error", [ServerError("away"), RuntimeError("closed"), KeyError("None")])
def test_says_which_server_fails(
    admin_client: Client, probes: dict[str, Callable[[], None]], server: str, error: Exception
) -> None:
    probes["database" if server.startswith("Django") else server.lower()] = failing(error)
    assert f"{server}: unavailable" in strip(admin_client)


def test_what_is_wrong_with_a_server_is_logged_once_until_it_changes_or_is_over(
    admin_client: Client, probes: dict[str, Callable[[], None]]
) -> None:
    ends: list[Exception | None] = [
        ServerError("away"),
        ServerError("away"),
        ServerError("denied"),
        None,
        ServerError("denied"),
    ]
    with capture_logs() as logs:
        for error in ends:
            probes["sqs"] = failing(error) if error is not None else lambda: None
            assert ("SQS: answers" in strip(admin_client)) is (error is None)
    assert [one["error"] for one in logs if one["event"] == "not_ready"] == ["away", "denied", "denied"]


@pytest.mark.parametrize(
    ("where", "error", "words"),
    [
        ("has_permission", InterfaceError("connection closed"), "Django&#x27;s database: unavailable"),
        ("has_permission", AttributeError("'NoneType'"), "Parts of the system: not known"),
        ("each", OperationalError("locked"), "Django&#x27;s database: unavailable"),
    ],
)
def test_never_fails_as_a_whole(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch, where: str, error: Exception, words: str
) -> None:
    place = "django.contrib.auth.models.User.has_perm" if where == "each" else f"django.contrib.admin.site.{where}"
    monkeypatch.setattr(place, failing(error))
    assert strip(admin_client) == [words]


def test_says_that_djangos_database_is_away(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(request: object) -> bool:
        raise OperationalError("database is locked: /srv/db.sqlite3")

    monkeypatch.setattr("django.contrib.admin.site.has_permission", away)
    assert strip(admin_client) == ["Django&#x27;s database: unavailable"]


def test_is_on_every_page(admin_client: Client) -> None:
    for name in ("index", "queues_queue_changelist", "queuesite_token_changelist", "auth_user_changelist"):
        assert b"data-status=" in admin_client.get(reverse(f"admin:{name}")).content, name
