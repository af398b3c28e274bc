"""The planner: from a snapshot to decisions. Pure: no I/O, no clock of its own.

Rules, in order:
1. No worker gets more than its capacity, and no queue gets two consumers of one number. A queue goes only to workers
   that have its handler and are in its pool; one that no worker can serve is left alone.
2. Every waiting queue gets its first consumer before any gets a further one.
3. Among these, higher priority first, where each `aging` seconds of waiting count as one priority more, so that the
   lowest is not starved; then the longest waiting.
4. Each goes to the worker that `Room` chooses: the newest version, the one that listens to it, the least loaded, in
   turns.
5. If queues still wait, consumers that have run past the time slice are asked to yield, the longest first, one for
   each waiting queue, and only for a queue that would get the freed capacity and that their worker can serve. If one
   that was asked has not made room within YIELD_SECONDS, the next is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from bson import ObjectId

from jobs.master.room import Announcements, FreeWorker, Room
from jobs.repositories.assignments import NewAssignment

#: Seconds of waiting that count as one priority more: priority 0 overtakes a newly waiting priority 9 after 90 s.
AGING_SECONDS = 10.0
#: How long a yield may take, in seconds, before its capacity is no longer expected to come free soon. A consumer that
#: is asked handles what it has buffered, about a second of work; one that runs a long handler may take hours.
YIELD_SECONDS = 10.0


@dataclass(frozen=True)
class WaitingQueue:
    """A queue that has messages and may be given (more) consumers."""

    queue_id: ObjectId
    queue_url: str
    priority: int
    #: When it began to wait (monotonic clock).
    since: float
    #: How many consumers it should have in all.
    wanted: int = 1
    #: What a worker must have, and the pool that it must be in (None: any).
    handler: str = "log"
    pool: str | None = None
    #: The worker that listens to it: its first consumer goes there, since the messages may be there already.
    listener: str | None = None


@dataclass(frozen=True)
class HeldAssignment:
    """An assignment, as the planner sees it."""

    assignment_id: ObjectId
    queue_url: str
    #: Which of its queue's consumers it is: 0, 1, …
    number: int
    worker: str
    priority: int
    #: For how long it has been held, in seconds.
    held_for: float
    #: How long ago it was asked to yield, in seconds; None: it was not.
    asked_for: float | None = None


@dataclass(frozen=True)
class Plan:
    """What to do: assignments to make, and assignments whose consumers are asked to yield."""

    assign: tuple[NewAssignment, ...] = ()
    yield_: tuple[ObjectId, ...] = ()
    #: The waiting queues that no worker can serve, in their order. Nothing is done about them.
    unserved: tuple[ObjectId, ...] = ()


def plan(
    waiting: Sequence[WaitingQueue],
    workers: Sequence[FreeWorker],
    held: Sequence[HeldAssignment],
    *,
    now: float,
    time_slice: float,
    aging: float = AGING_SECONDS,
    announcements: Announcements = MappingProxyType({}),
) -> Plan:
    """The decisions for a snapshot, taken at `now` (monotonic clock)."""
    taken: dict[str, set[int]] = {}
    load: dict[str, int] = {worker.worker_id: 0 for worker in workers}
    for one in held:
        taken.setdefault(one.queue_url, set()).add(one.number)
        if one.worker in load:
            load[one.worker] += 1
    room = Room(workers, load, announcements)

    assign: list[NewAssignment] = []
    starved: list[WaitingQueue] = []
    unserved: list[ObjectId] = []
    for nth, queue in _in_order(waiting, taken, now, aging):
        worker_id = room.take(queue.handler, queue.pool, queue.listener if nth == 0 else None)
        if worker_id is None:
            if nth == 0:
                if room.can_serve(queue.handler, queue.pool):
                    starved.append(queue)
                else:
                    unserved.append(queue.queue_id)
            continue
        numbers = taken.setdefault(queue.queue_url, set())
        free_number = next(number for number in range(len(numbers) + 1) if number not in numbers)
        numbers.add(free_number)
        assign.append(NewAssignment(queue.queue_url, queue.queue_id, free_number, worker_id))
    present = {worker.worker_id: worker for worker in workers}
    return Plan(tuple(assign), tuple(_yields(starved, held, present, now, time_slice, aging)), tuple(unserved))


def score(queue: WaitingQueue, now: float, aging: float) -> float:
    """A waiting queue's rank: its priority, and what its waiting adds to it."""
    return queue.priority + max(0.0, now - queue.since) / aging


def _in_order(
    waiting: Sequence[WaitingQueue], taken: dict[str, set[int]], now: float, aging: float
) -> Iterable[tuple[int, WaitingQueue]]:
    """Every missing consumer, in the order in which they are assigned; `nth` 0 is a queue's first."""
    requests = []
    for queue in waiting:
        has = len(taken.get(queue.queue_url, ()))
        rank = -score(queue, now, aging)
        requests += [(nth, rank, queue.since, queue.queue_url, queue) for nth in range(has, queue.wanted)]
    requests.sort(key=lambda request: request[:4])
    return [(request[0], request[4]) for request in requests]


def _yields(
    starved: Sequence[WaitingQueue],
    held: Sequence[HeldAssignment],
    workers: Mapping[str, FreeWorker],
    now: float,
    time_slice: float,
    aging: float,
) -> Iterable[ObjectId]:
    # Only what comes free soon, on a worker that takes assignments, counts as room that is being made.
    coming = sorted(
        (s for s in held if s.asked_for is not None and s.asked_for < YIELD_SECONDS and s.worker in workers),
        key=lambda s: (s.queue_url, s.number),
    )
    candidates = sorted(
        (s for s in held if s.asked_for is None and s.held_for >= time_slice and s.worker in workers),
        key=lambda s: (-s.held_for, s.queue_url, s.number),
    )
    #: Handlers and pools for which nothing was found: queues that come later win no more against those that yield.
    hopeless: set[tuple[str, str | None]] = set()
    for queue in starved:
        kind = (queue.handler, queue.pool)
        if kind in hopeless:
            continue
        place = next((s for s in coming if workers[s.worker].offer.serves(*kind)), None)
        if place is not None:
            coming.remove(place)
            continue
        # A queue that yields then waits with its own priority: it must not win the capacity straight back.
        least = score(queue, now, aging)
        place = next((s for s in candidates if s.priority <= least and workers[s.worker].offer.serves(*kind)), None)
        if place is None:
            hopeless.add(kind)
        else:
            candidates.remove(place)
            yield place.assignment_id
