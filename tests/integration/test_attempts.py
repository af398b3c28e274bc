"""Attempts in MongoDB: written by workers, limited in number by the leader, found by people."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from bson import ObjectId
from django.test import Client
from django.urls import reverse

from jobs import attempt_reads
from jobs.attempt_model import Attempt
from jobs.attempts import AttemptOutcome, AttemptReport
from jobs.master import attempt_upkeep
from jobs.repositories import attempts
from jobs.repositories.attempts import Reported
from queues.models import Queue
from queuesite.foundation.databases import collection, database_clock
from queuesite.foundation.documents import to_models
from queuesite.foundation.errors import InvalidInput, NotFound
from tests.support import records
from tests.support.api import everything, user

pytestmark = [pytest.mark.usefixtures("mongo")]


def made(queue: Queue, number: int = 1, age: float = 0.0, **values: Any) -> Reported:
    facts: dict[str, Any] = {"outcome": AttemptOutcome.FAILED, "took": 0.25, "waited": 3.5, **values}
    report = AttemptReport(f"m{number}", 2, started=time.monotonic() - age, **facts)
    return Reported(report, queue, ObjectId(), "w1", "charge", "v1")


def stored(**filters: Any) -> list[Attempt]:
    return to_models(Attempt, collection(Attempt).find(filters).sort("startedAt", 1))


def test_a_record_says_all_and_a_repeated_write_changes_nothing() -> None:
    queue = records.define()
    one = made(queue, age=60.0, error_type="KeyError", error="KeyError: 1", log="line", trace_id="a" * 32)
    attempts.add([one, made(queue, 2)])
    attempts.add([one])
    (found,) = stored(messageId="m1")
    assert (found.queue_name, found.queue_id, found.job_id, found.worker) == (queue.name, queue.id, one.job_id, "w1")
    assert (found.handler, found.handler_version, found.receive_count) == ("charge", "v1", 2)
    assert (found.outcome, found.seconds, found.waited) == ("failed", 0.25, 3.5)
    assert (found.error_type, found.error, found.log, found.trace_id) == ("KeyError", "KeyError: 1", "line", "a" * 32)
    assert abs(database_clock.now() - found.started_at - timedelta(seconds=60)) < timedelta(seconds=20)


def test_beyond_the_limit_the_oldest_of_the_busiest_queues_go() -> None:
    quiet, busy = records.define("quiet"), records.define("busy")
    attempts.add([made(quiet, age=1_000.0), *(made(busy, number, age=100.0 - number) for number in range(40))])
    assert attempt_upkeep.trim(50) == 0
    assert attempt_upkeep.trim(20) == 40 - 17
    assert len(stored(queueName="quiet")) == 1
    assert [one.message_id for one in stored(queueName="busy")] == [f"m{number}" for number in range(23, 40)]


def test_the_attempts_of_a_queue_can_be_forgotten() -> None:
    gone, left = records.define("gone"), records.define("left")
    attempts.add([made(gone), made(left)])
    attempts.forget(gone.queue_url)
    assert [one.queue_name for one in stored()] == ["left"]


class TestFinding:
    def test_each_filter(self) -> None:
        orders, events = records.define("orders"), records.define("events", handler="http")
        job = ObjectId()
        one = records.attempted(orders, "m1", job_id=job, error="order 17 of ada", fingerprint="a" * 32)
        other = records.attempted(events, "m2", outcome=AttemptOutcome.DONE, error="", error_type="", fingerprint=None)

        def found(**filters: Any) -> set[ObjectId]:
            return {attempt.id for attempt in attempt_reads.find(**filters)[0]}

        assert found() == {one, other}
        for filters in (
            {"message": "m1"}, {"queue": "orders"}, {"job": str(job)}, {"handler": "log"}, {"kind": "a" * 32},
            {"outcome": "failed"}, {"text": "17 of ADA"}, {"text": "keyerror"},
            {"queue": "orders", "outcome": "failed"},
        ):  # fmt: skip
            assert found(**filters) == {one}, filters
        assert found(queue="orders", outcome="done") == set()
        assert found(text="17.of") == set()
        now = database_clock.now()
        assert found(since=now - timedelta(minutes=1), until=now + timedelta(minutes=1)) == {one, other}
        assert found(until=now - timedelta(minutes=1)) == set()
        began = attempt_reads.attempt(one).started_at
        assert found(queue="orders", since=began) == {one}
        assert found(queue="orders", since=began, until=began) == found(queue="orders", until=began) == set()

    def test_pages_are_whole_and_in_order(self) -> None:
        orders = records.define("orders")
        made_ids = [records.attempted(orders, f"m{n}", age=float(n)) for n in range(7)]
        seen, cursor = [], None
        while True:
            page, cursor = attempt_reads.find(queue="orders", cursor=cursor, limit=3)
            seen += [one.id for one in page]
            if cursor is None:
                break
        assert seen == made_ids

    @pytest.mark.parametrize("filters", [{"outcome": "odd"}, {"job": "x"}, {"cursor": "x"}, {"text": "a\0"}])
    def test_what_is_no_filter(self, filters: dict[str, str]) -> None:
        with pytest.raises(InvalidInput):
            attempt_reads.find(**filters)  # type: ignore[arg-type]

    def test_attempts_at_a_message_come_in_their_order(self) -> None:
        orders = records.define("orders")
        for number, age in ((1, 90.0), (3, 30.0), (2, 60.0)):
            records.attempted(orders, receive_count=number, age=age)
        records.attempted(orders, "m2")
        assert [one.receive_count for one in attempt_reads.of_message("m1")] == [1, 2, 3]
        with pytest.raises(NotFound, match="SAMPLE_ONE_IN"):
            attempt_reads.of_message("m3")


class TestSearch:
    def test_one_text_finds_what_the_user_may_see(self) -> None:
        orders = records.define("orders")
        job = records.running(orders).job_id
        attempt = records.attempted(orders, error="no customer 'ada'")
        everything = lambda permission: True  # noqa: E731

        def ids(some: Any) -> list[Any]:
            return [one.id for one in some]

        assert ids(attempt_reads.search_all("RDER", everything).queues) == [orders.id]
        assert ids(attempt_reads.search_all(f" {job} ", everything).jobs) == [job]
        by_message = attempt_reads.search_all("m1", everything)
        assert (list(by_message.messages), list(by_message.attempts)) == (["m1"], [])
        assert ids(attempt_reads.search_all("customer 'ADA'", everything).attempts) == [attempt]
        for text in ("orders", str(job), "m1", "customer"):
            assert not attempt_reads.search_all(text, lambda permission: False)
        assert not attempt_reads.search_all("  ", everything)
        with pytest.raises(InvalidInput, match="at most 200"):
            attempt_reads.search_all("x" * 201, everything)


@pytest.mark.django_db
class TestApi:
    def test_list_read_and_search(self) -> None:
        orders = records.define("orders")
        attempt = records.attempted(orders, log="charging", trace_id="a" * 32)
        records.attempted(orders, "m2", outcome=AttemptOutcome.DONE, error="", error_type="", fingerprint=None)
        api = everything()
        listed = api.get("/attempts?outcome=failed&queue=orders&message=m1").json
        (item,) = listed["items"]
        assert (item["id"], item["traceId"], item["deadLetter"], listed["next"]) == (
            str(attempt),
            "a" * 32,
            False,
            None,
        )
        assert "log" not in item
        assert api.get(f"/attempts/{attempt}").json["log"] == "charging"
        assert api.get("/search?q=m1").json["messages"] == ["m1"]
        assert api.get("/search?q=order").json["queues"] == ["orders"]
        assert api.get(f"/attempts/{'0' * 24}").status == 404
        assert api.get("/attempts?job=x").status == 422


@pytest.mark.django_db
class TestPages:
    def test_they_show_everything_and_escape_it(self, admin_client: Client) -> None:
        orders = records.define("orders", dlq_url="http://sqs/orders-dlq")
        attempt = records.attempted(
            orders, "m-1", error="<b>bad</b>", log="<script>alert(1)</script>", trace_id="a" * 32, dead_letter=True
        )
        listed = reverse("admin:jobs_attempt_changelist")
        for path in (
            listed,
            f"{listed}?queue=orders&outcome=failed&text=bad",
            reverse("admin:jobs_attempt_change", args=[attempt]),
            reverse("admin:jobs_attempt_message", args=["m-1"]),
        ):
            page = admin_client.get(path).content.decode()
            assert "&lt;b&gt;bad&lt;/b&gt;" in page, path
            assert "<script>alert" not in page
            assert "m-1" in page
        page = admin_client.get(reverse("admin:jobs_attempt_message", args=["m-1"])).content.decode()
        for text in ("a" * 32, "&lt;script&gt;alert(1)", reverse("admin:queues_queue_dead_letters", args=["orders"])):
            assert text in page
        assert "No attempt matches" in admin_client.get(f"{listed}?outcome=done").content.decode()
        answer = admin_client.get(listed, {"queue": "orders", "at": "2026-01-02 14:05"}, follow=True)
        assert answer.redirect_chain == [(f"{listed}?queue=orders&at=2026-01-02T14%3A05Z", 302)]
        assert "No attempt matches" in answer.content.decode()
        assert "m-1" in admin_client.get(listed, {"at": "2999-01-02T14:05Z"}).content.decode()
        assert admin_client.get(f"{listed}?cursor=x").status_code == 200
        assert admin_client.get(reverse("admin:jobs_attempt_message", args=["none"])).status_code == 404

    def test_a_queue_s_page_has_the_tail_of_its_attempts_for_those_who_may_see_it(
        self, admin_client: Client, client: Client
    ) -> None:
        orders = records.define("orders")
        attempt = records.attempted(orders, log="<i>charging</i>")
        path = reverse("admin:queues_queue_change", args=["orders"])
        page = admin_client.get(path).content.decode()
        assert "&lt;i&gt;charging&lt;/i&gt;" in page
        assert reverse("admin:jobs_attempt_change", args=[attempt]) in page
        client.force_login(user("viewer", ["queues.view_queue"], is_staff=True))
        assert "charging" not in client.get(path).content.decode()

    def test_the_box_of_every_page_finds(self, admin_client: Client) -> None:
        orders = records.define("orders")
        job = records.running(orders).job_id
        attempt = records.attempted(orders)
        find = reverse("admin:find")
        assert f'action="{find}"' in admin_client.get(reverse("admin:index")).content.decode()
        for text, found in (
            ("orders", reverse("admin:queues_queue_change", args=["orders"])),
            (str(job), reverse("admin:jobs_job_change", args=[job])),
            ("m1", reverse("admin:jobs_attempt_message", args=["m1"])),
            ("'customer'", reverse("admin:jobs_attempt_change", args=[attempt])),
            ("nothing of it", "Nothing matches"),
            ("", "Enter a part"),
            ("x" * 201, "at most 200"),
        ):
            assert found in admin_client.get(find, {"q": text}).content.decode(), text

    def test_who_may_see_queues_only_finds_queues_only(self, client: Client) -> None:
        records.attempted(records.define("orders"))
        client.force_login(user("viewer", ["queues.view_queue"], is_staff=True))
        page = client.get(reverse("admin:find"), {"q": "orders"}).content.decode()
        assert reverse("admin:queues_queue_change", args=["orders"]) in page
        assert "Nothing matches" in client.get(reverse("admin:find"), {"q": "m1"}).content.decode()
        assert client.get(reverse("admin:jobs_attempt_message", args=["m1"])).status_code == 403
