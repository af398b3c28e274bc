"""The page of notices and the API of them, with a real HTTP receiver on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pymongo.errors import AutoReconnect

from jobs import alerts, silences, tasks
from jobs.notice_fallback import GRACE_SECONDS, NoticeFallback
from jobs.repositories import leases
from queues import events
from queues.models import Queue
from queuesite import tokens
from queuesite.foundation.databases import collection, database_clock
from queuesite.foundation.errors import MongoUnavailable
from queuesite.models import ServerWatch
from tests.conftest import Configure
from tests.support import records
from tests.support.api import Api, user
from tests.support.http_target import Target, http_target

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("mongo")]

PAGE = reverse("admin:jobs_alert_changelist")
SILENCE = reverse("admin:jobs_alert_silence")
TEST = reverse("admin:jobs_alert_test")


@pytest.fixture
def receiver(configure: Configure) -> Iterator[Target]:
    """A system in which one queue has tripped, and whoever gets its notices."""
    with http_target() as target:
        configure(
            alert_urls=f"json://user:s3cret@127.0.0.1:{target.port}/p4th,json://127.0.0.1:9/t0ken",
            alert_after_seconds=0,
        )
        records.register("w1", capacity=5)
        records.define("orders", trip_count=2, trip_reason="<b>stripe</b> is down")
        records.define("payments")
        yield target


def told(target: Target) -> list[str]:
    return [json.loads(one.body)["message"] for one in target.requests]


def of_group(name: str) -> User:
    made = user(name, is_staff=True)
    made.groups.add(Group.objects.get(name=name))
    return made


def seen_by(name: str) -> Client:
    client = Client()
    client.force_login(of_group(name))
    return client


def text(client: Client, page: str = PAGE) -> str:
    return client.get(page).content.decode()


class TestPage:
    def test_shows_what_is_open_and_what_was_sent(self, receiver: Target) -> None:
        client = seen_by("viewers")
        assert "Nothing is wrong of which a notice was sent." in text(client)
        assert "Nobody has looked for what to send" in text(client)
        alerts.check()
        page = text(client)
        assert "&lt;b&gt;stripe&lt;/b&gt; is down" in page
        assert "no leader" in page
        assert "1: JSON at 127.0.0.1: sent<" in page
        assert "2: JSON at 127.0.0.1: <strong>not sent</strong>: " in page
        assert "Nobody has looked" not in page
        for secret in ("s3cret", "p4th", "t0ken", str(receiver.port)):
            assert secret not in page
        assert SILENCE not in page
        assert TEST not in page

    def test_without_addresses(self, configure: Configure) -> None:
        client = seen_by("operators")
        assert "<code>ALERT_URLS</code> names no address" in text(client)
        assert "ALERT_URLS is empty" in client.post(TEST, follow=True).content.decode()
        configure(alert_urls="nonsense-s3cret://x")
        assert "apprise does not know" in text(client)
        assert "s3cret" not in text(client)

    def test_tests_each_address(self, receiver: Target) -> None:
        client = seen_by("operators")
        page = client.post(TEST, follow=True).content.decode()
        assert "1: JSON at 127.0.0.1 took the test notice." in page
        assert "2: JSON at 127.0.0.1 did not take it: " in page
        assert "t0ken" not in page
        assert len(receiver.requests) == 1
        assert client.get(TEST).status_code == 405

    def test_silences_and_ends(self, receiver: Target) -> None:
        client = seen_by("operators")
        assert 'value="60" selected' in text(client, SILENCE)
        assert ">orders</textarea>" in text(client, f"{SILENCE}?queue=orders").replace("\n", "")
        answer = client.post(SILENCE, {"queues": "orders, none", "minutes": "120"})
        assert "there is no queue &#x27;none&#x27;, so no notice was silenced" in answer.content.decode()
        assert silences.current() == []
        page = client.post(
            SILENCE, {"queues": "orders,payments", "minutes": "120", "reason": "a <i>release</i>"}, follow=True
        ).content.decode()
        assert "No notices are sent of orders, payments for 2 h" in page
        assert "a &lt;i&gt;release&lt;/i&gt;" in page
        queue = text(client, reverse("admin:queues_queue_change", args=["orders"]))
        assert ", says operators: a &lt;i&gt;release&lt;/i&gt;" in queue
        end = reverse("admin:jobs_alert_end", args=[silences.current()[0].id])
        assert end in page
        assert client.get(end).status_code == 405
        assert "are sent again" in client.post(end, follow=True).content.decode()
        assert "there is no silence" in client.post(end, follow=True).content.decode()
        assert [one.kind for one in events.find(queue="orders")[0]].count("notices-silenced") == 1
        client.post(SILENCE, {"queues": "", "minutes": "30"})
        assert "No notices are sent of anything until" in text(
            client, reverse("admin:queues_queue_change", args=["orders"])
        )

    def test_is_not_for_all_to_act_on(self, receiver: Target) -> None:
        client = seen_by("viewers")
        silences.begin([], timedelta(hours=1))
        end = reverse("admin:jobs_alert_end", args=["system"])
        assert end not in text(client)
        for page in (SILENCE, TEST, end):
            assert client.post(page, {"minutes": "60"}).status_code == 403
        assert receiver.requests == []
        assert len(silences.current()) == 1


class TestApi:
    def test_lists_what_is_open_and_what_was_sent(self, receiver: Target) -> None:
        api = Api(tokens.make(of_group("viewers"))[1])
        assert api.get("/alerts").ok()["lastCheckAt"] is None
        alerts.check()
        silences.begin(["orders"], timedelta(hours=1))
        found = api.get("/alerts").ok()
        assert found["targets"] == ["1: JSON at 127.0.0.1", "2: JSON at 127.0.0.1"]
        assert found["lastCheckAt"] is not None
        one = next(item for item in found["items"] if item["queue"] == "orders")
        assert (one["problem"], one["state"], one["failures"]) == ("tripped", "sent", 0)
        assert one["silencedUntil"] > one["firstSeenAt"]
        assert {item["problem"] for item in found["items"] if item["queue"] is None} == {"no-leader"}
        (notice,) = api.get("/notices").ok()["items"]
        assert notice["kind"] == "begun"
        assert [answer["took"] for answer in notice["answers"]] == [True, False]
        assert "t0ken" not in str(notice)
        page = api.get("/notices?limit=1").ok()
        assert page["next"] is None

    def test_begins_and_ends_silences(self, receiver: Target) -> None:
        api = Api(tokens.make(of_group("operators"))[1])
        begun = api.post("/silences", {"queues": ["orders"], "minutes": 90, "reason": "a release"})
        assert begun.status == 201
        (one,) = begun.ok()["items"]
        assert (one["queue"], one["actor"], one["reason"]) == ("orders", "operators", "a release")
        assert api.post("/silences", {"minutes": 5}).ok()["items"][0]["id"] == "system"
        held = api.get("/silences").ok()["items"]
        assert [item["queue"] for item in held] == [None, "orders"]
        assert silences.current()[1].until - database_clock.now() > timedelta(minutes=80)
        assert api.delete(f"/silences/{one['id']}").status == 204
        api.delete(f"/silences/{one['id']}").problem(404)
        api.post("/silences", {"queues": ["none"], "minutes": 5}).problem(404)
        for wrong in ({"minutes": 0}, {"minutes": 43_201}, {}, {"minutes": 5, "reason": "x" * 501}):
            api.post("/silences", wrong).problem(422)

    def test_tests_each_address(self, receiver: Target, configure: Configure) -> None:
        api = Api(tokens.make(of_group("operators"))[1])
        answers = api.post("/notices/test").ok()["answers"]
        assert [(one["target"], one["took"]) for one in answers] == [
            ("1: JSON at 127.0.0.1", True),
            ("2: JSON at 127.0.0.1", False),
        ]
        configure(alert_urls=None)
        assert "ALERT_URLS is empty" in api.post("/notices/test").problem(409)["detail"]


class TestWithoutBackgroundTasks:
    def test_the_leader_sends_and_says_so(self, receiver: Target) -> None:
        now = [0.0]
        leads = [False]
        fallback = NoticeFallback(lambda: leads[0], lambda: now[0])
        leases.acquire("m1", 30)
        assert fallback.turn() == 0
        now[0] += 1_000
        leads[0] = True
        assert fallback.turn() == 0, "the background tasks have time for their next look"
        noted = {one.alert.problem: one.alert.state for one in alerts.open_alerts(10)}
        assert noted == {"tripped": "pending", "no-qcluster": "pending"}, "how long they last counts from now on"
        now[0] += GRACE_SECONDS
        assert fallback.turn() == 2
        assert "system: no-qcluster: nobody runs the background tasks" in told(receiver)[0]
        assert [fallback.turn(), fallback.turn()] == [0, 0]
        assert alerts.check() == 1
        assert "over: system: no-qcluster" in told(receiver)[1]
        assert fallback.turn() == 0

    @pytest.mark.parametrize(
        ("stands_in", "silent", "leads_later", "sent"),
        [
            (True, False, False, ["system: no-mongodb: MongoDB does not", "over: system: no-mongodb: it lasted 5 min"]),
            (True, True, True, []),
            (False, False, True, []),
        ],
    )
    def test_the_last_leader_tells_that_mongodb_is_away_too(
        self,
        stands_in: bool, silent: bool, leads_later: bool, sent: list[str],
        receiver: Target, monkeypatch: pytest.MonkeyPatch, configure: Configure,
    ) -> None:  # fmt: skip
        def fail() -> bool:
            raise AutoReconnect("127.0.0.1:27017: connection closed")

        configure(alert_urls=f"json://127.0.0.1:{receiver.port}/", alert_after_seconds=120)
        now, leads = [0.0], [stands_in]
        if silent:
            silences.begin([], timedelta(hours=1))
        fallback = NoticeFallback(lambda: leads[0], lambda: now[0])
        fallback.turn()
        now[0] += GRACE_SECONDS
        fallback.turn()
        unchecked = alerts.unchecked
        monkeypatch.setattr(alerts, "unchecked", fail)
        leads[0] = False  # nobody leads without MongoDB
        for _ in range(5):
            fallback.turn()
            now[0] += 60
        monkeypatch.setattr(alerts, "unchecked", unchecked)
        leads[0] = leads_later
        fallback.turn()
        fallback.turn()
        found = told(receiver)
        assert len(found) == len(sent)
        assert all(text.startswith(expected) for text, expected in zip(found, sent, strict=True)), found

    def test_a_master_survives_it(self, receiver: Target, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail() -> None:
            raise MongoUnavailable("MongoDB does not answer")

        monkeypatch.setattr(alerts, "unchecked", fail)
        assert NoticeFallback(lambda: True).turn() == 0


class TestMongodbAway:
    @pytest.fixture
    def server(self, receiver: Target, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
        """Whether it answers; not only to this test."""
        there = [True]
        check = alerts.check

        def asked() -> int:
            if not there[0]:
                raise MongoUnavailable("MongoDB at mongodb://10.0.0.1 does not answer; is it running?")
            return check()

        leases.acquire("m1", 30)
        collection(Queue).update_many({}, {"$set": {"tripCount": 0}})
        monkeypatch.setattr(alerts, "check", asked)
        return there

    def look(self) -> None:
        with suppress(MongoUnavailable):
            tasks.send_alerts()

    def test_is_told_once_and_its_end_too(self, receiver: Target, server: list[bool]) -> None:
        self.look()
        server[0] = False
        for _ in range(3):
            self.look()
        server[0] = True
        for _ in range(2):
            self.look()
        first, second = told(receiver)
        assert first.startswith("system: no-mongodb: MongoDB ")
        assert "10.0.0.1" not in first
        assert second.startswith("over: system: no-mongodb: it lasted ")

    def test_is_not_told_if_it_is_over_soon(self, receiver: Target, server: list[bool], configure: Configure) -> None:
        configure(alert_after_seconds=600)
        for there in (True, False, True):
            server[0] = there
            self.look()
        assert told(receiver) == []

    def test_is_not_told_within_a_silence_of_everything(self, receiver: Target, server: list[bool]) -> None:
        silences.begin([], timedelta(hours=1))
        for there in (True, False):
            server[0] = there
            self.look()
        assert told(receiver) == []
        ServerWatch.objects.update(silent_until=timezone.now())
        self.look()
        assert len(told(receiver)) == 1

    def test_is_tried_again_if_no_address_takes_it(self, receiver: Target, server: list[bool]) -> None:
        server[0] = False
        receiver.status = 500
        self.look()
        receiver.status = 200
        self.look()
        self.look()
        assert len(receiver.requests) == 2
