"""The backlog: when SQS is asked again, and which queues wait for consumers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import pytest
from bson import ObjectId

from jobs.master.backlog import (
    FIRST_LOOKS_PER_SECOND,
    LISTENED_SECONDS,
    NOT_EMPTY_SECONDS,
    RECORD_EMPTY_SECONDS,
    SCALING_SECONDS,
    UNHEARD_SECONDS,
    Backlog,
)
from jobs.master.planner import WaitingQueue
from queues.models import Queue
from queues.sqs import Depth

DATE = datetime(2026, 1, 31, 8, 15, tzinfo=UTC)
EMPTY = Depth(0, 0, 0)
MIN, MAX, PER_CONSUMER = 1.0, 30.0, 100


def queue(name: object = "orders", **fields: object) -> Queue:
    return Queue(id=ObjectId(), name=str(name), queue_url=f"http://sqs/{name}", **fields)


def visible(count: int) -> Depth:
    return Depth(count, 0, 0)


class Watched:
    """A backlog, driven by a clock of the test's own; SQS's answers come as fast as they are asked for."""

    def __init__(self, queues: Iterable[Queue]) -> None:
        self.backlog = Backlog(MIN, MAX, PER_CONSUMER)
        self.now = 100.0
        self.backlog.replace(queues, self.now)

    def next_look(self, target: Queue) -> float:
        """Go on until `target`, the only queue, is due; how long that took."""
        before = self.now
        due: list[Queue] = []
        while not due:  # a date that has been replaced by another comes to nothing
            self.now = self.backlog.next_due()
            due = self.backlog.due(self.now, 10)
        assert due == [target]
        return self.now - before

    def see(self, target: Queue, depth: Depth | None) -> bool:
        return self.backlog.observed(target.id, depth, self.now, self.now)

    def waiting(self, after: float = 0.0) -> list[WaitingQueue]:
        return self.backlog.waiting(self.now + after, DATE + timedelta(seconds=after))

    def names(self) -> list[str]:
        return sorted(found.queue_url.rpartition("/")[2] for found in self.waiting())

    def give(self, **consumers: int) -> set[ObjectId]:
        return self.backlog.follow({f"http://sqs/{name}": count for name, count in consumers.items()}, self.now)


class TestSweep:
    def test_an_empty_queue_is_looked_at_ever_more_rarely_up_to_the_maximum(self) -> None:
        orders = queue()
        watched = Watched([orders])
        watched.next_look(orders)
        for expected in (2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0):
            watched.see(orders, EMPTY)
            assert 0.9 * expected <= watched.next_look(orders) <= expected

    def test_intervals_are_jittered(self) -> None:
        orders = queue()
        watched = Watched([orders])
        intervals = set()
        watched.next_look(orders)
        for _ in range(50):
            watched.see(orders, EMPTY)
            watched.next_look(orders)
            watched.see(orders, visible(1))
            intervals.add(round(watched.next_look(orders), 6))
        assert len(intervals) > 25
        assert 0.9 <= min(intervals) < 0.92 < 0.98 < max(intervals) <= 1.0

    def test_a_queue_that_has_messages_and_waits_does_not_take_up_the_sweep(self) -> None:
        orders = queue()
        watched = Watched([orders])
        watched.next_look(orders)
        for expected in (MIN, 2.0, 4.0, NOT_EMPTY_SECONDS, NOT_EMPTY_SECONDS):
            watched.see(orders, visible(3))
            assert 0.9 * expected <= watched.next_look(orders) <= expected

    def test_a_queue_that_is_seen_to_have_messages_is_looked_at_again_soon(self) -> None:
        orders = queue()
        watched = Watched([orders])
        watched.next_look(orders)
        for _ in range(6):
            watched.see(orders, EMPTY)
            watched.next_look(orders)
        watched.see(orders, visible(3))
        assert watched.next_look(orders) <= MIN

    @pytest.mark.parametrize("depth", [Depth(0, 3, 0), Depth(0, 0, 3)])
    def test_hidden_messages_come_back_so_the_interval_stays_short(self, depth: Depth) -> None:
        orders = queue()
        watched = Watched([orders])
        watched.next_look(orders)
        for _ in range(8):
            watched.see(orders, depth)
            interval = watched.next_look(orders)
        assert 0.9 * NOT_EMPTY_SECONDS <= interval <= NOT_EMPTY_SECONDS

    def test_where_sqs_does_not_tell_it_is_asked_more_rarely_and_what_was_known_stays(self) -> None:
        orders = queue()
        watched = Watched([orders])
        watched.next_look(orders)
        watched.see(orders, visible(3))
        for expected in (2.0, 4.0, 8.0, 16.0, 30.0, 30.0):
            watched.next_look(orders)
            assert not watched.see(orders, None)
            assert 0.9 * expected <= watched.backlog.next_due() - watched.now <= expected
        assert watched.names() == ["orders"]

    def test_a_queue_is_not_due_again_while_its_answer_is_awaited(self) -> None:
        orders = queue()
        watched = Watched([orders])
        watched.next_look(orders)
        assert watched.backlog.due(watched.now + 1_000, 10) == []
        assert watched.backlog.next_due() == float("inf")

    def test_no_more_are_due_than_the_limit_and_the_rest_stays_due(self) -> None:
        watched = Watched([queue(n) for n in range(5)])
        later = watched.now + MAX
        first = watched.backlog.due(later, 2)
        rest = watched.backlog.due(later, 10)
        assert len(first) == 2
        assert len({found.id for found in first + rest}) == 5

    def test_the_first_looks_are_spread(self) -> None:
        count = 4_000
        watched = Watched(queue(n) for n in range(count))
        within_a_second = len(watched.backlog.due(watched.now + 1, count))
        assert 0.7 * FIRST_LOOKS_PER_SECOND < within_a_second < 1.3 * FIRST_LOOKS_PER_SECOND
        assert within_a_second + len(watched.backlog.due(watched.now + count / FIRST_LOOKS_PER_SECOND, count)) == count

    def test_whether_a_depth_is_recorded(self) -> None:
        orders = queue()
        watched = Watched([orders])
        assert watched.see(orders, EMPTY)
        watched.now += RECORD_EMPTY_SECONDS - 1
        assert not watched.see(orders, EMPTY)
        watched.now += 1
        assert watched.see(orders, EMPTY), "or it would look older than it is"
        assert watched.see(orders, visible(3))
        assert watched.see(orders, visible(3)), "one that has messages is looked at by people"
        assert not watched.see(queue("unknown"), visible(4))

    def test_a_busy_queue_with_one_consumer_is_looked_at_for_those_who_watch_it(self) -> None:
        orders = queue()
        watched = Watched([orders])
        watched.next_look(orders)
        watched.see(orders, visible(3))
        watched.give(orders=1)
        assert watched.next_look(orders) == pytest.approx(NOT_EMPTY_SECONDS)
        watched.see(orders, visible(3))
        assert 0.9 * NOT_EMPTY_SECONDS <= watched.next_look(orders) <= NOT_EMPTY_SECONDS

    def test_a_busy_queue_that_may_have_more_consumers_is_looked_at_often(self) -> None:
        orders = queue(max_consumers=3)
        watched = Watched([orders])
        watched.next_look(orders)
        watched.see(orders, visible(3))
        watched.give(orders=1)
        assert watched.next_look(orders) == pytest.approx(SCALING_SECONDS)


class TestCatalogue:
    def test_queues_that_are_gone_are_forgotten(self) -> None:
        old, kept = queue("old"), queue("kept")
        watched = Watched([old, kept])
        watched.see(old, visible(1))
        watched.see(kept, visible(1))
        watched.backlog.replace([kept], watched.now)
        assert watched.names() == ["kept"]
        assert watched.backlog.get(old.id) is None
        assert len(watched.backlog) == 1
        assert kept.id in {q.id for q in watched.backlog.due(watched.now + MAX, 10)}
        assert not watched.see(old, visible(1))

    def test_forgetting_one_that_was_never_known_is_harmless(self) -> None:
        watched = Watched([queue()])
        watched.backlog.forget(ObjectId())
        assert len(watched.backlog) == 1

    def test_a_reading_of_all_definitions_keeps_what_was_seen(self) -> None:
        orders = queue()
        watched = Watched([orders])
        watched.see(orders, visible(250))
        watched.waiting()
        same = queue(max_consumers=5)
        same.id = orders.id
        watched.backlog.replace([same], watched.now + 50)
        (found,) = watched.waiting(after=60)
        assert found.wanted == 2
        assert found.since == watched.now

    def test_a_queue_whose_url_changed_is_followed_under_the_new_one(self) -> None:
        orders = queue()
        watched = Watched([orders])
        moved = Queue(id=orders.id, name="orders", queue_url="http://other/orders")
        watched.backlog.learn(moved, watched.now)
        watched.give(orders=1)
        known = watched.backlog.get(orders.id)
        assert known is not None
        assert known.consumers == 0
        watched.backlog.follow({"http://other/orders": 1}, watched.now)
        assert known.consumers == 1


class TestWaiting:
    def test_a_queue_that_was_seen_with_messages(self) -> None:
        orders, idle = queue(), queue("idle")
        watched = Watched([orders, idle])
        watched.see(orders, visible(1))
        watched.see(idle, EMPTY)
        assert watched.waiting() == [WaitingQueue(orders.id, orders.queue_url, 0, watched.now, 1)]

    @pytest.mark.parametrize("depth", [EMPTY, Depth(0, 5, 0), Depth(0, 0, 5)])
    def test_not_one_without_visible_messages(self, depth: Depth) -> None:
        orders = queue()
        watched = Watched([orders])
        watched.see(orders, depth)
        assert watched.waiting() == []

    def test_a_wake_up_makes_it_wait_whatever_was_seen(self) -> None:
        orders = queue(wake_requested_at=DATE)
        watched = Watched([orders])
        watched.see(orders, EMPTY)
        assert watched.names() == ["orders"]

    @pytest.mark.parametrize(
        ("woken", "served", "waits"),
        [(0, None, True), (0, -1, True), (0, 0, False), (0, 1, False), (None, 1, False)],
    )
    def test_a_wake_up_counts_until_a_consumer_saw_the_queue_empty_after_it(
        self, woken: int | None, served: int | None, waits: bool
    ) -> None:
        def date(seconds: int | None) -> datetime | None:
            return None if seconds is None else DATE + timedelta(seconds=seconds)

        watched = Watched([queue(wake_requested_at=date(woken), served_until=date(served))])
        assert bool(watched.waiting()) is waits

    def test_a_wake_up_that_is_learned_of_later(self) -> None:
        orders = queue()
        watched = Watched([orders])
        assert watched.waiting() == []
        orders.wake_requested_at = DATE
        watched.backlog.learn(orders, watched.now)
        assert watched.names() == ["orders"]

    def test_not_a_paused_one_until_it_is_resumed(self) -> None:
        orders = queue(paused=True, wake_requested_at=DATE)
        watched = Watched([orders])
        watched.see(orders, visible(5))
        assert watched.waiting() == []
        resumed = Queue(id=orders.id, name=orders.name, queue_url=orders.queue_url, wake_requested_at=DATE)
        watched.backlog.learn(resumed, watched.now)
        assert watched.names() == ["orders"]

    def test_after_failed_runs_only_when_the_backoff_is_over(self) -> None:
        watched = Watched([queue(not_before=DATE + timedelta(seconds=8), wake_requested_at=DATE)])
        assert watched.waiting() == []
        assert watched.waiting(after=7.9) == []
        assert len(watched.waiting(after=8)) == 1

    def test_a_tripped_queue_is_probed_by_one_consumer(self) -> None:
        orders = queue(trip_count=1, max_consumers=5)
        watched = Watched([orders])
        watched.see(orders, visible(100_000))
        assert watched.waiting()[0].wanted == 1
        orders.trip_count = 0
        watched.backlog.learn(orders, watched.now)
        watched.see(orders, visible(100_000))
        assert watched.waiting()[0].wanted == 5

    def test_how_long_it_waits_is_counted_from_when_it_began_to(self) -> None:
        orders = queue()
        watched = Watched([orders])
        watched.see(orders, visible(1))
        began = watched.now
        assert watched.waiting(after=7)[0].since == began + 7
        assert watched.waiting(after=9)[0].since == began + 7
        watched.give(orders=1)
        assert watched.waiting(after=10) == []
        watched.give()
        watched.now += 20
        watched.see(orders, visible(1))
        assert watched.waiting()[0].since == watched.now

    def test_it_does_not_wait_while_it_has_its_consumer(self) -> None:
        orders = queue(wake_requested_at=DATE)
        watched = Watched([orders])
        watched.see(orders, visible(99))
        watched.give(orders=1)
        assert watched.waiting() == []


class TestSeveralConsumers:
    @pytest.mark.parametrize(
        ("depth", "most", "wanted"),
        [
            (1, 5, 1),
            (PER_CONSUMER, 5, 1),
            (2 * PER_CONSUMER - 1, 5, 1),
            (2 * PER_CONSUMER, 5, 2),
            (10 * PER_CONSUMER, 5, 5),
            (10 * PER_CONSUMER, 1, 1),
        ],
    )
    def test_as_many_as_the_backlog_is_worth(self, depth: int, most: int, wanted: int) -> None:
        orders = queue(max_consumers=most)
        watched = Watched([orders])
        watched.see(orders, visible(depth))
        assert watched.waiting()[0].wanted == wanted

    def test_further_ones_are_wanted_while_the_first_works(self) -> None:
        orders = queue(max_consumers=3)
        watched = Watched([orders])
        watched.see(orders, visible(3 * PER_CONSUMER))
        watched.give(orders=1)
        assert watched.waiting()[0].wanted == 3
        watched.give(orders=3)
        assert watched.waiting() == []

    def test_when_one_of_several_ends_the_queue_is_read_again_but_not_taken_for_empty(self) -> None:
        orders = queue(max_consumers=3)
        watched = Watched([orders])
        watched.see(orders, visible(3 * PER_CONSUMER))
        watched.give(orders=3)
        assert watched.give(orders=2) == {orders.id}
        known = watched.backlog.get(orders.id)
        assert known is not None
        assert known.depth == visible(3 * PER_CONSUMER)


class TestRelease:
    def test_the_queues_that_have_fewer_consumers_than_before_are_told(self) -> None:
        orders, other = queue(), queue("other")
        watched = Watched([orders, other])
        assert watched.give(orders=1, other=1) == set()
        assert watched.give(orders=1, other=1) == set()
        assert watched.give(other=1) == {orders.id}
        assert watched.give(other=1) == set()

    def test_a_consumer_that_came_and_went_between_two_readings_is_noticed(self) -> None:
        orders = queue()
        watched = Watched([orders])
        watched.backlog.assigned(orders.id, watched.now)
        assert watched.give() == {orders.id}

    def test_a_consumer_that_was_assigned_and_then_read_counts_once(self) -> None:
        orders = queue(max_consumers=2)
        watched = Watched([orders])
        watched.backlog.assigned(orders.id, watched.now)
        assert watched.give(orders=1) == set()
        assert watched.give() == {orders.id}

    def test_a_released_queue_is_looked_at_again_within_a_second(self) -> None:
        orders = queue()
        watched = Watched([orders])
        watched.next_look(orders)
        for _ in range(6):
            watched.see(orders, EMPTY)
            watched.next_look(orders)
        watched.give(orders=1)
        watched.give()
        assert watched.backlog.next_due() <= watched.now + MIN

    def test_the_first_look_after_the_release_is_news_also_where_the_queue_is_empty(self) -> None:
        """Else lists would show for ever what was there before the run."""
        orders = queue()
        watched = Watched([orders])
        assert watched.see(orders, visible(5))
        watched.give(orders=1)
        watched.give()
        assert watched.see(orders, EMPTY)
        assert not watched.see(orders, EMPTY)

    def test_what_was_seen_before_the_release_says_nothing_any_more(self) -> None:
        orders = queue()
        watched = Watched([orders])
        watched.see(orders, visible(5))
        watched.give(orders=1)
        watched.give()
        assert watched.waiting() == []

    def test_an_answer_that_was_asked_for_before_the_release_is_ignored(self) -> None:
        orders = queue()
        watched = Watched([orders])
        watched.give(orders=1)
        asked_at = watched.now
        watched.now += 0.5
        watched.give()
        assert not watched.backlog.observed(orders.id, visible(5), asked_at, watched.now)
        assert watched.waiting() == []
        # It is asked for again, and then it counts.
        assert watched.backlog.next_due() <= watched.now + MIN
        assert watched.see(orders, visible(5))
        assert watched.names() == ["orders"]

    def test_a_queue_deleted_while_it_was_busy_is_no_concern(self) -> None:
        orders = queue()
        watched = Watched([orders])
        watched.give(orders=1)
        watched.backlog.forget(orders.id)
        assert watched.give(orders=1) == set()
        assert watched.give() == set()


@pytest.fixture(scope="class")
def many() -> Sequence[Queue]:
    """Ten thousand, which no test changes."""
    return tuple(queue(n) for n in range(10_000))


class TestManyQueues:
    def test_a_turn_looks_at_the_candidates_alone(self, many: Sequence[Queue]) -> None:
        woken = queue("woken")
        watched = Watched([*many, woken])
        assert watched.waiting() == []  # the first turn looks at them all, and finds that none waits
        watched.see(many[7], visible(1))
        woken.wake_requested_at = DATE
        watched.backlog.learn(woken, watched.now)
        wanted = Backlog._wanted
        with mock.patch.object(Backlog, "_wanted", autospec=True, side_effect=wanted) as looked:
            assert watched.names() == ["7", "woken"]
            assert looked.call_count == 2
            watched.give(**{"7": 1, "woken": 1})
            assert watched.names() == []
            assert looked.call_count == 4

    def test_ten_thousand_idle_queues_cost_a_steady_trickle_of_requests(self, many: Sequence[Queue]) -> None:
        count = len(many)
        watched = Watched(many)
        asked = []
        for second in range(200):
            watched.now = 100.0 + second
            due = watched.backlog.due(watched.now, count)
            asked.append(len(due))
            for found in due:
                watched.see(found, EMPTY)
        steady = asked[100:]
        # One look at each in 27 to 30 s.
        assert count / MAX * 0.9 < sum(steady) / len(steady) < count / (0.9 * MAX) * 1.1
        assert max(steady) < 3 * count / MAX


class TestLateCounts:
    """SQS's counts lag: a queue that was drained seems to have messages for a while."""

    IDLE = 2.0

    def runs(self, lag: float, until: float = 150.0) -> list[float]:
        """When the runs begin of a queue whose last message was handled at 0, if each ends after IDLE seconds."""
        orders = queue()
        watched = Watched([orders])
        began = watched.now
        found: list[float] = []
        run_ends: float | None = 0.0  # it is being processed, by the run that drains it
        watched.give(orders=1)
        while (at := watched.now - began) < until:
            date = DATE + timedelta(seconds=at)
            if run_ends is not None and at >= run_ends:
                orders.served_until, orders.empty_runs = date, len(found)
                watched.give()
                run_ends = None
            for due in watched.backlog.due(watched.now, 10):
                watched.see(due, visible(3) if at < lag else EMPTY)
            if run_ends is None and watched.backlog.waiting(watched.now, date):
                found.append(at)
                watched.give(orders=1)
                run_ends = at + self.IDLE
            watched.now += 0.25
        return found

    def test_counts_that_are_right_cost_no_run(self) -> None:
        assert self.runs(0) == []

    @pytest.mark.parametrize(("lag", "most"), [(1.5, 1), (25, 3), (60, 5)])
    def test_late_ones_cost_a_few(self, lag: float, most: int) -> None:
        found = self.runs(lag)
        assert len(found) <= most
        assert all(at < lag + NOT_EMPTY_SECONDS for at in found)

    def emptied(self, runs: int) -> tuple[Watched, Queue]:
        """A queue that just had so many runs that received nothing, of which SQS says that it has messages."""
        orders = queue(empty_runs=runs, served_until=DATE)
        watched = Watched([orders])
        watched.next_look(orders)
        watched.see(orders, visible(3))
        return watched, orders

    @pytest.mark.parametrize(("runs", "pause"), [(1, 5.0), (2, 10.0), (3, 20.0), (4, MAX), (5_000, MAX)])
    def test_depth_counts_again_after_a_pause_that_doubles(self, runs: int, pause: float) -> None:
        watched, _ = self.emptied(runs)
        moments = (0.0, pause - 0.1, pause)
        assert [len(watched.backlog.waiting(watched.now, DATE + timedelta(seconds=at))) for at in moments] == [0, 0, 1]

    def test_a_wake_up_counts_at_once(self) -> None:
        watched, orders = self.emptied(9)
        orders.wake_requested_at = DATE + timedelta(seconds=1)
        watched.backlog.learn(orders, watched.now)
        assert watched.names() == ["orders"]

    def test_no_further_consumers_for_what_is_not_believed(self) -> None:
        orders = queue(empty_runs=1, served_until=DATE, max_consumers=5)
        watched = Watched([orders])
        watched.give(orders=1)
        watched.see(orders, visible(500))
        assert watched.waiting() == []
        assert [found.wanted for found in watched.waiting(after=5)] == [5]


