"""Notices of what needs attention, to a real HTTP receiver on this machine."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command

from jobs import alerts
from jobs.alert_models import Alert, AlertState
from jobs.repositories import alerts as repository
from jobs.repositories import leases
from queues.models import Queue
from queuesite.foundation.databases import collection, database_clock
from queuesite.foundation.errors import InvalidInput, NotFound
from tests.conftest import Configure
from tests.support import records
from tests.support.http_target import Target, http_target

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
    seen = repository.Seen("q:tripped", "orders", "tripped", "down")
    now = database_clock.now()
    repository.note([seen], now)
    (alert,) = repository.all_alerts(10)
    assert [repository.claim(alert, AlertState.TELLING, now) for _ in range(2)] == [True, False]
    repository.abandoned(now + timedelta(seconds=1))
    assert repository.all_alerts(10)[0].state == AlertState.TOLD


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
    assert alert.error.startswith("no address of ALERT_URLS (there are 1) took the notice")
    receiver.status = 200
    collection(Alert).update_one({}, {"$set": {"tryAgainAt": database_clock.now() - timedelta(seconds=1)}})
    assert alerts.check() == 1
    assert "s3cret" not in alert.error + "".join(capsys.readouterr())


def test_a_receiver_that_does_not_answer_is_given_up(receiver: Target) -> None:
    receiver.go.clear()
    assert alerts.send("title", "body", seconds=0.1) is not None


def test_silence(receiver: Target) -> None:
    trip()
    now = database_clock.now()
    alerts.silence("orders", now + timedelta(hours=1))
    assert alerts.check() == 0
    alerts.silence("orders", None)
    alerts.silence(None, now + timedelta(hours=1))
    assert alerts.check() == 0
    alerts.silence(None, None)
    assert alerts.check() == 1
    with pytest.raises(NotFound):
        alerts.silence("none", now + timedelta(hours=1))
    with pytest.raises(InvalidInput, match="30 days"):
        alerts.silence(None, now + timedelta(days=31))


def test_a_test_notice(receiver: Target, configure: Configure) -> None:
    alerts.test()
    assert "Nothing is wrong" in texts(receiver)[0]
    configure(alert_urls="nonsense-s3cret://x")
    with pytest.raises(InvalidInput) as caught:
        alerts.test()
    assert "s3cret" not in str(caught.value)
    configure(alert_urls=None)
    with pytest.raises(InvalidInput, match="ALERT_URLS is empty"):
        alerts.test()


@pytest.mark.parametrize(("text", "minutes"), [("30m", 30), ("2h", 120), ("1d", 1_440), ("0", 0)])
def test_spans(text: str, minutes: int) -> None:
    assert alerts.span_of(text) == timedelta(minutes=minutes)


@pytest.mark.parametrize("text", ["", "2", "2 h", "-1h", "2w"])
def test_spans_that_are_none(text: str) -> None:
    with pytest.raises(InvalidInput, match="like 30m or 2h"):
        alerts.span_of(text)


def test_by_the_command_line(receiver: Target, capsys: pytest.CaptureFixture[str]) -> None:
    trip()
    call_command("sqs", "silence", "orders", "2h")
    call_command("sqs", "silence", "30m")
    assert [one.subject for one in repository.silences(database_clock.now())] == ["", "orders"]
    call_command("sqs", "silence", "orders", "0")
    call_command("sqs", "test-alert")
    said = capsys.readouterr().out
    assert "queue 'orders' is silent until" in said
    assert "queue 'orders' is silent no more" in said
    assert [one.subject for one in repository.silences(database_clock.now())] == [""]
    assert len(receiver.requests) == 1
