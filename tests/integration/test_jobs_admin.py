"""The admin's pages of processing: what they show, who may see them, and who may act."""

from __future__ import annotations

import csv
import io
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from bson import ObjectId
from django.contrib.admin.models import LogEntry
from django.test import AsyncClient, Client
from django.urls import reverse
from pymongo.errors import ServerSelectionTimeoutError

from jobs import failures as kinds
from jobs import reads
from jobs.admin.pages import job_status
from jobs.attempt_model import Attempt
from jobs.models import DepartureReason, EndReason, Failure, FailureCount, Job, JobStatus, Master, Worker
from jobs.repositories import assignments, attempts, failures, jobs, leases, masters, workers
from jobs.retry_reasons import MOST_OF_QUEUE, OTHER
from queues import repository as queues
from queues.models import Queue
from queuesite.foundation.databases import collection, database_clock
from queuesite.foundation.errors import MongoUnavailable
from tests.support import records
from tests.support.api import somebody, user
from tests.support.pages import rows

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("mongo")]

EVIL = "<script>alert(1)</script>"
JOBS = reverse("admin:jobs_job_changelist")
FAILURES = reverse("admin:jobs_failure_changelist")
WORKERS = reverse("admin:jobs_worker_changelist")
MASTERS = reverse("admin:jobs_master_changelist")


@pytest.fixture
def browser(admin_client: Client) -> Client:
    """Somebody who may do everything."""
    return admin_client


def text(client: Client, path: str, expected: int = 200, /, **query: Any) -> str:
    answer = client.get(path, query)
    assert answer.status_code == expected
    return answer.content.decode()


def job_page(job: Job) -> str:
    return reverse("admin:jobs_job_change", args=[job.id])


def ended(queue: Queue, *, processed: int = 7, failed: int = 1, error: str | None = None) -> Job:
    assignment = records.running(queue)
    jobs.complete(assignment.job_id, "w1", jobs.Counts(processed, failed), EndReason.DRAINED, error)
    assignments.release(assignment.id, "w1")
    return records.job_of(assignment)


def failed(queue: Queue, message: str = "no customer", *, times: int = 3) -> Failure:
    """A kind of failure, seen so often at this moment."""
    now = time.monotonic()
    trace = f'Traceback (most recent call last):\n  File "x.py", line 1, in f\nKeyError: {message}\n'
    kind = kinds.FailureGroup("KeyError", "shop.f", message, trace, now, now, times, "m-1", 2, f'{{"a": "{message}"}}')
    failures.add([failures.Seen(queue, kind)])
    return records.failures_of(queue)[0]


def test_the_front_door_leads_to_the_admin(browser: Client) -> None:
    response = browser.get("/", follow=True)
    assert response.status_code == 200
    assert response.redirect_chain[-1][0] == reverse("admin:index")


def test_browsers_find_the_icon_where_they_look_by_themselves(client: Client) -> None:
    assert client.get("/favicon.ico").headers["Location"] == "/static/queuesite/favicon.svg"


@pytest.mark.parametrize("path", [JOBS, FAILURES, WORKERS, MASTERS])
def test_pages_without_anything_say_what_is_missing(browser: Client, path: str) -> None:
    page = text(browser, path)
    expected = {
        JOBS: "No jobs yet",
        FAILURES: "No failure",
        WORKERS: "manage.py runworker",
        MASTERS: "manage.py runmaster",
    }
    assert expected[path] in page
    assert "reate a new item" not in page


def retried(queue: Queue, reason: str = "not ready", *, times: int = 2) -> Failure:
    """A kind of reason for which the handler asked for retries."""
    now = time.monotonic()
    kind = kinds.FailureGroup("queues.Retry", "shop.f", reason, "", now, now, times, "m-2", 1, "{}", reason)
    failures.add([failures.Seen(queue, kind)])
    return next(one for one in records.failures_of(queue) if one.retry_reason == reason)


