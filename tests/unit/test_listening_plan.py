"""Who listens to what: the rules of the plan, and what they come to over many rounds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pytest
from bson import ObjectId

from jobs.master.listening import MOST_NEW, SETTLED_SECONDS, Candidate, Listener, ListeningPlan, plan

BOTH = frozenset({"a", "b"})
Held = dict[ObjectId, str]


def candidate(active_at: float = 0.0, servers: frozenset[str] = BOTH, busy_on: str = "", **more: bool) -> Candidate:
    queue_id = ObjectId()
    return Candidate(queue_id, f"http://sqs/{queue_id}", active_at, servers, frozenset(busy_on), **more)


def apply(decided: ListeningPlan, held: Held) -> Held:
    kept = {queue_id: worker for queue_id, worker in held.items() if queue_id not in decided.drop}
    return {**kept, **{one.queue_id: worker for one, worker in decided.add}}


def settled(queues: list[Candidate], listeners: Mapping[str, Listener], held: Held | None = None) -> Held:
    """Plans until nothing changes any more."""
    held = held or {}
    for _ in range(200):
        decided = plan(queues, listeners, held)
        if not decided.drop and not decided.add:
            return held
        held = apply(decided, held)
    raise AssertionError("the plans go on for ever")


def test_queues_are_spread_as_the_limits_are() -> None:
    held = settled([candidate() for _ in range(30)], {"a": Listener(10), "b": Listener(20)})
    assert Counter(held.values()) == {"a": 10, "b": 20}


def test_those_active_most_recently_come_first() -> None:
    queues = [candidate(active_at=float(n)) for n in range(20)]
    held = settled(queues, {"a": Listener(3)})
    assert held.keys() == {one.queue_id for one in queues[-3:]}


def test_only_workers_that_can_serve_a_queue_listen_to_it() -> None:
    queues = [candidate(servers=frozenset("a")), candidate(servers=frozenset("b")), candidate(servers=frozenset())]
    assert settled(queues, {"a": Listener(9), "b": Listener(9)}) == {queues[0].queue_id: "a", queues[1].queue_id: "b"}


def test_a_queue_that_is_processed_is_listened_to_by_its_worker() -> None:
    busy = candidate(busy_on="b")
    assert settled([busy], {"a": Listener(9), "b": Listener(9)}) == {busy.queue_id: "b"}
    # It was processed elsewhere because its listener had no place left: it moves.
    assert plan([busy], {"a": Listener(9), "b": Listener(9)}, {busy.queue_id: "a"}).drop == (busy.queue_id,)


@pytest.mark.parametrize("listeners", [{}, {"b": Listener(9)}], ids=["none", "another"])
def test_what_dead_workers_held_is_let_go(listeners: dict[str, Listener]) -> None:
    queue = candidate()
    decided = plan([queue], listeners, {queue.queue_id: "a"})
    assert decided.drop == (queue.queue_id,)
    assert settled([queue], listeners, {queue.queue_id: "a"}) == dict.fromkeys([queue.queue_id] * len(listeners), "b")


def test_deleted_and_paused_queues_are_let_go() -> None:
    gone = ObjectId()
    assert plan([], {"a": Listener(9)}, {gone: "a"}).drop == (gone,)


def test_nothing_wanders() -> None:
    listeners = {"a": Listener(10), "b": Listener(10)}
    queues = [candidate(active_at=float(n)) for n in range(40)]
    held = settled(queues, listeners)
    # Others were active since, though not by much.
    newer = [
        Candidate(one.queue_id, one.queue_url, SETTLED_SECONDS if one.queue_id not in held else 0.0, BOTH)
        for one in queues
    ]
    assert plan(newer, listeners, held) == ListeningPlan()


def test_a_queue_that_is_active_takes_the_place_of_one_that_has_not_been_for_long() -> None:
    old, new = candidate(active_at=0.0), candidate(active_at=SETTLED_SECONDS + 1)
    assert settled([old, new], {"a": Listener(1)}, {old.queue_id: "a"}) == {new.queue_id: "a"}


def test_a_further_worker_takes_over_a_part_and_then_nothing_moves() -> None:
    queues = [candidate(active_at=float(n)) for n in range(100)]
    held = dict.fromkeys((one.queue_id for one in queues), "a")
    held = settled(queues, {"a": Listener(200), "b": Listener(200)}, held)
    assert min(Counter(held.values()).values()) >= 40


def test_a_full_worker_keeps_its_queues_unless_another_has_room() -> None:
    queues = [candidate() for _ in range(5)]
    held = dict.fromkeys((one.queue_id for one in queues), "a")
    assert plan(queues, {"a": Listener(9, rests=True)}, held) == ListeningPlan()
    assert plan(queues, {"a": Listener(9, rests=True), "b": Listener(9, rests=True)}, held) == ListeningPlan()
    assert settled(queues, {"a": Listener(9, rests=True), "b": Listener(2)}, held) != held


def test_a_queue_whose_last_poll_may_be_open_waits() -> None:
    assert plan([candidate(waits=True)], {"a": Listener(9)}, {}) == ListeningPlan()


def test_a_lower_limit_lets_go_of_those_active_the_longest_ago() -> None:
    queues = [candidate(active_at=float(n)) for n in range(5)]
    held = dict.fromkeys((one.queue_id for one in queues), "a")
    assert set(plan(queues, {"a": Listener(2)}, held).drop) == {one.queue_id for one in queues[:3]}


def test_one_plan_does_not_change_everything() -> None:
    queues = [candidate() for _ in range(2 * MOST_NEW)]
    assert len(plan(queues, {"a": Listener(5_000)}, {}).add) == MOST_NEW
