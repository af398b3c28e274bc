"""The overview: its numbers, what it says is missing, which queues need attention, its charts, and who sees what."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_q.models import Schedule

from jobs import attention, failures, shared, statistics
from jobs.admin.queues.actions import ACTIONS
from jobs.admin.urgent import HELPS
from jobs.models import Worker
from jobs.repositories import assignments, leases, throughput, workers
from jobs.repositories import failures as failure_repository
from jobs.situation import situation
from queues import observation, repository, summaries
from queues.health.rules import PROBLEMS, Health, Tone
from queues.models import DepthSample, Queue
from queues.sqs import Depth
from queues.state import Context, State
from queues.summaries import Sums
from queuesite.foundation.databases import collection, database_clock
from tests.support import records
from tests.support.api import somebody
from tests.support.waiting import eventually

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("mongo")]

INDEX = reverse("admin:index")
MINUTE = statistics.MINUTE


@pytest.fixture(autouse=True)
def nothing_is_remembered() -> Iterator[None]:
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def browser(admin_client: Client) -> Client:
    return admin_client


def text(client: Client, **query: Any) -> str:
    """What is to be read on the page."""
    answer = client.get(INDEX, query)
    assert answer.status_code == 200
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode().partition('id="live"')[2]))


def numbers(client: Client, name: str, **query: Any) -> Any:
    """The numbers of a chart, or None where it is not there."""
    found = re.search(
        rf'<script id="{name}-numbers" type="application/json">(.*?)</script>',
        client.get(INDEX, query).content.decode(),
    )
    return None if found is None else json.loads(found[1])


def did(queue: Queue, minutes_ago: int, **counts: Any) -> None:
    """Something was done with a queue so many whole minutes ago."""
    minute = database_clock.now().replace(second=0, microsecond=0) - minutes_ago * MINUTE
    throughput.add([throughput.Row(queue.id, queue.name, minute, **counts)])


def problems() -> dict[str, list[str]]:
    return {one.queue.name: [problem.health for problem in one.problems] for one in attention.needed(50)}


def ago(minutes: float) -> Any:
    return database_clock.now() - minutes * MINUTE


def test_what_does_not_run_is_said_with_the_command_that_starts_it(browser: Client) -> None:
    Schedule.objects.update(next_run=timezone.now())
    page = text(browser)
    for said in (
        "No worker runs",
        "manage.py runworker",
        "No master leads",
        "manage.py runmaster",
        "No queue exists yet",
    ):
        assert said in page
    assert "qcluster" not in page

    Schedule.objects.update(next_run=timezone.now() - timedelta(minutes=3))
    assert "manage.py qcluster" in text(browser)

    records.define()
    records.register()
    leases.acquire("m1", 30)
    page = text(browser)
    for said in ("No worker runs", "No master leads", "No queue exists yet"):
        assert said not in page
    assert "The only queue is healthy, 0 of 5 places used." in page
    assert "0 of 5" in page


def test_tiles_show_the_moment(browser: Client) -> None:
    queue = records.define(depth_visible=1_234, depth_delayed=3)
    records.define("idle")
    records.register()
    assignment = records.assign(queue)
    workers.heartbeat("w1", [{"jobId": assignment.job_id, "queueName": queue.name, "inFlight": 5, "buffered": 2}])
    did(queue, 1, processed=90, failed=10, durations=(0, 100))
    page = text(browser)
    for said in (
        "Backlog 1,234 3 delayed",
        "In flight 7 5 handled",
        "90 /min",
        "10.0 % 10 failed, last hour",
        "1 of 5",
        "1 queue failing.",
    ):
        assert said in page, said


def test_a_worker_that_is_silent_holds_nothing(browser: Client) -> None:
    queue = records.define()
    records.register()
    workers.heartbeat("w1", [{"jobId": records.assign(queue).job_id, "queueName": queue.name, "inFlight": 5}])
    collection(Worker).update_one({"_id": "w1"}, {"$set": {"heartbeatAt": ago(5)}})
    page = text(browser)
    assert "In flight 0" in page
    assert "stalled" in page
    assert "No worker runs" in page


def test_the_database_adds_up_each_state_and_finds_who_waits_longest() -> None:
    now = database_clock.now()
    records.define("paused", paused=True, depth_visible=1)
    taken = records.define("taken", depth_visible=2, depth_in_flight=1)
    records.define("backing-off", not_before=now + MINUTE, depth_delayed=3)
    records.define("full", depth_visible=4, visible_since=ago(1), dead_letters=5)
    records.define("woken", wake_requested_at=ago(2), depth_observed_at=ago(3))
    records.define("unseen", depth_visible=6)
    context = Context(now, frozenset({taken.id}))
    assert summaries.counted(context)[0] == {
        State.PAUSED: Sums(1, 1, 0, 0, 0),
        State.ACTIVE: Sums(1, 2, 1, 0, 0),
        State.BACKING_OFF: Sums(1, 0, 0, 3, 0),
        State.WAITING: Sums(3, 10, 0, 0, 5),
    }
    assert [queue.name for queue, _ in summaries.longest_waiting(context, 100)] == ["woken", "full", "unseen"]
    assert [queue.name for queue, _ in summaries.longest_waiting(context, 1)] == ["woken"]


def test_each_reason_for_attention_is_found_and_nothing_else() -> None:
    records.define("fine", depth_visible=5, visible_since=ago(0.5))
    records.define("lonely", depth_visible=5, visible_since=ago(11))
    records.define("woken", wake_requested_at=ago(11))
    held = records.define("held", depth_visible=5, visible_since=ago(11))
    records.register(has={"log": "1"}, capacity=2)
    records.assign(held)
    records.define("crashed-once", crash_count=1)
    records.define("crashing", crash_count=2)
    records.define("paused", paused=True, depth_visible=1)
    records.define("paused-empty", paused=True)
    records.define("dead", dead_letters=3)
    records.define("dying", dead_letters=3, dead_letters_grown_at=ago(5))
    records.define("strange", handler="was-removed", dead_letters=1, dead_letters_grown_at=ago(5))
    did(records.define("mostly-well"), 2, processed=95, failed=5)
    did(records.define("failing"), 2, processed=90, failed=10)
    did(records.define("failed-earlier"), 20, failed=10)
    assert problems() == {
        "strange": ["unserved", "dead-letters-growing"],
        "crashing": ["crash-looping"],
        "failing": ["failing"],
        "lonely": ["stuck"],
        "woken": ["stuck"],
        "paused": ["paused-with-backlog"],
        "dying": ["dead-letters-growing"],
    }
    assert [one.queue.name for one in attention.needed(2)] == ["strange", "crashing"]
    records.assign(records.define("taken"))
    assert {name: of for name, of in problems().items() if name in ("lonely", "woken")} == {
        "lonely": ["starved"],
        "woken": ["starved"],
    }


def test_the_top_exception_of_a_failing_queue_is_named() -> None:
    queue, other = records.define("failing"), records.define("well")
    did(queue, 1, failed=10)
    now = time.monotonic()
    for name, count in (("KeyError", 3), ("ValueError", 7)):
        kind = failures.FailureGroup(name, f"shop.{name}", "no customer", "trace", now, now, count)
        failure_repository.add([failure_repository.Seen(queue, kind), failure_repository.Seen(other, kind)])
    (found,) = attention.needed(10)
    assert found.failure is not None
    assert (found.failure.exception_type, found.failure.queue_name) == ("ValueError", "failing")


def test_queues_that_need_attention_are_shown_with_why(browser: Client) -> None:
    for place in range(12):
        records.define(f"dead-{place:02}", dead_letters=place + 1, dead_letters_grown_at=ago(1))
    records.define("strange", handler="was-removed")
    records.register(has={"log": "1"})
    page = text(browser)
    assert "unserved no worker has handler was-removed" in page
    assert "dead-11" in page  # those with the most
    assert "dead-00" not in page
    assert "For the rest" in page


def test_charts_show_what_was_done_and_what_was_waiting(browser: Client) -> None:
    queue = records.define("orders", depth_visible=40)
    records.define("others", depth_visible=2)
    assert numbers(browser, "throughput") is None
    assert numbers(browser, "backlog") is None
    cache.clear()
    did(queue, 5, processed=60, failed=6)
    did(queue, 4, processed=30)
    did(queue, 40, processed=15)  # in a step of a day that is over, whatever the time
    repository.sample_depths(database_clock.now().replace(second=0, microsecond=0) - 5 * MINUTE)

    done = numbers(browser, "throughput", window="15m")
    assert [series["label"] for series in done["series"]] == ["messages", "failed attempts"]
    assert sorted(done["series"][0]["values"])[-3:] == [0, 30, 60]
    assert sum(done["series"][1]["values"]) == 6
    assert len(done["labels"]) == 15
    assert "60 at most" in done["label"]
    waiting = numbers(browser, "backlog", window="15m")
    assert [value for value in waiting["series"][0]["values"] if value is not None] == [42]
    # Of a longer step it is still what was done in a minute.
    day = numbers(browser, "throughput", window="24h")
    assert 0 < max(day["series"][0]["values"]) < 60
    assert numbers(browser, "throughput", window="nonsense")["labels"] == numbers(browser, "throughput")["labels"]


def test_depths_are_sampled_for_each_queue_that_holds_something() -> None:
    full, empty = records.define("full", depth_visible=4), records.define("empty")
    observation.sample_depths()
    (minute,) = {sample["minute"] for sample in collection(DepthSample).find({})}
    assert (minute.second, minute.microsecond) == (0, 0)
    repository.sample_depths(minute)
    assert collection(DepthSample).count_documents({}) == 2
    since, until = minute - MINUTE, minute + MINUTE
    assert list(observation.depths(full.id, since, until, MINUTE).values())[-1] == Depth(4, 0, 0)
    assert list(observation.depths(empty.id, since, until, MINUTE).values())[-1] == Depth(0, 0, 0)
    assert observation.depths(None, since - 60 * MINUTE, since - 59 * MINUTE, MINUTE) == {since - 60 * MINUTE: None}


def test_a_week_is_added_up_once_and_not_at_every_look(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    added_up = throughput.work_of_all

    def counting(*args: Any) -> Any:
        asked.append(args)
        return added_up(*args)

    monkeypatch.setattr(throughput, "work_of_all", counting)
    span = statistics.SPANS["7d"]
    points = statistics.overall(span).points
    assert statistics.overall(span).points == points
    assert len(asked) == 1
    assert len(points) in (84, 85)


def test_failures_are_escaped(browser: Client) -> None:
    now = time.monotonic()
    kind = failures.FailureGroup("KeyError", "shop.f", "<script>alert(1)</script>", "trace", now, now, 3)
    failure_repository.add([failure_repository.Seen(records.define(), kind)])
    content = browser.get(INDEX).content.decode()
    assert "KeyError" in content
    assert "<script>alert(1)" not in content
    assert "&lt;script&gt;alert(1)" in content


def test_everybody_sees_what_they_may() -> None:
    queue = records.define("orders", dead_letters=1)
    assert "You lack the permissions to see this page" in text(somebody())
    worker = somebody("jobs.view_worker")
    records.register()
    page = text(worker)
    assert "w1" in page
    assert "Backlog" not in page
    assert queue.name not in page


def test_the_page_asks_for_its_part_alone(browser: Client) -> None:
    part = browser.get(INDEX, headers={"HX-Request": "true"}).content.decode()
    assert "Queues that need attention" in part
    assert "<html" not in part


def test_the_sidebar_leads_where_one_may_go() -> None:
    def links(client: Client) -> set[str]:
        return set(re.findall(r'href="(/admin/[^"?]*)"', client.get(INDEX).content.decode()))

    assert not links(somebody()) & {reverse("admin:jobs_job_changelist"), reverse("admin:queuesite_token_changelist")}
    assert reverse("admin:jobs_job_changelist") in links(somebody("jobs.view_job"))


def test_no_assignment_of_a_queue_that_is_gone_disturbs(browser: Client) -> None:
    records.register()
    gone = records.define("gone")
    records.assign(gone)
    repository.delete(gone.id)
    assert assignments.all_assignments()
    assert "1 of 5" in text(browser)


class TestUrgent:
    """What helps with each problem, as far as one may do it."""

    def test_each_action_is_one_of_the_list_s(self) -> None:
        assert set(HELPS) == set(PROBLEMS)
        assert {name for names in HELPS.values() for name in names} <= set(ACTIONS)

    def test_offers_what_helps_and_is_permitted(self, browser: Client) -> None:
        queue = records.define("failing")
        did(queue, 1, failed=10)
        now = time.monotonic()
        kind = failures.FailureGroup("KeyError", "shop.f", "no customer", "trace", now, now, 3)
        failure_repository.add([failure_repository.Seen(queue, kind)])
        page = browser.get(INDEX).content.decode()
        assert 'name="action" value="pause"' in page
        assert "KeyError" in text(browser)
        (kept,) = records.failures_of(queue)
        assert reverse("admin:jobs_failure_change", args=[kept.id]) in page
        viewer = somebody("queues.view_queue").get(INDEX).content.decode()
        assert "10 of 10 attempts failed" in viewer
        assert 'name="action"' not in viewer
        assert "KeyError" not in viewer

    def test_a_button_does_what_it_says_and_leads_back(self, browser: Client) -> None:
        queue = records.define("failing")
        did(queue, 1, failed=10)
        page = browser.get(INDEX).content.decode()
        act = re.search(r'action="([^"]*act-on-queues[^"]*)"', page)
        assert act is not None
        answer = browser.post(act[1], {"chosen": str(queue.id), "action": "pause"})
        assert answer.status_code == 302
        assert answer["Location"] == INDEX
        assert records.stored(queue).paused


class TestSituation:
    def test_says_what_is_wrong_the_worst_first(self) -> None:
        said = situation(44, {Health.FAILING: 7, Health.CRASH_LOOPING: 1}, capacity=20, used=20)
        assert said.sentence == "1 queue crash-looping, 7 failing, all 20 places used"
        assert said.tone is Tone.DANGER
        assert situation(3, {Health.STARVED: 2}, capacity=5, used=1).sentence == "2 queues starved"
        assert situation(3, {}, capacity=5, used=5).tone is Tone.WARNING
        assert situation(3, {}, capacity=5, used=1).sentence == "All 3 queues are healthy, 1 of 5 places used"
        assert situation(0, {}, capacity=0, used=0).sentence == "No queue exists yet"


class TestWhatIsShared:
    @pytest.fixture(autouse=True)
    def it_is(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.setattr(shared, "FRESH_SECONDS", 1.0)
        monkeypatch.setattr(shared, "TIMES", 20)
        shared.forget()
        yield
        shared.forget()

    @pytest.mark.parametrize(("took", "lasts"), [(0.01, 1.0), (0.5, 10.0)])
    def test_an_answer_serves_all_for_a_second_or_longer_if_it_was_dear(
        self, monkeypatch: pytest.MonkeyPatch, took: float, lasts: float
    ) -> None:
        now = [0.0]
        asked: list[float] = []

        def ask() -> int:
            asked.append(now[0])
            now[0] += took
            return len(asked)

        monkeypatch.setattr(shared, "monotonic", lambda: now[0])
        monkeypatch.setattr(shared, "SLOW_SECONDS", 3_600.0)
        assert [shared.shared("x", ask) for _ in range(3)] == [1, 1, 1]
        assert shared.shared("x", ask, "of another") == 2
        now[0] = took + lasts - 0.001
        assert shared.shared("x", ask) == 1
        now[0] = took + lasts
        assert shared.shared("x", ask) == 3

    def test_nobody_waits_for_a_dear_answer_that_can_be_renewed_meanwhile(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now, answers, go = [0.0], iter("ab"), threading.Event()

        def ask() -> str:
            found = next(answers)
            assert found == "a" or go.wait(60)
            now[0] += 0.5
            return found

        monkeypatch.setattr(shared, "monotonic", lambda: now[0])
        assert shared.shared("dear", ask) == "a"
        now[0] += 11
        assert shared.shared("dear", ask) == "a"
        go.set()
        eventually(lambda: shared.shared("dear", ask) == "b", 60, "the renewed answer is there")

    def test_one_thread_asks_for_all(self) -> None:
        asked: list[int] = []
        begun, go = threading.Event(), threading.Event()

        def ask() -> int:
            asked.append(1)
            begun.set()
            assert go.wait(60)
            return len(asked)

        with ThreadPoolExecutor(4) as pool:
            first = pool.submit(shared.shared, "flight", ask)
            assert begun.wait(60)
            others = [pool.submit(shared.shared, "flight", ask) for _ in range(3)]
            go.set()
            assert [one.result(60) for one in (first, *others)] == [1] * 4

    def test_whoever_changes_something_sees_it_at_once(self, browser: Client) -> None:
        records.register(has={"log": "1"})
        records.define("webhooks", handler="gone")
        assert "no worker has handler gone" in text(browser)
        collection(Queue).delete_many({})
        assert "no worker has handler gone" in text(browser)
        browser.post(reverse("admin:queues_queue_act"), {"action": "none"})
        assert "no worker has handler gone" not in text(browser)

    def test_who_leads_and_who_lives_is_of_now(self, browser: Client) -> None:
        records.register(has={"log": "1"})
        records.define("orders")
        assert "No worker runs" not in text(browser)
        collection(Worker).delete_many({})
        assert "No worker runs" in text(browser)
