"""Handlers by the API and in the admin: who has which version, what each did, and which queues use it."""

from __future__ import annotations

import html
from dataclasses import replace
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse

from jobs import handler_report, histogram
from jobs.repositories import handlers, workers
from jobs.repositories.handlers import Done
from queuesite.foundation.databases import database_clock
from tests.support.api import Api, everything, user
from tests.support.records import RESIZE, announce, attempted, define

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("mongo")]

LIST = reverse("admin:jobs_handlerversion_changelist")


@pytest.fixture
def api() -> Api:
    return everything()


def page(name: str) -> str:
    return reverse("admin:jobs_handlerversion_change", args=[name])


def canary() -> None:
    """Two versions of a handler: the newer fails more often."""
    announce(RESIZE, worker_id="w-old")
    announce(replace(RESIZE, version="8"), worker_id="w-new", pool="gpu")
    now = database_clock.now()
    handlers.add(
        [
            Done("resize", "7", now, processed=90, failed=10, duration_sum=50.0),
            Done("resize", "7", now - timedelta(hours=2), processed=100),
            Done("resize", "7", now - timedelta(days=2), processed=1_000),
            Done("resize", "8", now, processed=3, failed=1, rejected=1, timed_out=1, duration_sum=2.0),
            Done("resize", "8", now, processed=2),
            Done("log", "8", now, processed=5_000),
        ]
    )


def test_handlers_are_compared_and_sorted(api: Api, admin_client: Client) -> None:
    announce(RESIZE, worker_id="w-1")
    orders, photos = define("orders"), define("photos", handler="resize")
    now = database_clock.now()
    slow, quick = histogram.counts([9.0] * 10), histogram.counts([0.001] * 10)
    late, prompt = (histogram.counts([wait] * 10, histogram.WAIT_BOUNDS) for wait in (9.0, 0.001))
    handlers.add(
        [
            Done("resize", "7", now, processed=8, failed=1, retried=1, durations=slow, waits=prompt),
            Done("log", "1", now, processed=90, failed=10, durations=quick, waits=late),
            Done("log", "1", now - timedelta(days=2), processed=1_000),
        ]
    )
    attempted(photos, "slow", took=9.0)
    attempted(photos, "slower", took=11.0)
    attempted(orders, "elsewhere", took=30.0)

    def names(sort: str) -> list[str]:
        found = [item["name"] for item in api.get(f"/handlers?sort={sort}").ok()["items"]]
        return [name for name in found if name in ("log", "resize")]

    assert (names("name"), names("attempts"), names("rate")) == (["log", "resize"],) * 3
    assert (names("p95"), names("failed"), names("retried")) == (
        ["resize", "log"], ["log", "resize"], ["resize", "log"],
    )  # fmt: skip
    assert names("waited_p95") == ["log", "resize"]
    api.get("/handlers?sort=odd").problem(422)
    work = api.get("/handlers/resize").ok()["work"]
    assert (work["processed"], work["failed"], work["retried"]) == (8, 1, 1)
    assert 5 < work["p50"] <= 10
    assert 0 < work["waitedP99"] <= 0.05
    listed = admin_client.get(LIST, {"sort": "-p95"}).content.decode()
    assert listed.index(page("resize")) < listed.index(page("log"))
    assert admin_client.get(LIST, {"sort": "odd"}).status_code == 404
    shown = admin_client.get(page("resize")).content.decode()
    assert shown.index(">slower<") < shown.index(">slow<")
    assert "elsewhere" not in shown
    assert "10.0 %" in shown


def test_versions_are_compared_by_what_each_did(api: Api) -> None:
    canary()
    define("photos", handler="resize")
    found = api.get("/handlers/resize").ok()
    assert (found["kind"], found["timeout"], found["importable"]) == ("async", 60, False)
    assert found["options"]["required"] == ["width"]
    assert found["versions"] == ["8", "7"]
    new, old = found["details"]
    assert (new["version"], new["workers"], new["processed"], new["failed"]) == ("8", ["w-new"], 5, 1)
    assert (new["rejected"], new["timedOut"], new["mean"]) == (1, 1, pytest.approx(1 / 3))
    assert (old["version"], old["workers"], old["processed"], old["failed"]) == ("7", ["w-old"], 190, 10)
    assert (found["queues"], found["queueCount"]) == (["photos"], 1)


