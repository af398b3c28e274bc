"""Who listens to which idle queue. Pure: no I/O, no clock of its own.

Rules, in order:
1. A queue has one listener: of a worker that could serve it, and the one that processes it while somebody does.
2. No listener holds more than its limit; the queues that were active most recently come first.
3. What is held stays where it is. It moves only if its listener rests (its worker has been full for a while) and
   another has room, if one listener holds far more than another, or if its place goes to a queue that was active more
   recently by `SETTLED_SECONDS`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bson import ObjectId

#: How much more recently another queue must have been active, in seconds, to take a held queue's place.
SETTLED_SECONDS = 600.0
#: Most queues that are given a listener, and most that change it, in one plan: each is a write, and a request.
MOST_NEW = 500
MOST_MOVED = 20
#: Listeners are uneven if the one with the most holds this many more queues than the one with the fewest, and a quarter
#: more than it.
UNEVEN = 10


@dataclass(frozen=True)
class Candidate:
    """A queue that may be listened to."""

    queue_id: ObjectId
    queue_url: str
    #: When it was last active, in seconds since any fixed moment.
    active_at: float
    #: The workers that could serve it, and those that process it at the moment.
    servers: frozenset[str]
    busy_on: frozenset[str] = frozenset()
    #: Nobody begins to listen to it yet: the last poll of an earlier listener is still open.
    waits: bool = False


@dataclass(frozen=True)
class Listener:
    """A worker's listener: how many queues it takes, and whether its worker has had no place left for a while."""

    limit: int
    rests: bool = False


@dataclass(frozen=True)
class ListeningPlan:
    """What to change: queues to be let go of, and queues that get a listener (by its worker's id)."""

    drop: tuple[ObjectId, ...] = ()
    add: tuple[tuple[Candidate, str], ...] = ()


def plan(
    candidates: Iterable[Candidate], listeners: Mapping[str, Listener], held: Mapping[ObjectId, str]
) -> ListeningPlan:
    """The decisions for a snapshot. `held` is which worker listens to which queue at present."""
    known = {one.queue_id: one for one in candidates}
    kept: dict[str, list[Candidate]] = {worker: [] for worker in listeners}
    drop: list[ObjectId] = []
    for queue_id, worker in held.items():
        one = known.get(queue_id)
        if one is None or worker not in _possible(one, listeners):
            drop.append(queue_id)
        else:
            kept[worker].append(one)
    for worker, mine in kept.items():
        mine.sort(key=lambda one: -one.active_at)
        drop += [one.queue_id for one in mine[listeners[worker].limit :]]
        del mine[listeners[worker].limit :]

    room = {worker: listeners[worker].limit - len(mine) for worker, mine in kept.items()}
    add: list[tuple[Candidate, str]] = []
    challengers: list[Candidate] = []
    unheld = [one for one in known.values() if one.queue_id not in held and not one.waits]
    for one in sorted(unheld, key=lambda one: -one.active_at):
        if len(add) >= MOST_NEW:
            break
        chosen = _roomiest(_possible(one, listeners), listeners, room)
        if chosen is None:
            challengers.append(one)
        else:
            room[chosen] -= 1
            add.append((one, chosen))
    moved = [*_from_resting(kept, listeners, room), *_outdone(challengers, kept, listeners), *_surplus(kept, listeners)]
    return ListeningPlan((*drop, *dict.fromkeys(moved[:MOST_MOVED])), tuple(add))


def _possible(one: Candidate, listeners: Mapping[str, Listener]) -> frozenset[str]:
    workers = one.busy_on or one.servers
    return workers & listeners.keys()


def _roomiest(workers: Iterable[str], listeners: Mapping[str, Listener], room: Mapping[str, int]) -> str | None:
    """The one that is emptiest, compared with its limit; one that rests only if no other has room."""
    with_room = [worker for worker in workers if room[worker] > 0]
    return min(
        with_room,
        key=lambda worker: (listeners[worker].rests, -room[worker] / listeners[worker].limit, worker),
        default=None,
    )


def _from_resting(
    kept: Mapping[str, Sequence[Candidate]], listeners: Mapping[str, Listener], room: Mapping[str, int]
) -> Iterable[ObjectId]:
    """Held by a listener that rests, while another has room."""
    left = {worker: free for worker, free in room.items() if not listeners[worker].rests}
    for worker, mine in kept.items():
        for one in mine if listeners[worker].rests else ():
            other = next((w for w in _possible(one, listeners) if left.get(w, 0) > 0), None)
            if other is not None:
                left[other] -= 1
                yield one.queue_id


def _outdone(
    challengers: Sequence[Candidate], kept: Mapping[str, Sequence[Candidate]], listeners: Mapping[str, Listener]
) -> Iterable[ObjectId]:
    """Held, but another queue without a place was active far more recently. `challengers` are in order, as `kept`."""
    last = {worker: len(mine) for worker, mine in kept.items()}
    for challenger in challengers[:MOST_MOVED]:
        for worker in sorted(_possible(challenger, listeners)):
            if last[worker] and kept[worker][last[worker] - 1].active_at + SETTLED_SECONDS < challenger.active_at:
                last[worker] -= 1
                yield kept[worker][last[worker]].queue_id
                break


def _surplus(kept: Mapping[str, Sequence[Candidate]], listeners: Mapping[str, Listener]) -> Iterable[ObjectId]:
    """The least active of the listener with the most, if another that could take them holds far fewer."""
    awake = {worker: mine for worker, mine in kept.items() if not listeners[worker].rests}
    if len(awake) < 2:
        return
    counts = {worker: len(mine) for worker, mine in awake.items()}
    fullest = max(counts, key=lambda worker: (counts[worker], worker))
    for one in reversed(awake[fullest]):
        fewer = min((w for w in _possible(one, listeners) if w in counts), key=lambda w: (counts[w], w))
        even = counts[fullest] - counts[fewer] < max(UNEVEN, counts[fullest] // 4)
        if even or counts[fewer] >= listeners[fewer].limit:
            continue
        counts[fullest] -= 1
        counts[fewer] += 1
        yield one.queue_id
