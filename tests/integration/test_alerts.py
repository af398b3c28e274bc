"""Notices of what needs attention, to a real HTTP receiver on this machine."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from jobs import alerts, notices, services, silences
from jobs.alert_models import Alert, AlertState, NoticeKind, Silence
from jobs.repositories import alerts as repository
from jobs.repositories import leases
from queues import events
from queues.models import Queue
from queuesite.foundation.actor import acting
from queuesite.foundation.databases import collection, database_clock
from queuesite.foundation.errors import Conflict, InvalidInput, NotFound
from tests.conftest import Configure
from tests.support import records
from tests.support.http_target import Target, http_target

HOUR = timedelta(hours=1)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("mongo")]


@pytest.fixture
def receiver(configure: Configure) -> Iterator[Target]:
    """A system that is well, and whoever gets its notices."""
    with http_target() as target:
        configure(alert_urls=f"json://user:s3cret@127.0.0.1:{target.port}/", alert_after_seconds=0)
        records.register("w1", capacity=5)
        leases.acquire("m1", 30)
        yield target


def texts(target: Target) -> list[str]:
    return [json.loads(one.body)["message"] for one in target.requests]


def trip(**changes: object) -> object:
    return records.define("orders", trip_count=2, trip_reason="stripe is down", **changes)


def mend() -> None:
    collection(Queue).update_many({}, {"$set": {"tripCount": 0}})


def test_one_notice_when_it_begins_and_one_when_it_is_over(receiver: Target) -> None:
    assert alerts.check() == 0
    assert not alerts.unchecked()
    trip()
    assert [alerts.check() for _ in range(3)] == [1, 0, 0]
    mend()
    assert [alerts.check() for _ in range(3)] == [1, 0, 0]
    assert texts(receiver) == [
        "orders: tripped: stripe is down",
        "over: orders: tripped: stripe is down",
    ]
    assert collection(Alert).count_documents({}) == 0


def test_a_system_without_masters_and_workers(receiver: Target) -> None:
    records.set_heartbeat("w1", database_clock.now() - timedelta(hours=1))
    leases.resign("m1", 1)
    assert alerts.check() == 2
    assert "no-leader" in texts(receiver)[0]
    assert "no-workers" in texts(receiver)[0]


def test_what_the_fleet_lacks_is_not_over_while_no_worker_lives(receiver: Target) -> None:
    queue = records.define("orders", pool="gpu")
    assert alerts.check() == 1
    now = database_clock.now()
    records.set_heartbeat("w1", now - timedelta(hours=1))
    assert alerts.check() == 1
    records.set_heartbeat("w1", now)
    assert alerts.check() == 1
    assert [text.partition(", so")[0] for text in texts(receiver)] == [
        "orders: unserved: no worker in pool gpu",
        "system: no-workers: no worker is alive",
        "over: system: no-workers: no worker is alive",
    ]
    collection(Queue).update_one({"_id": queue.id}, {"$set": {"pool": None}})
    assert alerts.check() == 1
    assert texts(receiver)[-1] == "over: orders: unserved: no worker in pool gpu"


def test_what_is_over_soon_is_not_told(receiver: Target, configure: Configure) -> None:
    configure(alert_after_seconds=600)
    trip()
    assert alerts.check() == 0
    mend()
    assert alerts.check() == 0
    assert receiver.requests == []
    assert collection(Alert).count_documents({}) == 0


def test_a_queue_says_what_notices_are_sent_of_and_when(receiver: Target, configure: Configure) -> None:
    chosen: dict[str, dict[str, Any]] = {
        "usual": {},
        "everything": {"notify_of": "all"},
        "nothing": {"notify_of": "none"},
        "some": {"notify_of": "failing,paused-with-backlog"},
        "later": {"notify_after": 600},
        "limited": {"notify_of": "backlog-too-large,too-many-dead-letters", "max_dead_letters": 0, "dead_letters": 1},
    }
    ill: dict[str, Any] = {"trip_count": 1, "trip_reason": "down", "paused": True, "depth_visible": 5}
    queues = {name: records.define(name, **ill, **own) for name, own in chosen.items()}
    assert alerts.check() == 5
    told = re.findall(r"^([a-z]+): ([a-z-]+): ", "\n".join(texts(receiver)), re.MULTILINE)
    assert sorted(told) == [
        ("everything", "paused-with-backlog"),
        ("everything", "tripped"),
        ("limited", "too-many-dead-letters"),
        ("some", "paused-with-backlog"),
        ("usual", "tripped"),
    ]
    configure(alert_on="none")
    collection(Queue).update_one({"_id": queues["usual"].id}, {"$set": {"tripCount": 0}})
    assert alerts.check() == 1, "what was told is told to be over"


def test_only_one_process_sends(receiver: Target) -> None:
    trip()
    seen = repository.SeenProblem("q:tripped", "orders", "tripped", "down")
    now = database_clock.now()
    repository.note([seen], now)
    (alert,) = [one.alert for one in alerts.open_alerts(10)]
    assert [repository.claim(alert, AlertState.SENDING, now) for _ in range(2)] == [True, False]
    repository.abandoned(now + timedelta(seconds=1))
    assert repository.all_alerts(10)[0].state == AlertState.SENT


def test_a_failed_sending_is_tried_again_later_and_shows_no_address(
    receiver: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    trip()
    receiver.status = 500
    assert alerts.check() == 0
    assert alerts.check() == 0  # it is not due
    assert len(receiver.requests) == 1
    (alert,) = repository.all_alerts(10)
    assert (alert.state, alert.failures) == (AlertState.PENDING, 1)
    assert alert.error.startswith("no address of ALERT_URLS took the notice: 1: JSON at 127.0.0.1: ")
    assert "500" in alert.error
    receiver.status = 200
    collection(Alert).update_one({}, {"$set": {"tryAgainAt": database_clock.now() - timedelta(seconds=1)}})
    assert alerts.check() == 1
    assert "s3cret" not in alert.error + "".join(capsys.readouterr())


def test_a_receiver_that_does_not_answer_is_given_up(receiver: Target) -> None:
    receiver.go.clear()
    (answer,) = notices.send(NoticeKind.TEST, "title", "body", seconds=0.1)
    assert not answer.took
    assert "did not finish" in answer.text


def test_what_was_sent_is_on_record_with_each_address_s_answer(receiver: Target, configure: Configure) -> None:
    urls = f"json://user:s3cret@127.0.0.1:{receiver.port}/hook-4711,json://127.0.0.1:9/t0ken?+X-Key=k3y"
    configure(alert_urls=urls, alert_after_seconds=0)
    trip()
    assert alerts.check() == 1, "one address took it"
    (notice,), following = notices.find()
    assert following is None
    assert (notice.kind, notice.title) == (NoticeKind.BEGUN, "Queuesite: 1 problem")
    assert notice.body == "orders: tripped: stripe is down"
    assert [(one["target"], one["took"]) for one in notice.answers] == [
        ("1: JSON at 127.0.0.1", True),
        ("2: JSON at 127.0.0.1", False),
    ]
    assert "onnection" in notice.answers[1]["text"]
    assert notices.targets() == ([one["target"] for one in notice.answers], "")
    with acting(lambda: "ada"):
        receiver.status = 403
        first, second = notices.test()
    assert "403" in first.text
    newest = notices.find(limit=1)
    assert newest[1] is not None
    assert (newest[0][0].kind, newest[0][0].actor) == (NoticeKind.TEST, "ada")
    assert notices.find(cursor=newest[1])[0] == [notice]
    for secret in ("s3cret", "user", "hook-4711", "t0ken", "X-Key", "k3y"):
        assert secret not in f"{notice.answers}{first}{second}"


class TestSilences:
    def test_nobody_is_told_within_one(self, receiver: Target) -> None:
        trip()
        silences.begin(["orders"], HOUR)
        assert alerts.check() == 0
        silences.end_of(["orders"])
        silences.begin([], HOUR)
        assert alerts.check() == 0
        assert [one.silence is not None for one in alerts.open_alerts(10)] == [True]
        silences.end_of([])
        assert alerts.check() == 1
        assert [one.silence for one in alerts.open_alerts(10)] == [None]

    def test_it_has_who_and_why_and_is_an_event(self, mongo: None) -> None:
        records.define("orders")
        records.define("payments")
        with acting(lambda: "ada"):
            silences.begin(["payments", "orders"], HOUR, "the  bank\nis down")
            silences.begin([], 2 * HOUR)
            silences.end_of(["orders"])
        held = [(one.subject, one.actor, one.reason, one.begun_at is None) for one in silences.current()]
        assert held == [("payments", "ada", "the bank is down", False), ("", "ada", "", False)]
        found = {(one.queue_name, one.kind): (one.actor, one.text) for one in events.find()[0]}
        actor, text = found["payments", "notices-silenced"]
        assert actor == "ada"
        assert re.fullmatch(r"notices of payments silenced until [0-9: -]+ UTC: the bank is down", text)
        assert found["orders", "silence-ended"] == ("ada", "the silence of orders ended")
        assert found[None, "notices-silenced"][1].startswith("notices of everything silenced until ")

    def test_bounds(self, mongo: None) -> None:
        records.define("orders")
        with pytest.raises(NotFound, match="no queue 'none', so no notice was silenced"):
            silences.begin(["orders", "none"], HOUR)
        for span in (timedelta(0), timedelta(days=30, seconds=1)):
            with pytest.raises(InvalidInput, match="at most 30 days"):
                silences.begin([], span)
        with pytest.raises(InvalidInput, match="501 characters"):
            silences.begin([], HOUR, "x" * 501)
        with pytest.raises(InvalidInput, match="at most 500 at once"):
            silences.begin([str(number) for number in range(501)], HOUR)
        assert silences.current() == []
        with pytest.raises(NotFound, match="no silence 'system'"):
            silences.end("system")
        assert silences.end_of([]) == 0

    def test_a_new_one_replaces_the_old_and_one_that_is_over_does_not_hold(self, mongo: None) -> None:
        silences.begin([], HOUR, "first")
        silences.begin([], 2 * HOUR, "second")
        assert [one.reason for one in silences.current()] == ["second"]
        collection(Silence).update_many({}, {"$set": {"until": database_clock.now() - HOUR}})
        assert silences.current() == []

    def test_it_ends_with_its_queue(self, mongo: None) -> None:
        records.define("orders", managed=False)
        silences.begin(["orders"], HOUR)
        services.delete_queue("orders")
        assert silences.current() == []


def test_a_test_notice(receiver: Target, configure: Configure) -> None:
    (answer,) = notices.test()
    assert answer.took
    assert "Nothing is wrong" in texts(receiver)[0]
    configure(alert_urls="nonsense-s3cret://x")
    with pytest.raises(Conflict) as caught:
        notices.test()
    assert "s3cret" not in str(caught.value)
    configure(alert_urls=None)
    with pytest.raises(Conflict, match="ALERT_URLS is empty"):
        notices.test()
    assert notices.targets() == ([], "")


@pytest.mark.parametrize(("text", "minutes"), [("30m", 30), ("2h", 120), ("1 d 6 h", 1_800), ("0", 0)])
def test_spans(text: str, minutes: int) -> None:
    assert silences.span_of(text) == timedelta(minutes=minutes)


@pytest.mark.parametrize("text", ["", "2", "1.5", "-1h", "2w"])
def test_spans_that_are_none(text: str) -> None:
    with pytest.raises(InvalidInput, match="like 30m or 2h"):
        silences.span_of(text)


def test_by_the_command_line(receiver: Target, capsys: pytest.CaptureFixture[str]) -> None:
    trip()
    records.define("payments")

    def said(*arguments: str) -> str:
        call_command("sqs", *arguments)
        return capsys.readouterr().out

    assert "no silence is in effect" in said("silences")
    assert "nothing is wrong of which a notice was sent" in said("alerts")
    assert "no notice was sent" in said("notices")
    text = said("silence", "orders", "payments", "2h", "--reason", "the bank is down")
    assert "queue 'orders' is silent until" in text
    assert "queue 'payments' is silent until" in text
    assert "everything is silent until" in said("silence", "30m")
    assert [one["queue"] for one in json.loads(said("silences", "--json"))] == [None, "orders", "payments"]
    assert "the bank is down" in said("silences")
    alerts.check()
    assert "silenced until" in said("alerts")
    assert "2 silences ended" in said("silence", "orders", "payments", "0")
    assert "1 silence ended" in said("silence", "0")
    assert "0 silences ended" in said("silence", "0")
    alerts.check()
    assert json.loads(said("alerts", "--json"))[0]["state"] == "sent"
    assert "1: JSON at 127.0.0.1: took the test notice" in said("test-alert")
    assert [one["kind"] for one in json.loads(said("notices", "--json"))] == ["test", "begun"]
    assert "took it" in said("notices")
    receiver.status = 500
    with pytest.raises(CommandError, match="not every address"):
        call_command("sqs", "test-alert")
