"""The free places of the workers, and which of them a queue gets. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from queues.fleet import Offer

#: When each version of a handler was first announced, by the handler's name and the version, in any unit. One that is
#: not there counts as the oldest.
Announcements = Mapping[tuple[str, str], float]
#: Workers with places left: load, turn, id and capacity of each.
Heap = list[tuple[int, int, str, int]]


#: Of a worker that announces nothing.
ANYTHING = Offer()


@dataclass(frozen=True)
class FreeWorker:
    """A worker that takes assignments, and how many it may have at once."""

    worker_id: str
    capacity: int
    offer: Offer = ANYTHING
    #: Rises with each assignment that the leader makes: among equals, the worker with the lowest is next.
    turn: int = 0


class Room:
    """The workers that have places left.

    A queue goes to a worker that can serve it: if several versions of its handler are live, to the one announced last
    that has a place; then to the least loaded; among equals, to the one whose last assignment is the longest ago.
    """

    def __init__(self, workers: Iterable[FreeWorker], load: Mapping[str, int], announcements: Announcements) -> None:
        self._announcements = announcements
        #: Workers with the same offer share a heap, so that a queue looks at one top for each offer.
        self._heaps: dict[Offer, Heap] = {}
        self._turn = 0
        for worker in workers:
            heap = self._heaps.setdefault(worker.offer, [])
            self._turn = max(self._turn, worker.turn)
            if load[worker.worker_id] < worker.capacity:
                heap.append((load[worker.worker_id], worker.turn, worker.worker_id, worker.capacity))
        for heap in self._heaps.values():
            heapq.heapify(heap)
        self._known: dict[tuple[str, str | None], list[list[Heap]]] = {}

    def _choices(self, handler: str, pool: str | None) -> list[list[Heap]]:
        """The heaps of the workers that can serve such a queue, by version: the newest first."""
        found = self._known.get((handler, pool))
        if found is None:
            by_date: dict[float, list[Heap]] = {}
            for offer, heap in self._heaps.items():
                if offer.serves(handler, pool):
                    date = announced_at(offer, handler, self._announcements)
                    by_date.setdefault(date, []).append(heap)
            found = self._known[handler, pool] = [by_date[date] for date in sorted(by_date, reverse=True)]
        return found

    def can_serve(self, handler: str, pool: str | None) -> bool:
        """Whether any worker can serve such a queue, with or without a place left; true if there is no worker."""
        return not self._heaps or bool(self._choices(handler, pool))

    def take(self, handler: str, pool: str | None, listener: str | None = None) -> str | None:
        """Take a place for such a queue: the worker's id, or None if none is left.

        `listener` is the worker that listens to it: it goes there if that is one of those with the newest version.
        """
        for heaps in self._choices(handler, pool):
            if listener is not None and self._take_of(listener, heaps):
                return listener
            heap = min((heap for heap in heaps if heap), key=lambda heap: heap[0], default=None)
            if heap is not None:
                load, _, worker_id, capacity = heapq.heappop(heap)
                self._turn += 1
                if load + 1 < capacity:
                    heapq.heappush(heap, (load + 1, self._turn, worker_id, capacity))
                return worker_id
        return None

    def _take_of(self, worker_id: str, heaps: Iterable[Heap]) -> bool:
        """Take a place of one worker, if it is among these and has one left."""
        for heap in heaps:
            for place, (load, _, one, capacity) in enumerate(heap):
                if one == worker_id:
                    self._turn += 1
                    heap[place] = heap[-1]
                    heap.pop()
                    if load + 1 < capacity:
                        heap.append((load + 1, self._turn, one, capacity))
                    heapq.heapify(heap)
                    return True
        return False


def announced_at(offer: Offer, handler: str, announcements: Announcements) -> float:
    """When the version of a handler that is offered was first announced."""
    version = "" if offer.versions is None else offer.versions[handler]
    return announcements.get((handler, version), float("-inf"))
