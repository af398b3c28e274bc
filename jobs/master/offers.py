"""What the leader knows of its workers besides their load: what they offer, and whose turn it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from jobs.master.room import Announcements, FreeWorker, announced_at
from jobs.models import Worker
from jobs.placement import offer_of
from jobs.repositories import handlers, workers
from queues.fleet import Fleet, Offer


class Offers:
    """Reads what a worker announces once: it stays the same for as long as the worker has its id."""

    def __init__(self) -> None:
        self._offers: dict[str, Offer] = {}
        self._turns: dict[str, int] = {}
        self._made = 0
        #: When each version was first announced, as seconds since the epoch.
        self.announcements: Announcements = {}

    def read(self, present: Sequence[Worker]) -> None:
        """Learn what new workers announce, and forget those that have left. Raises pymongo's errors."""
        ids = {worker.worker_id for worker in present}
        unknown = ids - self._offers.keys()
        if unknown:
            found = {worker.worker_id: offer_of(worker) for worker in workers.by_ids(unknown)}
            dates = {(one.name, one.version): one.first_announced_at.timestamp() for one in handlers.versions()}
            self.announcements = dates
            # Equal offers are one object, so that the planner compares them by identity.
            known = list(self._offers.values())
            for worker_id, offer in found.items():
                same = next((one for one in known if one == offer), offer)
                known.append(same)
                self._offers[worker_id] = same
        for gone in self._offers.keys() - ids:
            del self._offers[gone]
            self._turns.pop(gone, None)

    def free(self, present: Sequence[Worker]) -> list[FreeWorker]:
        """Those of these workers that take assignments."""
        return [
            FreeWorker(worker.worker_id, worker.capacity, offer, self._turns.get(worker.worker_id, 0))
            for worker in present
            if not worker.draining and (offer := self._offers.get(worker.worker_id)) is not None
        ]

    def newest(self, handler: str, pool: str | None, present: Iterable[str]) -> frozenset[str]:
        """Those of these workers that can serve such a queue, with the version of its handler that is the newest."""
        by_date: dict[float, set[str]] = {}
        for worker_id in present:
            offer = self._offers.get(worker_id)
            if offer is not None and offer.serves(handler, pool):
                by_date.setdefault(announced_at(offer, handler, self.announcements), set()).add(worker_id)
        return frozenset(by_date[max(by_date)]) if by_date else frozenset()

    def fleet(self, free: Sequence[FreeWorker]) -> Fleet:
        """What these workers can do together."""
        return Fleet(tuple({id(worker.offer): worker.offer for worker in free}.values()))

    def given(self, worker_id: str) -> None:
        """Note that a worker got an assignment: all others are before it now."""
        self._made += 1
        self._turns[worker_id] = self._made
