"""The planner: its rules, each as a property of any snapshot, and what they come to over many rounds."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace

from bson import ObjectId
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.master.planner import (
    AGING_SECONDS,
    YIELD_SECONDS,
    HeldAssignment,
    Plan,
    WaitingQueue,
    plan,
    score,
)
from jobs.master.room import FreeWorker
from jobs.repositories.assignments import NewAssignment
from queues.fleet import Offer

NOW = 1_000_000.0
SLICE = 30.0


def url(name: object) -> str:
    return f"http://sqs/{name}"


def waiting(
    name: object,
    *,
    priority: int = 0,
    waited: float = 0.0,
    wanted: int = 1,
    handler: str = "log",
    pool: str | None = None,
) -> WaitingQueue:
    return WaitingQueue(ObjectId(), url(name), priority, NOW - waited, wanted, handler, pool)


def held(
    name: object,
    worker: str = "w1",
    *,
    number: int = 0,
    priority: int = 0,
    held_for: float = 0.0,
    asked_for: float | None = None,
) -> HeldAssignment:
    return HeldAssignment(ObjectId(), url(name), number, worker, priority, held_for, asked_for)


#: What workers may offer, and the order in which the versions of a handler were announced.
OFFERS = [
    Offer(),
    Offer("default", {"a": "1"}),
    Offer("default", {"a": "2", "b": "1"}),
    Offer("gpu", {"a": "1", "b": "1"}),
    Offer("gpu", {}),
]
ANNOUNCED = {("a", "1"): 1.0, ("a", "2"): 2.0, ("b", "1"): 1.0}


def decide(queues: list[WaitingQueue], workers: list[FreeWorker], slots: list[HeldAssignment] | None = None) -> Plan:
    return plan(queues, workers, slots or [], now=NOW, time_slice=SLICE, announcements=ANNOUNCED)


def names(assignments: tuple[NewAssignment, ...]) -> list[str]:
    return [assignment.queue_url.rpartition("/")[2] for assignment in assignments]


@dataclass
class Snapshot:
    queues: list[WaitingQueue]
    workers: list[FreeWorker]
    held: list[HeldAssignment]

    @property
    def plan(self) -> Plan:
        return decide(self.queues, self.workers, self.held)

    def load(self) -> Counter[str]:
        return Counter(one.worker for one in self.held)

    def free(self) -> int:
        load = self.load()
        return sum(max(0, worker.capacity - load[worker.worker_id]) for worker in self.workers)

    def numbers_of(self, queue_url: str) -> set[int]:
        return {one.number for one in self.held if one.queue_url == queue_url}

    def by_url(self) -> dict[str, WaitingQueue]:
        return {queue.queue_url: queue for queue in self.queues}

    def able(self, queue: WaitingQueue) -> list[FreeWorker]:
        """The workers that can serve a queue, with or without a place left."""
        return [worker for worker in self.workers if worker.offer.serves(queue.handler, queue.pool)]

    def roomy(self, queue: WaitingQueue, load: Counter[str]) -> list[FreeWorker]:
        """Those of them that have a place left at this load."""
        return [worker for worker in self.able(queue) if load[worker.worker_id] < worker.capacity]

    def left_out(self) -> list[WaitingQueue]:
        """The queues that got no first consumer."""
        served = {made.queue_url for made in self.plan.assign}
        return [q for q in self.queues if not self.numbers_of(q.queue_url) and q.queue_url not in served]


def age(queue: WaitingQueue, worker: FreeWorker) -> float:
    """When the worker's version of the queue's handler was announced."""
    versions = worker.offer.versions
    return ANNOUNCED.get((queue.handler, "" if versions is None else versions[queue.handler]), float("-inf"))


seconds = st.floats(0, 500, allow_nan=False)


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """Anything that a master may meet: overloaded workers, gone ones, gaps between slots, slots that yield."""
    workers = [
        FreeWorker(f"w{n}", draw(st.integers(0, 4)), draw(st.sampled_from(OFFERS)), draw(st.integers(0, 3)))
        for n in range(draw(st.integers(0, 4)))
    ]
    places = st.sampled_from([worker.worker_id for worker in workers] + ["gone"])
    taken = draw(st.sets(st.tuples(st.integers(0, 7), st.integers(0, 3)), max_size=12))
    slots = [
        held(
            name,
            draw(places),
            number=number,
            priority=draw(st.integers(0, 9)),
            held_for=draw(seconds),
            asked_for=draw(st.none() | seconds),
        )
        for name, number in sorted(taken)
    ]
    queues = [
        waiting(
            name,
            priority=draw(st.integers(0, 9)),
            waited=draw(seconds),
            wanted=draw(st.integers(1, 4)),
            handler=draw(st.sampled_from("abc")),
            pool=draw(st.sampled_from([None, None, "default", "gpu"])),
        )
        for name in sorted(draw(st.sets(st.integers(0, 11), max_size=10)))
    ]
    return Snapshot(draw(st.permutations(queues)), workers, draw(st.permutations(slots)))


class TestAnySnapshot:
    @given(snapshots())
    def test_no_worker_gets_more_than_its_capacity(self, snapshot: Snapshot) -> None:
        before = snapshot.load()
        given_out = Counter(a.worker for a in snapshot.plan.assign)
        capacity = {worker.worker_id: worker.capacity for worker in snapshot.workers}
        assert set(given_out) <= set(capacity)
        assert all(before[worker] + count <= capacity[worker] for worker, count in given_out.items())

    @given(snapshots())
    def test_no_slot_of_a_queue_is_given_twice_and_the_lowest_ones_are_filled_first(self, snapshot: Snapshot) -> None:
        made: defaultdict[str, set[int]] = defaultdict(set)
        for assignment in snapshot.plan.assign:
            present = snapshot.numbers_of(assignment.queue_url) | made[assignment.queue_url]
            assert assignment.slot == min(set(range(len(present) + 1)) - present)
            made[assignment.queue_url].add(assignment.slot)

    @given(snapshots())
    def test_no_queue_gets_more_consumers_than_it_wants(self, snapshot: Snapshot) -> None:
        wanted = {queue.queue_url: queue.wanted for queue in snapshot.queues}
        for queue_url, count in Counter(a.queue_url for a in snapshot.plan.assign).items():
            assert len(snapshot.numbers_of(queue_url)) + count <= wanted[queue_url]

    @given(snapshots())
    def test_each_goes_to_a_worker_that_can_serve_it(self, snapshot: Snapshot) -> None:
        queues = snapshot.by_url()
        for made in snapshot.plan.assign:
            assert made.worker in {worker.worker_id for worker in snapshot.able(queues[made.queue_url])}

    @given(snapshots())
    def test_no_place_is_left_that_a_queue_could_have(self, snapshot: Snapshot) -> None:
        decided = snapshot.plan
        after = snapshot.load() + Counter(made.worker for made in decided.assign)
        made = Counter(one.queue_url for one in decided.assign)
        for queue in snapshot.queues:
            if len(snapshot.numbers_of(queue.queue_url)) + made[queue.queue_url] < queue.wanted:
                assert not snapshot.roomy(queue, after)

    @given(snapshots())
    def test_the_newest_version_that_has_room_then_the_least_loaded_then_whose_turn_it_is(
        self, snapshot: Snapshot
    ) -> None:
        load = snapshot.load()
        queues = snapshot.by_url()
        turns = {worker.worker_id: worker.turn for worker in snapshot.workers}
        last = max(turns.values(), default=0)
        for nth, made in enumerate(snapshot.plan.assign, 1):
            queue = queues[made.queue_url]
            ranks = {
                worker.worker_id: (-age(queue, worker), load[worker.worker_id], turns[worker.worker_id])
                for worker in snapshot.roomy(queue, load)
            }
            assert ranks[made.worker] == min(ranks.values())
            load[made.worker] += 1
            turns[made.worker] = last + nth

    @given(snapshots())
    def test_what_no_worker_can_serve_is_named_and_left_alone(self, snapshot: Snapshot) -> None:
        wanted = {
            queue.queue_id
            for queue in snapshot.queues
            if snapshot.workers and not snapshot.able(queue) and not snapshot.numbers_of(queue.queue_url)
        }
        assert set(snapshot.plan.unserved) == wanted
        assert len(snapshot.plan.unserved) == len(wanted)

    @given(snapshots())
    def test_first_slots_come_before_further_ones_and_among_equals_the_rank_decides(self, snapshot: Snapshot) -> None:
        by_url = {queue.queue_url: queue for queue in snapshot.queues}
        has = {queue.queue_url: len(snapshot.numbers_of(queue.queue_url)) for queue in snapshot.queues}
        order = []
        for assignment in snapshot.plan.assign:
            queue = by_url[assignment.queue_url]
            order.append((has[queue.queue_url], -score(queue, NOW, AGING_SECONDS)))
            has[queue.queue_url] += 1
        assert order == sorted(order)
        # Whoever got nothing does not rank before the last that got something.
        anywhere = all(len(snapshot.able(queue)) == len(snapshot.workers) for queue in snapshot.queues)
        if order and anywhere and snapshot.free() == len(order):
            left_out = [(has[u], -score(q, NOW, AGING_SECONDS)) for u, q in by_url.items() if has[u] < q.wanted]
            assert all(order[-1] <= rank for rank in left_out)

    @given(snapshots())
    def test_a_yield_is_asked_only_for_a_queue_that_can_be_served_there(self, snapshot: Snapshot) -> None:
        asked = [one for one in snapshot.held if one.assignment_id in snapshot.plan.yield_]
        for one in asked:
            (worker,) = (worker for worker in snapshot.workers if worker.worker_id == one.worker)
            assert any(worker in snapshot.able(queue) for queue in snapshot.left_out())

    @given(snapshots())
    def test_a_yield_is_asked_only_where_every_slot_is_taken(self, snapshot: Snapshot) -> None:
        decided = snapshot.plan
        after = snapshot.load() + Counter(made.worker for made in decided.assign)
        if decided.yield_:
            assert any(not snapshot.roomy(queue, after) for queue in snapshot.left_out() if snapshot.able(queue))

    @given(snapshots())
    def test_yields_are_asked_once_and_of_consumers_that_can_make_room(self, snapshot: Snapshot) -> None:
        decided = snapshot.plan
        asked = {one.assignment_id: one for one in snapshot.held if one.assignment_id in decided.yield_}
        assert len(asked) == len(decided.yield_)
        present = {worker.worker_id for worker in snapshot.workers}
        for one in asked.values():
            assert one.asked_for is None
            assert one.held_for >= SLICE
            assert one.worker in present

    @given(snapshots())
    def test_no_more_yields_than_queues_that_wait_for_their_first_slot(self, snapshot: Snapshot) -> None:
        starved = [queue for queue in snapshot.left_out() if snapshot.able(queue)]
        assert len(snapshot.plan.yield_) <= len(starved)
        # A place that comes free soon, and that all of them could have, is waited for.
        soon = [one for one in snapshot.held if one.asked_for is not None and one.asked_for < YIELD_SECONDS]
        places = [worker for one in soon for worker in snapshot.workers if worker.worker_id == one.worker]
        for_all = [worker for worker in places if all(worker in snapshot.able(queue) for queue in starved)]
        assert len(snapshot.plan.yield_) <= max(0, len(starved) - len(for_all))

    @given(snapshots())
    def test_a_slot_is_freed_only_for_a_queue_that_would_win_it(self, snapshot: Snapshot) -> None:
        decided = snapshot.plan
        ranks = [score(q, NOW, AGING_SECONDS) for q in snapshot.queues if not snapshot.numbers_of(q.queue_url)]
        for one in snapshot.held:
            if one.assignment_id in decided.yield_:
                assert one.priority <= max(ranks)

    @given(snapshots())
    def test_the_order_in_which_things_are_listed_changes_no_decision(self, snapshot: Snapshot) -> None:
        mirrored = Snapshot(snapshot.queues[::-1], snapshot.workers[::-1], snapshot.held[::-1])
        assert mirrored.plan == snapshot.plan


class TestOrder:
    def test_higher_priority_first(self) -> None:
        queues = [waiting("low"), waiting("high", priority=9), waiting("middle", priority=5)]
        assert names(decide(queues, [FreeWorker("w1", 2)]).assign) == ["high", "middle"]

    def test_among_equals_the_longest_waiting_first(self) -> None:
        queues = [waiting("new", waited=1), waiting("old", waited=3), waiting("middle", waited=2)]
        assert names(decide(queues, [FreeWorker("w1", 3)]).assign) == ["old", "middle", "new"]

    def test_waiting_counts_as_priority(self) -> None:
        patient = waiting("patient", waited=9 * AGING_SECONDS + 1)
        assert names(decide([waiting("new", priority=9), patient], [FreeWorker("w1", 1)]).assign) == ["patient"]
        impatient = replace(patient, since=NOW - 9 * AGING_SECONDS + 1)
        assert names(decide([waiting("new", priority=9), impatient], [FreeWorker("w1", 1)]).assign) == ["new"]

    def test_a_large_backlog_waits_until_every_other_queue_has_a_consumer(self) -> None:
        queues = [waiting("large", priority=9, waited=400, wanted=3), waiting("small")]
        decided = decide(queues, [FreeWorker("w1", 3)])
        assert names(decided.assign) == ["large", "small", "large"]
        assert [a.slot for a in decided.assign] == [0, 0, 1]

    def test_a_gap_between_slots_is_filled(self) -> None:
        slots = [held("q", number=0), held("q", number=2)]
        decided = decide([waiting("q", wanted=4)], [FreeWorker("w1", 9)], slots)
        assert [a.slot for a in decided.assign] == [1, 3]

    def test_queues_are_spread_over_the_workers(self) -> None:
        workers = [FreeWorker(f"w{n}", 5) for n in range(3)]
        decided = decide([waiting(n) for n in range(8)], workers, [held("other", "w0")])
        assert Counter(a.worker for a in decided.assign) == {"w0": 2, "w1": 3, "w2": 3}

    def test_nobody_to_work(self) -> None:
        assert decide([waiting("q")], []) == Plan()

    def test_nothing_to_do(self) -> None:
        assert decide([], [FreeWorker("w1", 5)], [held("q", held_for=500)]) == Plan()


class TestPlacement:
    def test_only_who_has_the_handler(self) -> None:
        workers = [FreeWorker("w1", 5, OFFERS[1]), FreeWorker("w2", 5, OFFERS[2])]
        decided = decide([waiting(n, handler="b") for n in range(3)], workers)
        assert {made.worker for made in decided.assign} == {"w2"}
        assert len(decided.assign) == 3

    def test_only_who_is_in_the_pool(self) -> None:
        workers = [FreeWorker("w1", 5, OFFERS[2]), FreeWorker("w2", 1, OFFERS[3])]
        decided = decide([waiting(n, handler="a", pool="gpu") for n in range(3)], workers)
        assert [made.worker for made in decided.assign] == ["w2"]

    def test_equals_take_turns_over_many_plans(self) -> None:
        turns = dict.fromkeys(("w1", "w2", "w3"), 0)
        given_to = []
        for n in range(9):
            workers = [FreeWorker(name, 5, OFFERS[1], turn) for name, turn in turns.items()]
            (made,) = decide([waiting(n, handler="a")], workers).assign
            given_to.append(made.worker)
            turns[made.worker] = n + 1
        assert given_to == ["w1", "w2", "w3"] * 3

    def test_the_newer_version_first_and_the_older_when_it_is_full(self) -> None:
        workers = [FreeWorker("old", 5, OFFERS[1]), FreeWorker("new", 2, OFFERS[2]), FreeWorker("ancient", 5, Offer())]
        decided = decide([waiting(n, handler="a") for n in range(9)], workers)
        assert [made.worker for made in decided.assign] == ["new"] * 2 + ["old"] * 5 + ["ancient"] * 2

    def test_a_version_of_another_handler_does_not_matter(self) -> None:
        workers = [FreeWorker("w1", 5, OFFERS[3]), FreeWorker("w2", 5, OFFERS[2])]
        decided = decide([waiting(n, handler="b") for n in range(4)], workers)
        assert Counter(made.worker for made in decided.assign) == {"w1": 2, "w2": 2}

    def test_a_queue_that_nobody_can_serve_costs_the_others_nothing(self) -> None:
        workers = [FreeWorker("w1", 1, OFFERS[1])]
        lost = waiting("lost", handler="c", priority=9, waited=400)
        decided = decide([lost, waiting("q", handler="a")], workers, [])
        assert names(decided.assign) == ["q"]
        assert decided.unserved == (lost.queue_id,)
        full = decide([lost], workers, [held("x", held_for=100)])
        assert full == Plan(unserved=(lost.queue_id,))

    def test_a_yield_is_asked_of_a_worker_that_can_serve_the_queue(self) -> None:
        workers = [FreeWorker("w1", 1, OFFERS[1]), FreeWorker("w2", 1, OFFERS[3])]
        slots = [held("x", "w1", held_for=500), held("y", "w2", held_for=40)]
        decided = decide([waiting("q", handler="a", pool="gpu")], workers, slots)
        assert decided.yield_ == (slots[1].assignment_id,)

    def test_room_that_is_made_elsewhere_is_not_waited_for(self) -> None:
        workers = [FreeWorker("w1", 1, OFFERS[1]), FreeWorker("w2", 1, OFFERS[3])]
        slots = [held("x", "w1", held_for=500, asked_for=1), held("y", "w2", held_for=40)]
        queues = [waiting("p", handler="a", priority=1), waiting("q", handler="b")]
        assert decide(queues, workers, slots).yield_ == (slots[1].assignment_id,)

    def test_one_kind_of_queue_without_hope_does_not_hide_another(self) -> None:
        workers = [FreeWorker("w1", 1, OFFERS[1]), FreeWorker("w2", 1, OFFERS[3])]
        slots = [held("x", "w1", held_for=5), held("y", "w2", held_for=40)]
        queues = [waiting("p", handler="a", pool="default", priority=1), waiting("q", handler="b")]
        assert decide(queues, workers, slots).yield_ == (slots[1].assignment_id,)


class TestYield:
    def test_the_one_that_has_held_longest(self) -> None:
        slots = [held("a", held_for=31), held("b", held_for=50), held("c", held_for=40)]
        decided = decide([waiting("q")], [FreeWorker("w1", 3)], slots)
        assert decided.assign == ()
        assert decided.yield_ == (slots[1].assignment_id,)

    def test_none_within_its_time_slice(self) -> None:
        assert decide([waiting("q")], [FreeWorker("w1", 1)], [held("a", held_for=29.9)]) == Plan()

    def test_one_for_each_that_waits(self) -> None:
        slots = [held(n, held_for=100 - n) for n in range(4)]
        decided = decide([waiting("x"), waiting("y")], [FreeWorker("w1", 4)], slots)
        assert decided.yield_ == (slots[0].assignment_id, slots[1].assignment_id)

    def test_one_that_was_asked_already_counts(self) -> None:
        slots = [held("a", held_for=90, asked_for=1), held("b", held_for=80)]
        assert decide([waiting("x")], [FreeWorker("w1", 2)], slots) == Plan()
        two = decide([waiting("x"), waiting("y")], [FreeWorker("w1", 2)], slots)
        assert two.yield_ == (slots[1].assignment_id,)

    def test_a_yield_that_takes_no_effect_is_not_waited_for(self) -> None:
        """A consumer with a long handler keeps its slot; the next one can make room."""
        slots = [held("slow", held_for=90, asked_for=YIELD_SECONDS), held("b", held_for=80)]
        assert decide([waiting("q")], [FreeWorker("w1", 2)], slots).yield_ == (slots[1].assignment_id,)

    def test_however_many_of_them_there_are(self) -> None:
        slots = [held(n, held_for=90, asked_for=YIELD_SECONDS + n) for n in range(5)]
        slots += [held("young", held_for=80, asked_for=0.5), held("next", held_for=70), held("last", held_for=60)]
        asked = decide([waiting("q"), waiting("r")], [FreeWorker("w1", 8)], slots).yield_
        assert asked == (slots[6].assignment_id,)

    def test_room_on_a_worker_that_takes_nothing_is_no_room(self) -> None:
        slots = [held("a", "draining", held_for=90, asked_for=1), held("b", held_for=80)]
        assert decide([waiting("q")], [FreeWorker("w1", 1)], slots).yield_ == (slots[1].assignment_id,)

    def test_none_for_a_queue_that_would_lose_the_slot_to_the_one_that_yields(self) -> None:
        slots = [held("important", held_for=300, priority=9)]
        assert decide([waiting("q", waited=80)], [FreeWorker("w1", 1)], slots) == Plan()
        assert decide([waiting("q", waited=90)], [FreeWorker("w1", 1)], slots).yield_ == (slots[0].assignment_id,)

    def test_a_lower_one_yields_where_the_longest_held_is_too_important(self) -> None:
        slots = [held("important", held_for=300, priority=9), held("other", held_for=40)]
        assert decide([waiting("q")], [FreeWorker("w1", 2)], slots).yield_ == (slots[1].assignment_id,)

    def test_none_for_a_queue_that_wants_a_further_consumer(self) -> None:
        slots = [held("q", held_for=100), held("a", held_for=100)]
        assert decide([waiting("q", wanted=2, waited=400)], [FreeWorker("w1", 2)], slots) == Plan()

    def test_none_on_a_worker_that_takes_no_more(self) -> None:
        # It drains, or its capacity was lowered: the slot would not come back.
        assert decide([waiting("q")], [FreeWorker("w1", 0)], [held("a", "gone", held_for=100)]) == Plan()


class Rounds:
    """A system whose queues never empty: every second a plan is made and carried out, a yield takes effect at once."""

    def __init__(self, priorities: list[int], workers: int, capacity: int) -> None:
        self.now = 0.0
        self.priorities = dict(enumerate(priorities))
        self.ids = {n: ObjectId() for n in self.priorities}
        self.workers = [FreeWorker(f"w{n}", capacity) for n in range(workers)]
        self.capacity = capacity
        self.since = dict.fromkeys(self.priorities, 0.0)
        self.held: dict[int, tuple[ObjectId, str, float]] = {}
        self.longest_wait = dict.fromkeys(self.priorities, 0.0)
        self.served = Counter[int]()

    def step(self) -> None:
        self.now += 1.0
        by_url = {url(n): n for n in self.priorities}
        queues = [
            WaitingQueue(self.ids[n], url(n), p, self.since[n])
            for n, p in self.priorities.items()
            if n not in self.held
        ]
        slots = [
            HeldAssignment(assignment, url(n), 0, worker, self.priorities[n], self.now - began)
            for n, (assignment, worker, began) in self.held.items()
        ]
        decided = plan(queues, self.workers, slots, now=self.now, time_slice=5.0)
        for n, (assignment, _, _) in list(self.held.items()):
            if assignment in decided.yield_:
                del self.held[n]
                self.since[n] = self.now
        for made in decided.assign:
            n = by_url[made.queue_url]
            self.longest_wait[n] = max(self.longest_wait[n], self.now - self.since[n])
            self.held[n] = (ObjectId(), made.worker, self.now)
            self.served[n] += 1
        assert max(Counter(worker for _, worker, _ in self.held.values()).values(), default=0) <= self.capacity


class TestNoStarvation:
    @settings(max_examples=40)
    @given(
        priorities=st.lists(st.integers(0, 9), min_size=1, max_size=24),
        workers=st.integers(1, 3),
        capacity=st.integers(1, 3),
    )
    def test_every_queue_is_served_again_and_again_within_a_bound(
        self, priorities: list[int], workers: int, capacity: int
    ) -> None:
        rounds = Rounds(priorities, workers, capacity)
        # Ageing lifts the lowest above all others within 90 s; from then on at most every other queue is before it,
        # and each holds its slot for a time slice of 5 s and the second in which the plan is made.
        bound = 9 * AGING_SECONDS + 7.0 * (len(priorities) / (workers * capacity) + 1) * 2
        while rounds.now < 3 * bound:
            rounds.step()
            still = [rounds.now - rounds.since[n] for n in rounds.priorities if n not in rounds.held]
            assert max(still, default=0.0) <= bound
        assert all(rounds.served[n] for n in rounds.priorities)

    def test_equals_take_turns(self) -> None:
        rounds = Rounds([0] * 12, workers=1, capacity=3)
        while rounds.now < 600:
            rounds.step()
        counts = rounds.served.values()
        assert max(counts) - min(counts) <= 1

    def test_the_more_important_are_served_more(self) -> None:
        rounds = Rounds([9] * 4 + [0] * 4, workers=1, capacity=2)
        while rounds.now < 1_000:
            rounds.step()
        assert min(rounds.served[n] for n in range(4)) > 2 * max(rounds.served[n] for n in range(4, 8))
