"""Events: what is recorded of what happens, by whom, and who may read it where."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from jobs import reads, statistics
from jobs.admin.marks import chart_marks
from jobs.consumer.report import RunReport
from jobs.master.health_events import HealthEvents
from jobs.models import DepartureReason, EndReason
from jobs.repositories import handlers, leases, workers
from jobs.worker import completion
from queues import events, repository, services
from queues.event_model import Event
from queues.events import EventKind
from queues.health import changes, recording
from queues.health.attempts import Attempts
from queues.pausing import Note
from queuesite import tokens
from queuesite.foundation import actor
from queuesite.foundation.databases import MongoError, collection, database_clock
from queuesite.foundation.errors import InvalidInput
from tests.support import records
from tests.support.api import Api, user

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("mongo")]

PAGE = reverse("admin:queues_event_changelist")


def told(**chosen: Any) -> list[tuple[str | None, str]]:
    """Queue and text of the events, the earliest first."""
    return [(one.queue_name, one.text) for one in events.find(**chosen)[0]][::-1]


def test_workers_and_leaders_are_told_of() -> None:
    workers.register("w1", "host", 1, 5)
    workers.register("w2", "host", 2, 5)
    workers.drain("w1")
    workers.unregister("w1", DepartureReason.DRAINED)
    workers.unregister("w1", DepartureReason.DRAINED)  # a repetition after a lost answer
    (left,) = workers.all_workers()
    workers.prune("w2", left.heartbeat_at)
    leases.acquire("m1", 30)
    leases.acquire("m2", 30)  # the lease is held
    handlers.announce({"log": "1"})
    handlers.announce({"log": "1"})
    assert [text for _, text in told()] == [
        "worker w1 started",
        "worker w2 started",
        "worker w1 was asked to drain",
        "worker w1 left: it was asked to drain",
        "worker w2 died, or was cut off: its heartbeat stopped",
        "master m1 leads, term 1",
        "handler log has a new version, 1",
    ]


def test_what_is_done_to_a_queue_is_told_with_who_and_why() -> None:
    queue = records.define("orders", priority=1)
    with actor.acting(lambda: "ada"):
        services.set_paused("orders", True, Note(reason="refunds fail"))
        services.set_paused("orders", True)  # it is already
        services.update("orders", {"priority": 3, "handler_options": {}, "concurrency": queue.concurrency})
    services.set_paused("orders", False)
    found, _ = events.find(queue="orders")
    assert [(one.text, one.actor) for one in found][::-1] == [
        ("paused: refunds fail", "ada"),
        ("changed: priority from 1 to 3", "ada"),
        ("resumed", ""),
    ]


def test_what_becomes_wrong_with_a_queue_and_when_it_is_over_is_told_once() -> None:
    queue = records.define("orders")
    records.define("others")

    def ended(**report: Any) -> None:
        completion._update_queue(records.stored(queue), RunReport(**report))

    def look() -> int:
        return changes.report(reads.queue_context())

    assert look() == 0
    for _ in range(3):
        ended(reason=EndReason.TRIPPED, last_error="stripe is unavailable", pause=1.0)
    assert (look(), look()) == (1, 0)
    recording.note([(queue.id, database_clock.now(), Attempts(1, 9))])
    assert (look(), look()) == (1, 0)
    ended(reason=EndReason.DRAINED, processed=1)
    recording.note([(queue.id, database_clock.now(), Attempts(1_000))])
    for _ in range(3):
        ended(reason=EndReason.CRASHED, last_error="killed by signal 9")
    assert (look(), look()) == (1, 0)
    assert told(queue="orders") == [
        ("orders", "tripped: stripe is unavailable"),
        ("orders", "failing: 9 of 10 attempts failed in the last 15 minutes"),
        ("orders", "crash-looping: 3 runs in a row failed"),
        ("orders", "recovered: no longer tripped and failing"),
    ]
    assert told(queue="others") == []
    assert records.stored(queue).reported_problems == "crash-looping "


def test_two_masters_tell_of_a_change_once_and_one_that_was_frozen_tells_nothing() -> None:
    queue = records.define("orders", crash_count=2)
    frozen = reads.queue_context()
    (before,) = services.list_queues()
    later = replace(frozen, now=frozen.now + timedelta(seconds=1))
    for _ in range(2):  # both found the change before either told of it
        changes._report(before, later)
    repository.update(queue.id, {"crash_count": 0})
    assert changes.report(replace(frozen, now=frozen.now + timedelta(seconds=2))) == 1
    # What the frozen one has read is as it was once more, but it is of the past.
    changes._report(before, frozen)
    assert told(queue="orders") == [
        ("orders", "crash-looping: 2 runs in a row failed"),
        ("orders", "recovered: no longer crash-looping"),
    ]


def test_a_leader_tells_and_a_standby_does_not() -> None:
    records.define("orders", crash_count=2)
    for leads in (False, True):
        assert told() == []
        events_of = HealthEvents(lambda leads=leads: leads, 60)  # type: ignore[misc]
        events_of.turn(0.0)
        events_of.turn(0.1)  # it is not due yet
        assert events_of.join(60)
    assert told() == [("orders", "crash-looping: 2 runs in a row failed")]


def test_an_event_that_mongodb_does_not_take_disturbs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(event: Any) -> None:
        raise MongoError("away")

    queue = records.define("orders")
    monkeypatch.setattr("queues.event_repository.insert", away)
    assert services.set_paused("orders", True)
    assert records.stored(queue).paused
    assert told() == []


def test_lists_are_filtered_and_cut_into_pages() -> None:
    for place in range(5):
        events.record(EventKind.QUEUE_PURGED, queue=f"q{place % 2}")
    first, following = events.find(queue="q0", limit=2)
    second, last = events.find(queue="q0", limit=2, cursor=following)
    assert (len(first), len(second), last) == (2, 1, None)
    assert first[0].at >= first[1].at >= second[0].at
    assert events.find(kind="queue-paused") == ([], None)
    with pytest.raises(InvalidInput, match="expected one of worker-started"):
        events.find(kind="nonsense")
    middle = second[0].at
    assert [one.at for one in events.find(queue="q0", since=middle)[0]][-1] == middle
    assert all(one.at < middle for one in events.find(until=middle)[0])
    assert events.count(since=middle, most=9) + events.count(until=middle, most=9) == 5
    assert len(events.find(since=middle, limit=1, cursor=following)[0]) == 1, "a page has both"


def test_a_chart_has_the_marks_of_its_span() -> None:
    records.register()
    events.record(EventKind.QUEUE_PURGED, queue="orders")
    now = database_clock.now()
    minute = timedelta(minutes=1)
    assert [one.text for one in events.marks("orders", now - minute, now + minute)] == ["purged"]
    assert [one.text for one in events.marks(None, now - minute, now + minute)] == ["worker w1 started", "purged"]
    assert events.marks("orders", now - 2 * minute, now - minute) == []


def test_the_overview_s_charts_have_the_events_of_all_queues_in_groups() -> None:
    now, seconds = database_clock.now() - timedelta(seconds=1), itertools.count()
    begin = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=3)
    hours = [begin - timedelta(hours=1), begin]
    points = statistics.points([], hours[0], begin + timedelta(hours=1), timedelta(hours=1))

    def marks(queue: str | None = None) -> list[tuple[int, str]]:
        return [(one["at"], one["text"]) for one in chart_marks(queue, points, timedelta(hours=1))]

    def happened(kind: EventKind, place: int, **what: str) -> None:
        events.record(kind, **what)
        at = hours[place] + timedelta(minutes=1, seconds=next(seconds))
        collection(Event).update_one({"at": {"$gte": now}}, {"$set": {"at": at}})

    for name in ("orders", "mails", "refunds", "returns"):
        happened(EventKind.QUEUE_FAILING, 0, queue=name, more="9 of 10 attempts failed")
    happened(EventKind.QUEUE_CREATED, 0, queue="orders")
    happened(EventKind.VERSION_DEPLOYED, 0, subject="log", more="v2")
    happened(EventKind.QUEUE_PAUSED, 1, queue="orders", more=": refunds fail")
    assert sorted(marks()) == [
        (0, "handler log has a new version, v2"),
        (0, "queue failing, 4 times: orders, mails, refunds and 1 more"),
        (1, "orders: paused: refunds fail"),
    ]
    assert sorted(marks("orders")) == [
        (0, "created"),
        (0, "failing: 9 of 10 attempts failed"),
        (1, "paused: refunds fail"),
    ]
    for number in range(30):
        happened(EventKind.WORKER_STARTED, 1, subject=f"w{number}")
    assert (1, "worker started, 30 times: w0, w1, w2 and 27 more") in marks()


def test_the_page_lists_them_and_the_queue_s_charts_are_marked(admin_client: Client) -> None:
    records.define("orders")
    answer = admin_client.post(
        reverse("admin:queues_queue_act"), {"chosen": str(repository.by_name("orders").id), "action": "pause"}
    )
    assert answer.status_code == 302
    page = admin_client.get(PAGE, {"queue": "orders"}).content.decode()
    assert "paused" in page
    assert "admin" in page, "who did it"
    assert "No event matches" in admin_client.get(PAGE, {"queue": "others"}).content.decode()
    answer = admin_client.get(PAGE, {"at": "2026-01-02 14:05"}, follow=True)
    assert answer.redirect_chain == [(f"{PAGE}?at=2026-01-02T14%3A05Z", 302)]
    assert "No event matches" in answer.content.decode()
    for path, nothing in (
        (PAGE, "No event matches"),
        ("/admin/attempts/", "No attempt matches"),
        ("/admin/jobs/", "No job matches"),
    ):
        wrong = admin_client.get(path, {"at": "x"}).content.decode()
        assert "is not a time" in wrong
        assert nothing in wrong, "what does not match is not shown, nor is it said that there is nothing at all"
    assert admin_client.get(PAGE, {"kind": "nonsense"}).status_code == 200
    charts = admin_client.get(reverse("admin:queues_queue_change", args=["orders"])).context["charts"]
    assert charts["depth"]["marks"][0]["text"] == "paused, by admin"
    viewer = Client()
    viewer.force_login(user("viewer", ["queues.view_queue"], is_staff=True))
    unmarked = viewer.get(reverse("admin:queues_queue_change", args=["orders"])).context["charts"]
    assert unmarked["depth"]["marks"] == []


def test_the_api_lists_them() -> None:
    records.define("orders")
    user("writer", ["queues.change_queue", "queues.view_event"])
    writer = Api(tokens.create("writer")[1])
    writer.post("/queues/orders/pause").ok()
    found = writer.get("/events?queue=orders").ok()
    assert [(one["kind"], one["queueName"], one["actor"]) for one in found["items"]] == [
        ("queue-paused", "orders", "writer")
    ]
    assert writer.get("/events?kind=nonsense").status == 422
    at = found["items"][0]["at"]
    assert len(writer.get(f"/events?since={at}").ok()["items"]) == 1
    assert writer.get(f"/events?until={at}").ok()["items"] == []


def test_the_command_line_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    from tests.integration.test_sqs_command import sqs

    records.define("orders")
    sqs("pause", "orders", "--reason", "refunds fail")
    assert "paused: refunds fail" in sqs("events", "orders")
    (one,) = json.loads(sqs("events", "--json"))
    assert one["actor"].endswith("command line)") or one["actor"] == "command line"
    assert sqs("events", "others") == "no events of queue 'others'\n"
    assert sqs("events", "--until", "2026-01-01 00:00") == "no events in this time\n"
    assert "refunds fail" in sqs("events", "--since", "2026-01-01T00:00Z")
    with pytest.raises(SystemExit):
        sqs("events", "--since", "x")
    assert "'x' is not a time: expected 14:05, or 2026-11-26 14:05, in UTC" in capsys.readouterr().err