class TestRetries:
    def test_they_are_listed_and_counted_apart_from_failures(self, browser: Client) -> None:
        orders = records.define("orders")
        failure, retry = failed(orders), retried(orders)

        def shown(**query: Any) -> set[ObjectId]:
            page = text(browser, FAILURES, **query)
            return {one.id for one in (failure, retry) if f"failure-{one.id}" in page}

        assert shown() == {failure.id, retry.id}
        assert shown(kind="failure") == {failure.id}
        assert shown(kind="retry", queue="orders") == {retry.id}
        assert shown(kind="retry", queue="events") == set()
        assert "No retries of events" in text(browser, FAILURES, kind="retry", queue="events")
        assert browser.get(FAILURES, {"kind": "odd"}).status_code == 404
        assert (failures.count(), failures.counts("orders")) == (1, (1, 1))
        page = text(browser, reverse("admin:jobs_failure_change", args=[retry.id]))
        assert "Retry: not ready" in page
        assert "which is not a failure" in page
        assert "Newest traceback" not in page

    def test_a_queue_keeps_only_so_many_reasons(self) -> None:
        orders = records.define("orders")
        now = time.monotonic()
        made = [
            failures.Seen(orders, kinds.FailureGroup("R", "f", "x", "", now, now, 1, retry_reason="r" * (n + 1)))
            for n in range(MOST_OF_QUEUE + 5)
        ]
        failures.add(made)
        failures.add(made)
        found = {one.retry_reason: one.count for one in failures.newest({"queueName": "orders"}, 100)}
        assert len(found) == MOST_OF_QUEUE + 1
        assert found[OTHER] == 10