class TestListened:
    """Queues that a worker listens to, and those that nobody may listen to."""

    def listened(self, target: Queue) -> Watched:
        watched = Watched([target])
        watched.backlog.listened(frozenset({target.id}), watched.now)
        return watched

    def test_an_empty_one_is_hardly_looked_at(self) -> None:
        target = queue()
        watched = self.listened(target)
        watched.next_look(target)
        watched.see(target, EMPTY)
        assert watched.next_look(target) >= 0.9 * LISTENED_SECONDS

    def test_one_that_holds_something_is_looked_at_as_ever(self) -> None:
        target = queue()
        watched = self.listened(target)
        for _ in range(8):
            watched.next_look(target)
            watched.see(target, Depth(0, 1, 0))
        assert watched.next_look(target) <= MAX

    @pytest.mark.parametrize("field", ["not_before", "troubled_until"])
    def test_one_that_its_listener_leaves_alone_is_looked_at_as_ever(self, field: str) -> None:
        target = queue(**{field: DATE + timedelta(seconds=60)})
        watched = self.listened(target)
        for _ in range(8):
            watched.next_look(target)
            watched.backlog.observed(target.id, EMPTY, watched.now, watched.now, DATE)
        assert watched.next_look(target) <= MAX

    def test_one_that_nobody_listens_to_any_more_is_looked_at_soon(self) -> None:
        target = queue()
        watched = self.listened(target)
        watched.next_look(target)
        watched.see(target, EMPTY)
        watched.backlog.listened(frozenset(), watched.now)
        assert watched.next_look(target) <= MAX
        watched.see(target, EMPTY)
        assert watched.next_look(target) <= MAX

    @pytest.mark.parametrize(
        "unheard", [{"max_receive_count": 2}, {"managed": False, "queue_arn": "arn:aws:sqs:eu-west-3:123456789012:q"}]
    )
    def test_one_that_nobody_may_listen_to_is_looked_at_often(self, unheard: dict[str, Any]) -> None:
        target = queue(**unheard)
        watched = Watched([target])
        for _ in range(8):
            watched.next_look(target)
            watched.see(target, EMPTY)
        assert watched.next_look(target) <= UNHEARD_SECONDS

    def test_only_what_decides_who_listens_is_a_change(self) -> None:
        target = queue()
        watched = Watched([target])
        before = watched.backlog.changes
        watched.backlog.learn(target, watched.now)
        assert watched.backlog.changes == before
        watched.backlog.learn(Queue(id=target.id, name="orders", queue_url=target.queue_url, paused=True), watched.now)
        assert watched.backlog.changes == before + 1
