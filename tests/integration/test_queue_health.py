"""Each rule about a queue's health says in MongoDB what it says in Python, and the facts that it reads are written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId

from queues import repository, summaries, tripping
from queues.fleet import Fleet, Offer
from queues.health import attempts, recording
from queues.health.attempts import Attempts
from queues.health.figures import oldest_message, seconds_to_drain
from queues.health.limits import Limits
from queues.health.rules import PROBLEMS, Health, health_expression, health_of, matching, problems_of
from queues.health.waiting import WAITING_SINCE, waiting_since
from queues.models import Queue
from queues.sqs import Depth
from queues.state import Context
from queuesite.foundation.databases import collection, database_clock
from queuesite.foundation.documents import to_document, to_models
from tests.support import records
from tests.support.rules import MISSING, answers, documents

pytestmark = pytest.mark.usefixtures("mongo")

LIMITS = Limits()
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
#: What limits of one's own make a problem.
LIMITED = (Health.MESSAGE_TOO_OLD, Health.BACKLOG_TOO_LARGE, Health.TOO_MANY_DEAD_LETTERS)


@pytest.fixture
def now() -> datetime:
    """MongoDB keeps milliseconds."""
    moment = database_clock.now()
    return moment.replace(microsecond=moment.microsecond // 1_000 * 1_000)


def compare(made: list[dict[str, Any]], context: Context) -> dict[Health, set[bool]]:
    """Have both answer each question about each document; the answers that came up."""
    questions: dict[str, Any] = {health.name: rule.expression(context) for health, rule in PROBLEMS.items()}
    questions |= {"health": health_expression(context), "since": {"$ifNull": [WAITING_SINCE, None]}}
    found = answers(made, questions)
    queues = to_models(Queue, made)
    assert len(queues) == len(made) == len(found)
    came_up: dict[Health, set[bool]] = {health: set() for health in PROBLEMS}
    for queue in queues:
        row = found[queue.id]
        for health, rule in PROBLEMS.items():
            holds = rule.holds(queue, context)
            assert row[health.name] is holds, (health, to_document(queue))
            came_up[health].add(holds)
        assert row["health"] == health_of(queue, context)
        assert row["since"] == waiting_since(queue)
        problems = problems_of(queue, context)
        assert (problems[0].health if problems else Health.HEALTHY) is health_of(queue, context)
        assert all(problem.sentence and problem.remedy for problem in problems)
    return came_up


def test_simple_rules_are_the_same_for_python_and_mongodb(now: datetime) -> None:
    grown = now - LIMITS.dead_letters
    made = list(
        documents(
            paused=(False, True, MISSING),
            vanishedAt=(None, now, MISSING),
            depthVisible=(0, 1, MISSING),
            crashCount=(0, 1, 2, MISSING),
            deadLetters=(0, 1, MISSING),
            deadLettersGrownAt=(None, MISSING, grown - SECOND, grown),
        )
    ) + list(documents(tripCount=(0, 1, MISSING), handler=("log", "resize")))
    came_up = compare(made, Context(now, frozenset(), Fleet((Offer("default", {"log": "1"}),))))
    for health in set(Health) - {Health.FAILING, Health.STUCK, Health.STARVED, Health.HEALTHY, *LIMITED}:
        assert came_up[health] == {False, True}, health


def slots(now: datetime) -> Iterator[dict[str, Any]]:
    """Slots of attempts: before, at and within the window, and such as somebody has spoilt."""
    edge = now - LIMITS.window
    for at in (edge - SECOND, edge, edge + SECOND, now):
        for failed, processed in ((0, 0), (0, 5), (1, 8), (1, 9), (1, 10), (2, 18), (2, 19)):
            for retried in (0, 1):
                yield {"0": slot(at, processed, failed, retried)}
                yield {"1": slot(at, processed, failed, retried), "3": slot(now - MINUTE, 9, 1, retried)}
    yield {}
    yield {"0": slot(now, 0, "many", 0)}
    yield {"0": slot(now, 0, 1, "some")}
    yield {"0": slot("now", 0, 3, 0)}
    yield {"2": {"at": now, "failed": 3}}
    yield {"2": "spoilt"}
    yield {"0": slot(now, 0.0, 3.0, 0.0)}


def slot(at: Any, processed: Any, failed: Any, retried: Any) -> dict[str, Any]:
    return {"at": at, "processed": processed, "failed": failed, "retried": retried}


def test_failing_is_the_same_for_python_and_mongodb(now: datetime) -> None:
    made = list(documents(recentAttempts=(*slots(now), MISSING), failingPercent=(None, MISSING, 9, 11, 100)))
    assert compare(made, Context(now, frozenset()))[Health.FAILING] == {False, True}


def test_retries_without_end_are_the_same_for_python_and_mongodb(now: datetime) -> None:
    since = (None, MISSING, now - LIMITS.stuck, now - LIMITS.stuck + SECOND)
    made = list(documents(recentAttempts=(*slots(now), MISSING), retryingSince=since))
    assert compare(made, Context(now, frozenset()))[Health.STUCK] == {False, True}


#: Who runs, and who of them has a place.
FLEETS = {
    "nobody": ((), ()),
    "one with a place": ((Offer("default", {"log": "1"}),), (Offer("default", {"log": "1"}),)),
    "one that is full": ((Offer("default", {"log": "1"}),), ()),
    "another pool has places": (
        (Offer("default", {"log": "1"}), Offer("gpu", {"log": "1"})),
        (Offer("gpu", {"log": "1"}),),
    ),
}


@pytest.mark.parametrize("configured", [None, 60])
def test_limits_are_the_same_for_python_and_mongodb(configured: int | None, now: datetime) -> None:
    limits = replace(LIMITS, max_message_age=configured, max_backlog=configured, max_dead_letters=configured)
    edge = now - MINUTE
    sizes = (0, 60, 61, MISSING)
    own = (None, MISSING, 0, 60, 61)
    made = [
        *documents(depthVisible=sizes, maxBacklog=own, paused=(False, True, MISSING)),
        *documents(deadLetters=sizes, maxDeadLetters=own),
        *documents(
            depthVisible=(0, 1, MISSING),
            maxMessageAge=own,
            visibleSince=(None, edge, edge - SECOND),
            lastAttemptAt=(None, now, MISSING),
            paused=(False, True),
        ),
    ]
    ages = {one["name"]: (edge, edge - SECOND, now)[place % 3] for place, one in enumerate(made[::2])}
    came_up = compare(made, Context(now, frozenset(), oldest=ages, limits=limits))
    for health in LIMITED:
        assert came_up[health] == {False, True}, health


def test_a_spoilt_limit_does_not_make_queries_fail(now: datetime) -> None:
    fields = ("failingPercent", "maxMessageAge", "maxBacklog", "maxDeadLetters")
    made = list(documents(depthVisible=(5,), deadLetters=(5,), **dict.fromkeys(fields, ("many", now, [1]))))
    context = Context(now, frozenset())
    found = answers(made, {health.name: PROBLEMS[health].expression(context) for health in LIMITED})
    assert not any(row[health.name] for row in found.values() for health in LIMITED)
    assert answers(made, {"health": health_expression(context)}).keys() == found.keys()


@pytest.mark.parametrize("who", FLEETS)
def test_waiting_is_the_same_for_python_and_mongodb(who: str, now: datetime) -> None:
    fleet, room = (Fleet(offers) for offers in FLEETS[who])
    moments = (None, MISSING, now - LIMITS.stuck, now - LIMITS.starved)
    made = list(
        documents(
            depthVisible=(0, 1),
            pool=(None, "default"),
            visibleSince=moments,
            lastAttemptAt=(*moments, now - LIMITS.starved + SECOND),
            servedUntil=(None, now - LIMITS.starved - SECOND),
            wakeRequestedAt=(None, now - LIMITS.stuck, now - LIMITS.starved),
            notBefore=(None, now - SECOND, now + SECOND),
        )
    )
    context = Context(now, frozenset({made[0]["_id"], made[-1]["_id"]}), fleet, room)
    came_up = compare(made, context)
    assert (True in came_up[Health.STARVED]) == (who in ("one that is full", "another pool has places"))
    assert (True in came_up[Health.STUCK]) == (who != "one that is full")


def test_handlers_without_end_are_the_same_for_python_and_mongodb(now: datetime) -> None:
    long = LIMITS.stuck + 10 * MINUTE
    made = list(
        documents(
            timeout=(None, MISSING, 1, int(long.total_seconds()), int(long.total_seconds()) + 1),
            lastAttemptAt=(None, MISSING, now - LIMITS.stuck, now - LIMITS.stuck + SECOND),
        )
    )
    began = {one["name"]: now - (long, LIMITS.stuck, SECOND)[place % 3] for place, one in enumerate(made)}
    assert compare(made, Context(now, frozenset(), handling=began))[Health.STUCK] == {False, True}


def test_a_list_is_filtered_and_counted_by_the_same_rules(now: datetime) -> None:
    made = list(documents(paused=(False, True), depthVisible=(0, 1), crashCount=(0, 2), deadLetters=(0, 1)))
    context = Context(now, frozenset())
    collection(Queue).insert_many(made)
    queues = to_models(Queue, made)
    _, counts = summaries.counted(context)
    for health in PROBLEMS:
        wanted = {queue.id for queue in queues if PROBLEMS[health].holds(queue, context)}
        assert {one["_id"] for one in collection(Queue).find(matching(health, context))} == wanted, health
        assert counts.problems.get(health, 0) == len(wanted)
    well = {queue.id for queue in queues if health_of(queue, context) is Health.HEALTHY}
    assert {one["_id"] for one in collection(Queue).find(matching(Health.HEALTHY, context))} == well
    ill = {one["_id"] for one in collection(Queue).find(matching(None, context))}
    assert ill == {queue.id for queue in queues} - well
    assert (counts.queues, counts.ill) == (len(queues), len(ill))
    assert summaries.counted(Context(now, frozenset()))[1].ill > 0


def test_the_most_urgent_come_first(now: datetime) -> None:
    records.define("fine", depth_visible=3)
    records.define("paused", paused=True, depth_visible=4)
    records.define("paused-more", paused=True, depth_visible=5)
    records.define("crashing", crash_count=2)
    records.define("crashing-longer", crash_count=7)
    records.define("failing", attempts={"0": slot(now, 5, 5, 0)})
    records.define("failing-paused", paused=True, attempts={"0": slot(now, 0, 6, 0)})
    names = ["crashing-longer", "crashing", "failing-paused", "failing", "paused-more", "paused"]
    context = Context(now, frozenset())
    assert [queue.name for queue in summaries.most_urgent(context, 10)] == names
    assert [queue.name for queue in summaries.most_urgent(context, 2)] == names[:2]


class TestAttempts:
    def recent(self, queue: Queue) -> Attempts:
        return attempts.recent(records.stored(queue), database_clock.now(), LIMITS)

    def test_are_counted_in_the_slots_of_their_time(self, now: datetime) -> None:
        queue = records.define()
        for ago, counted in ((0, Attempts(4, 1)), (1, Attempts(3, 0)), (14, Attempts(2, 2)), (40, Attempts(9, 9))):
            recording.note([(queue.id, now.replace(second=0, microsecond=0) - ago * MINUTE, counted)])
        # The oldest slot of the window may have begun before it: then its attempts do not count.
        assert self.recent(queue) in (Attempts(9, 3), Attempts(7, 1))
        assert len(records.stored(queue).attempts) <= attempts.SLOTS

    def test_of_long_ago_do_not_replace_those_of_now(self, now: datetime) -> None:
        queue = records.define()
        recording.note([(queue.id, now, Attempts(4, 1))])
        recording.note([(queue.id, now - attempts.SLOTS * LIMITS.slot, Attempts(0, 100))])
        assert self.recent(queue) == Attempts(4, 1)

    def test_say_since_when_a_queue_has_been_failing(self, now: datetime) -> None:
        queue = records.define()
        recording.note([(queue.id, now, Attempts(10, 0))])
        assert records.stored(queue).failing_since is None
        recording.note([(queue.id, now, Attempts(0, 10))])
        since = records.stored(queue).failing_since
        assert since is not None
        recording.note([(queue.id, now, Attempts(0, 10))])
        assert records.stored(queue).failing_since == since
        recording.note([(queue.id, now, Attempts(1_000, 0))])
        assert records.stored(queue).failing_since is None
        last = records.stored(queue).last_attempt_at
        assert last is not None
        assert last >= since

    def test_that_asked_for_retries_are_no_failures_but_make_a_queue_stuck_if_nothing_completes(
        self, now: datetime
    ) -> None:
        queue = records.define()
        recording.note([(queue.id, now, Attempts(0, 0, 40))])
        assert self.recent(queue) == Attempts(0, 0, 40)
        stored = records.stored(queue)
        since = stored.retrying_since
        assert since is not None
        assert stored.failing_since is None
        recording.note([(queue.id, now, Attempts(0, 0, 2))])
        stored = records.stored(queue)
        assert stored.retrying_since == since
        assert health_of(stored, Context(since + LIMITS.stuck - SECOND, frozenset())) is Health.HEALTHY
        (problem,) = problems_of(stored, Context(since + LIMITS.stuck, frozenset()))
        assert (problem.health, problem.since) == (Health.STUCK, since)
        assert problem.sentence == (
            "handlers asked 42 times for a retry in the last 15 minutes, and no attempt completed"
        )
        recording.note([(queue.id, now, Attempts(1, 0, 9))])
        assert records.stored(queue).retrying_since is None
        # Failures say nothing of it; and retries of long ago are forgotten.
        recording.note([(queue.id, now, Attempts(0, 1, 0))])
        assert records.stored(queue).retrying_since is None
        long_ago = now - LIMITS.window - MINUTE
        past = {"lastAttemptAt": long_ago, "retryingSince": long_ago}
        collection(Queue).update_one({"_id": queue.id}, {"$set": past})
        recording.note([(queue.id, now, Attempts(0, 0, 1))])
        begun = records.stored(queue).retrying_since
        assert begun is not None
        assert begun > long_ago

    def test_of_a_queue_that_is_gone_or_spoilt_do_no_harm(self, now: datetime) -> None:
        spoilt = records.define()
        collection(Queue).update_one({"_id": spoilt.id}, {"$set": {"recentAttempts": {"0": "x", "1": {"at": 3}}}})
        recording.note([(ObjectId(), now, Attempts(1, 1)), (spoilt.id, now, Attempts(1, 1))])
        assert self.recent(spoilt) == Attempts(1, 1)
        assert collection(Queue).count_documents({}) == 1


class TestFacts:
    def test_since_when_messages_are_visible(self) -> None:
        queue = records.define()
        repository.observed({queue.id: Depth(3, 0, 0)})
        since = records.stored(queue).visible_since
        assert since is not None
        assert records.stored(queue).depth_observed_at == since
        repository.observed({queue.id: Depth(1, 2, 0)})
        assert records.stored(queue).visible_since == since
        repository.observed({queue.id: Depth(0, 2, 0)})
        assert records.stored(queue).visible_since is None

    def test_when_dead_letters_grew(self) -> None:
        queue = records.define()
        repository.dead_letters_observed({queue.id: 5})
        assert records.stored(queue).dead_letters_grown_at is None, "who knows how old they are"
        repository.dead_letters_observed({queue.id: 6})
        grown = records.stored(queue).dead_letters_grown_at
        assert grown is not None
        repository.dead_letters_observed({queue.id: 4})
        repository.dead_letters_observed({queue.id: 4})
        assert records.stored(queue).dead_letters_grown_at == grown

    def test_since_when_runs_fail_or_trip(self, now: datetime) -> None:
        queue = records.define()
        repository.failed(queue.id, 1, now)
        tripping.tripped(queue.id, 1, "stripe", now)
        first = records.stored(queue)
        repository.failed(queue.id, 2, now)
        tripping.tripped(queue.id, 2, "stripe", now)
        second = records.stored(queue)
        assert first.crashing_since == second.crashing_since is not None
        assert first.tripped_since == second.tripped_since is not None


class TestFigures:
    def test_the_oldest_message_is_that_which_a_consumer_holds(self, now: datetime) -> None:
        queue = Queue(name="orders", depth_visible=3, visible_since=now - 5 * MINUTE, last_attempt_at=now - MINUTE)
        waiting = oldest_message(queue, Context(now, frozenset()))
        assert waiting is not None
        assert (waiting.sent_at, waiting.at_least) == (now - MINUTE, True)
        held = oldest_message(queue, Context(now, frozenset(), oldest={"orders": now - 9 * MINUTE}))
        assert held is not None
        assert (held.sent_at, held.at_least) == (now - 9 * MINUTE, True)
        queue.depth_visible = 0
        last = oldest_message(queue, Context(now, frozenset(), oldest={"orders": now - 9 * MINUTE}))
        assert last is not None
        assert not last.at_least
        assert oldest_message(queue, Context(now, frozenset())) is None

    def test_the_time_to_drain_follows_from_the_pace(self, now: datetime) -> None:
        queue = Queue(name="orders", depth_visible=50, depth_in_flight=10)
        context = Context(now, frozenset())
        assert seconds_to_drain(queue, context) is None
        queue.attempts = {"0": slot(now - 2 * MINUTE, 120, 7, 3)}
        assert seconds_to_drain(queue, context) == pytest.approx(60)
        queue.depth_visible = queue.depth_in_flight = 0
        assert seconds_to_drain(queue, context) == 0