def test_a_version_whose_workers_have_left_is_still_shown(api: Api) -> None:
    canary()
    workers.unregister("w-old")
    found = api.get("/handlers/resize").ok()
    assert found["versions"] == ["8"]
    assert [(one["version"], one["workers"]) for one in found["details"]] == [("8", ["w-new"]), ("7", [])]


def test_the_list_has_what_is_known_and_what_queues_name(api: Api) -> None:
    announce(RESIZE)
    define("photos", handler="resize")
    define("lost", handler="gone")
    found = {one["name"]: one for one in api.get("/handlers").ok()["items"]}
    assert {"http", "log", "simulate", "resize", "gone"} <= set(found)
    assert (found["resize"]["summary"], found["resize"]["queueCount"]) == ("Make a smaller copy.", 1)
    assert (found["gone"]["versions"], found["gone"]["kind"], found["gone"]["importable"]) == ([], None, False)
    assert (found["log"]["kind"], found["log"]["importable"]) == ("sync", True)


RULES = replace(
    RESIZE,
    kind="batch",
    batch=100,
    linger=1.0,
    retry=("TimeoutError: again after 30 s", "KeyError: Reject"),
    breaker_failures=20,
    breaker_within=60.0,
)


def test_batches_and_what_comes_of_failures(api: Api, admin_client: Client) -> None:
    announce(RULES)
    found = api.get("/handlers/resize").ok()
    assert (found["kind"], found["batch"]) == ("batch", {"most": 100, "linger": 1.0})
    assert found["retry"] == ["TimeoutError: again after 30 s", "KeyError: Reject"]
    assert found["breaker"] == {"failures": 20, "within": 60.0}
    (log,) = (one for one in api.get("/handlers").ok()["items"] if one["name"] == "log")
    assert (log["batch"], log["retry"], log["breaker"]) == (None, [], None)
    shown = html.unescape(admin_client.get(page("resize")).content.decode())
    for text in ("up to 100, gathered for 1 s", "KeyError: Reject", "20 failed attempts within 60 s"):
        assert text in shown, text
    admin_client.post(reverse("admin:columns", args=["handlers"]), {"column": ["kind"]})
    assert "batch (up to 100, gathered for 1 s)" in admin_client.get(LIST).content.decode()


def test_one_that_nobody_knows(api: Api, admin_client: Client) -> None:
    assert "there is no handler 'nope'" in api.get("/handlers/nope").problem(404)["detail"]
    assert admin_client.get(page("nope")).status_code == 404


def test_pages(admin_client: Client) -> None:
    canary()
    define("photos", handler="resize")
    shown = html.unescape(admin_client.get(LIST).content.decode())
    assert page("resize") in shown
    assert "8, 7" in shown
    assert "no live worker" in shown
    shown = html.unescape(admin_client.get(page("resize")).content.decode())
    for text in ("w-old", "w-new", "16.7 %", "5.0 %", "photos", '"minimum": 1', "Make a smaller copy."):
        assert text in shown, text


def test_workers_are_shown_to_whoever_may_see_them() -> None:
    canary()
    client = Client()
    client.force_login(user("viewer", ["queues.view_queue"], is_staff=True))
    shown = client.get(page("resize")).content.decode()
    assert "w-new" not in shown
    assert "16.7" in shown


def test_many_queues_are_counted_and_some_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handler_report, "QUEUES_NAMED", 2)
    for n in range(5):
        define(f"q{n}", handler="resize")
    found = handler_report.report("resize")
    assert ([queue.name for queue in found.queues], found.queue_count) == (["q0", "q1"], 5)