class TestJobs:
    def test_list_by_queue_status_and_worker(self, browser: Client) -> None:
        records.register()
        orders, events = records.define("orders"), records.define("events")
        one, other = ended(orders), records.job_of(records.running(events))

        def shown(**query: Any) -> set[ObjectId]:
            page = text(browser, JOBS, **query)
            return {job.id for job in (one, other) if job_page(job) in page}

        assert shown() == {one.id, other.id}
        assert shown(queue="orders") == {one.id}
        assert shown(status="running") == {other.id}
        assert shown(worker="w1", queue="events") == {other.id}
        assert shown(worker="w2") == set()
        assert "No job matches" in text(browser, JOBS, worker="w2")

    def test_a_time_finds_the_jobs_that_had_begun_by_then(self, browser: Client) -> None:
        """It is the viewer's, and the address has it in UTC."""
        queue = records.define()
        old, new = ended(queue), ended(queue)
        at = datetime.now(UTC).replace(hour=13, minute=5, second=0, microsecond=0) - timedelta(days=1)
        for job, created in ((old, at + timedelta(seconds=9)), (new, at + timedelta(minutes=2))):
            collection(Job).update_one({"_id": job.id}, {"$set": {"createdAt": created, "endedAt": created}})
        browser.cookies["zone"] = "Asia/Kolkata"  # five and a half hours ahead, at all times of the year
        here = f"{at + timedelta(hours=5.5):%Y-%m-%d %H:%M}"
        answer = browser.get(JOBS, {"at": here, "queue": queue.name}, follow=True)
        assert answer.redirect_chain == [(f"{JOBS}?queue={queue.name}&at={at:%Y-%m-%dT%H}%3A05Z", 302)]
        page = answer.content.decode()
        assert job_page(old) in page
        assert job_page(new) not in page
        assert f"1 of these 1 had not ended by {here}" in page
        assert f'value="{here}"' in page
        browser.cookies["zone"] = "../../etc/passwd"
        assert job_page(new) in text(browser, JOBS, at=f"{at + timedelta(minutes=2):%Y-%m-%dT%H:%MZ}")

    @pytest.mark.parametrize(
        "query",
        [
            {"status": "odd"},
            {"at": "x"},
            {"at": "25:00"},
            {"at": "2026-02-30 14:05"},
            {"at": "0001-01-01T00:00Z"},
            {"cursor": "?"},
        ],
    )
    def test_senseless_filters_find_nothing_and_break_nothing(self, browser: Client, query: dict[str, str]) -> None:
        job = ended(records.define())
        assert job_page(job) not in text(browser, JOBS, **query)

    def test_pages_lead_on_until_the_last(self, browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("jobs.admin.jobs.PAGE", 2)
        queue = records.define()
        made = [ended(queue) for _ in range(3)]
        first = browser.get(JOBS)
        second = browser.get(first.context["older"])

        assert [row["job"].id for row in rows(first)] == [made[2].id, made[1].id]
        assert [row["job"].id for row in rows(second)] == [made[0].id]
        assert second.context["older"] is None
        assert second.context["newest"] == JOBS

    def test_page_of_one_that_has_ended(self, browser: Client) -> None:
        job = ended(records.define(), error=EVIL)
        page = text(browser, job_page(job))

        assert "drained: the queue was empty" in page
        assert "Queued for" in page
        assert "ran for" in page
        assert EVIL not in page
        assert "&lt;script&gt;alert(1)" in page
        assert f"{FAILURES}?queue=orders" in page
        assert "data-live=" not in page  # nothing will change

    def test_page_of_one_that_runs_shows_its_live_counts_and_asks_again(self, browser: Client) -> None:
        records.register()
        job = records.job_of(records.running(records.define()))
        workers.heartbeat("w1", [{"jobId": job.id, "queueName": "orders", "processed": 41, "failed": 2, "memory": 1}])
        page = text(browser, job_page(job))

        assert "Messages so far" in page
        assert ">41<" in page
        assert ">41<" in text(browser, JOBS)
        assert "data-live=" in page

    def test_retries_that_were_asked_for_are_no_failures(self, browser: Client) -> None:
        assignment = records.running(records.define())
        jobs.complete(assignment.job_id, "w1", jobs.Counts(retried=1_200), EndReason.DRAINED)
        assert "completed, 1,200 retried" in text(browser, job_page(records.job_of(assignment)))
        assert job_status(Job(status=JobStatus.COMPLETED, message_count=1, retried_count=1))["status"] == "completed"

    def test_a_page_that_asks_again_gets_its_part_alone(self, browser: Client) -> None:
        ended(records.define())
        part = browser.get(JOBS, headers={"HX-Request": "true"}).content.decode()
        assert "orders" in part
        assert "<html" not in part

    @pytest.mark.parametrize("key", ["0" * 24, "no-id"])
    def test_unknown_one(self, browser: Client, key: str) -> None:
        text(browser, reverse("admin:jobs_job_change", args=[key]), 404)

    def test_export_has_every_job_that_matches_and_no_formula(self, monkeypatch: pytest.MonkeyPatch) -> None:
        queue, other = records.define("orders"), records.define("events")
        ended(queue, error="=HYPERLINK(1)")
        ended(queue, processed=8)
        ended(other)

        exporter = user("exporter", ["jobs.view_job"], is_staff=True)
        monkeypatch.setattr("jobs.admin.jobs.EXPORT_PAGE", 1)

        async def download() -> str:
            client = AsyncClient()
            await client.aforce_login(exporter)
            answer: Any = await client.get(
                reverse("admin:jobs_job_export"), {"queue": "orders"}, headers={"Accept-Encoding": "gzip"}
            )
            assert answer.headers["Content-Type"].startswith("text/csv")
            # Of an answer that is compressed in pieces browsers read the first alone.
            assert answer.headers["Content-Encoding"] == "identity"
            return b"".join([part async for part in answer.streaming_content]).decode()

        rows = list(csv.DictReader(io.StringIO(async_to_sync(download)())))

        assert [(row["queue_name"], row["message_count"]) for row in rows] == [("orders", "8"), ("orders", "7")]
        assert rows[1]["last_error"] == "'=HYPERLINK(1)"
        assert rows[0]["worker"] == "w1"

    def test_nobody_changes_one(self, browser: Client) -> None:
        job = ended(records.define())
        assert browser.get(f"{JOBS}add/").status_code == 404
        assert browser.post(f"{JOBS}{job.id}/delete/", {"post": "yes"}).status_code == 404
        assert reads.job(job.id).status == "completed"


class TestFailures:
    def test_list_counts_them_and_draws_the_last_day(self, browser: Client) -> None:
        queue = records.define()
        failure = failed(queue, times=3)
        failed(queue, times=2)
        page = text(browser, FAILURES)

        assert reverse("admin:jobs_failure_change", args=[failure.id]) in page
        # Unless an hour has begun since.
        assert re.search("5 in the last 24 hours, (5|2|0) of them in the current hour", page)
        assert "KeyError" not in text(browser, FAILURES, queue="events")

    def test_hours_are_kept_apart_and_old_ones_left_out(self) -> None:
        failure = failed(records.define(), times=3)
        row = collection(FailureCount).find_one()
        assert row is not None
        for back, count in ((2, 7), (30, 99)):
            hour = row["hour"] - timedelta(hours=back)
            collection(FailureCount).insert_one({**row, "_id": f"x{back}", "hour": hour, "count": count})

        (hours,) = reads.hourly_failures([failure]).values()

        assert len(hours) == 24
        present = hours.index(3)
        assert present in (22, 23), "an hour may have begun since"
        assert (hours[present - 2], sum(hours)) == (7, 10)

    def test_page_escapes_what_others_wrote(self, browser: Client) -> None:
        failure = failed(records.define(), EVIL)
        page = text(browser, reverse("admin:jobs_failure_change", args=[failure.id]))

        assert EVIL not in page
        assert page.count("&lt;script&gt;alert(1)") >= 3  # message, traceback, body
        assert 'class="gr"' in page or 'class="ne"' in page  # highlighted

    def test_body_that_is_no_json(self, browser: Client) -> None:
        failure = failed(records.define())
        collection(Failure).update_one({"_id": failure.id}, {"$set": {"sampleBody": f"plain {EVIL}"}})
        page = text(browser, reverse("admin:jobs_failure_change", args=[failure.id]))
        assert "plain &lt;script&gt;" in page

    def test_resolved_ones_are_forgotten_and_the_log_says_by_whom(self) -> None:
        failure = failed(records.define())
        resolve = reverse("admin:jobs_failure_resolve", args=[failure.id])
        viewer = somebody("jobs.view_failure")
        assert "esolve" not in text(viewer, FAILURES)
        assert viewer.post(resolve).status_code == 403
        operator = Client()
        operator.force_login(user("operator", ["jobs.view_failure", "jobs.delete_failure"], is_staff=True))
        assert operator.get(resolve).status_code == 405
        assert resolve in text(operator, FAILURES)

        answer = operator.post(resolve, follow=True)

        assert "is resolved" in answer.content.decode()
        assert reads.find_failures()[0] == []
        assert sum(sum(hours) for hours in reads.hourly_failures([failure]).values()) == 0
        entry = LogEntry.objects.get()
        assert (entry.user.username, entry.object_repr) == ("operator", str(failure))
        assert operator.post(resolve).status_code == 404


class TestWorkers:
    def test_slots_and_consumers(self, browser: Client) -> None:
        records.register(capacity=3)
        job = records.job_of(records.running(records.define()))
        told = {"jobId": job.id, "queueName": "orders", "processed": 12, "failed": 1, "memory": 52_428_800, "pid": "77"}
        workers.heartbeat("w1", [told])
        page = text(browser, WORKERS)

        assert "Capacity: 1 of 3 used" in page
        assert "50.0\xa0MB" in page
        assert job_page(job) in page
        assert page.count(">free<") == 2
        one = text(browser, reverse("admin:jobs_worker_change", args=["w1"]))
        assert "Capacity: 1 of 3 used" in one
        text(browser, reverse("admin:jobs_worker_change", args=["w2"]), 404)

    def test_a_consumer_that_only_finishes_is_shown_and_holds_no_slot(self, browser: Client) -> None:
        records.register(capacity=3)
        assignment = records.running(records.define())
        assignments.release(assignment.id, "w1")
        told = {"jobId": assignment.job_id, "queueName": "orders", "pid": "77", "inFlight": 2, "finishing": True}
        workers.heartbeat("w1", [told])
        page = text(browser, WORKERS)

        assert "Capacity: 0 of 3 used" in page
        assert "finishing, 2 in flight" in page
        assert job_page(records.job_of(assignment)) in page

    def test_stalled_one_is_told_apart(self, browser: Client) -> None:
        records.register()
        records.set_heartbeat("w1", database_clock.now() - timedelta(hours=1))
        page = text(browser, WORKERS)
        assert "stalled" in page
        assert re.search(r"<time [^>]*data-moment=\"ago\"", page)

    def test_drained_after_a_question_by_who_may(self) -> None:
        records.register("w1")
        drain = reverse("admin:jobs_worker_drain", args=["w1"])
        viewer = somebody("jobs.view_worker")
        assert drain not in text(viewer, WORKERS)
        assert viewer.get(drain).status_code == viewer.post(drain).status_code == 403
        operator = Client()
        operator.force_login(user("operator", ["jobs.view_worker", "jobs.change_worker"], is_staff=True))
        assert drain in text(operator, WORKERS)
        question = text(operator, drain)
        assert "No other worker runs" in question
        assert not workers.is_draining("w1")

        first = operator.post(drain, follow=True).content.decode()
        again = operator.post(drain, follow=True).content.decode()

        assert workers.is_draining("w1")
        assert "finishes what is in flight" in first
        assert "was asked to drain before" in again
        assert [(e.user.username, e.object_id) for e in LogEntry.objects.all()] == [("operator", "w1")]

    def test_starved_queues_offer_to_raise_the_capacity_of_the_workers_that_can_serve_them(self) -> None:
        records.register("w1", capacity=1, has={"log": "1"})
        records.register("w2", capacity=1, pool="gpu", has={"log": "1"})
        ago = database_clock.now() - timedelta(minutes=5)
        queue = records.define("orders", pool="gpu", depth_visible=3, visible_since=ago)
        records.assign(records.define("taken", pool="gpu"), "w2")
        raise_it = reverse("admin:jobs_worker_capacity") + "?queue=orders"
        index = reverse("admin:index")
        assert raise_it not in text(somebody("queues.view_queue", "jobs.view_worker"), index)
        operator = Client()
        may = ["queues.view_queue", "jobs.view_worker", "jobs.change_worker"]
        operator.force_login(user("operator", may, is_staff=True))
        assert raise_it in text(operator, index)
        form = text(operator, reverse("admin:jobs_worker_capacity"), queue="orders")
        assert "orders waits for a place on this worker" in form
        assert 'name="capacity-w2" value="2"' in form
        assert "capacity-w1" not in form

        refused = operator.post(raise_it, {"capacity-w2": "3"}).content.decode()
        assert "capacity 3: expected 1 to 2" in refused
        assert "enter a whole number" in operator.post(raise_it, {"capacity-w2": "x"}).content.decode()
        done = operator.post(raise_it, {"capacity-w2": "2"}, follow=True).content.decode()
        assert "Capacity set: w2 to 2." in done
        assert [worker.wanted_capacity for worker in workers.by_ids(["w1", "w2"])] == [None, 2]
        assert [(e.user.username, e.object_id) for e in LogEntry.objects.all()] == [("operator", "w2")]
        assert "Nothing was changed" in operator.post(raise_it, {"capacity-w2": "2"}, follow=True).content.decode()
        one = text(operator, reverse("admin:jobs_worker_change", args=["w1"]))
        assert reverse("admin:jobs_worker_capacity") + "?worker=w1" in one
        queues.update(queue.id, {"pool": "cpu"})
        assert "No live worker that can process orders" in text(operator, raise_it.partition("?")[0], queue="orders")
        text(operator, raise_it.partition("?")[0], 404, queue="none")

    def test_departed_ones_are_remembered_with_when_and_why(self, browser: Client) -> None:
        for name in ("stopped", "drained", "died"):
            records.register(name)
        workers.unregister("stopped")
        workers.unregister("drained", DepartureReason.DRAINED)
        (died,) = (worker for worker in workers.all_workers() if worker.worker_id == "died")
        assert not workers.prune("died", died.heartbeat_at - timedelta(seconds=1))  # it has shown itself since
        assert workers.prune("died", died.heartbeat_at)
        workers.unregister("never-there")

        gone = {one.worker_id: one for one in reads.departures()}

        assert {name: one.reason for name, one in gone.items()} == {
            "stopped": "shutdown",
            "drained": "drained",
            "died": "stalled",
        }
        assert all(abs(one.departed_at - database_clock.now()) < timedelta(minutes=1) for one in gone.values())
        assert gone["died"].heartbeat_at == died.heartbeat_at
        page = text(browser, WORKERS)
        assert "it died, or was cut off" in page
        assert collection(Worker).count_documents({}) == 0

    def test_nobody_adds_or_deletes_one(self, browser: Client) -> None:
        records.register()
        assert browser.get(f"{WORKERS}add/").status_code == 404
        assert browser.post(f"{WORKERS}w1/delete/", {"post": "yes"}).status_code == 404
        assert [worker.worker_id for worker in workers.all_workers()] == ["w1"]


def test_masters_are_the_leader_and_those_that_stand_by(browser: Client) -> None:
    leases.acquire("m1", 30)
    for name in ("m1", "m2", "gone", "left"):
        masters.heartbeat(name, "host-1", 1)
    masters.leave("left")
    collection(Master).update_one(
        {"_id": "gone"}, {"$set": {"heartbeatAt": database_clock.now() - timedelta(minutes=1)}}
    )

    assert [master.master_id for master in reads.find_masters()] == ["m1", "m2"]
    page = browser.get(MASTERS)
    assert page.context["standbys"] == 1
    assert [(row["master"].master_id, row["leads"]) for row in rows(page)] == [("m1", True), ("m2", False)]
    assert browser.get(reverse("admin:jobs_master_change", args=["m1"])).headers["Location"] == MASTERS


@pytest.mark.parametrize(
    ("path", "permission"),
    [
        (JOBS, "jobs.view_job"),
        (reverse("admin:jobs_job_export"), "jobs.view_job"),
        (FAILURES, "jobs.view_failure"),
        (WORKERS, "jobs.view_worker"),
        (MASTERS, "jobs.view_lease"),
    ],
)
def test_each_page_needs_its_permission(path: str, permission: str, client: Client) -> None:
    assert client.get(path).status_code == 302
    assert somebody().get(path).status_code == 403
    allowed = Client()
    allowed.force_login(user("allowed", [permission], is_staff=True))
    if "export" not in path:  # which streams to an ASGI server alone
        assert allowed.get(path).status_code == 200


@pytest.mark.parametrize("error", [ServerSelectionTimeoutError("db.example:27017"), MongoUnavailable("db.example")])
def test_a_database_that_is_away_is_told_and_not_where_it_is(
    browser: Client, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def away(*args: object, **options: object) -> None:
        raise error

    monkeypatch.setattr("jobs.admin.jobs.reads.find_jobs", away)
    page = text(browser, JOBS, 503)
    assert "MongoDB does not answer" in page
    assert "db.example" not in page


def test_a_fault_of_ours_stays_one(browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.admin.jobs.reads.find_jobs", lambda **options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        browser.get(JOBS)


def test_what_is_of_the_very_moment_from_which_on_is_asked_is_in_the_answer() -> None:
    """The embedded MongoDB's `$gte` misses it in these indexes: see `queuesite.foundation.workarounds`."""
    queue = records.define()
    job, failure = ended(queue), failed(queue)
    assert job.created_at is not None
    found: tuple[dict[str, Any], ...] = ({"queue": "orders"}, {"worker": "w1"}, {"queue": "orders", "worker": "w1"}, {})
    for filters in found:
        assert reads.count_jobs(**filters, since=job.created_at)[JobStatus.COMPLETED] == 1, filters
        assert reads.count_jobs(**filters, until=job.created_at)[JobStatus.COMPLETED] == 0, filters
    attempt = attempts.by_id(records.attempted(queue))
    assert attempts.slowest(attempt.handler, attempt.started_at, 5) == [attempt]
    stored = collection(Attempt).find_one({"_id": attempt.id}) or {}
    for name in attempts.FILTERS:
        assert attempts.count({name: stored[name]}, 2, since=attempt.started_at) == 1, name
    assert failures.most_frequent([queue], failure.last_seen_at) == {queue.id: failure}
    assert failures.count(failure.last_seen_at) == 1
