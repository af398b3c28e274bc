"""The leader's side of listening: reads who listens to what once, and writes every change of it.

The leader is the only one that writes the collection, so that it need not read it at each turn. What a deposed leader
may still write is seen at the next reading of everything; until then the workers take no notice of it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence, Set

from bson import ObjectId

from jobs.listening import POLL_SECONDS, never_listened_to
from jobs.listening_model import Listening
from jobs.master.backlog import Backlog
from jobs.master.listening import Candidate, Listener, ListeningPlan, plan
from jobs.master.offers import Offers
from jobs.models import Assignment, Worker
from jobs.repositories import listening
from jobs.repositories.listening import NewListening
from queues.models import Queue
from queuesite.foundation.logs import get_logger

log = get_logger(__name__)

#: Seconds between plans if nothing has changed, and the shortest time between two.
PLAN_SECONDS = 10.0
PLAN_REST_SECONDS = 1.0
#: Seconds between readings of all entries.
RELOAD_SECONDS = 60.0
#: A worker that has had no place left for so many seconds does not count as a listener: its queues are swept, or move.
FULL_SECONDS = 5.0


class Listeners:
    """Who listens to what. For the leader's loop; times are the monotonic clock's."""

    def __init__(self) -> None:
        #: By the queue; None: not read in this term.
        self._held: dict[ObjectId, Listening] | None = None
        self._next_reload = 0.0
        self._next_plan = 0.0
        self._seen: object = None
        #: Since when each worker has been full.
        self._full_since: dict[str, float] = {}
        #: When queues were taken from a listener that lives on: its last poll of them may be open.
        self._let_go_at: dict[ObjectId, float] = {}
        self._at_work: frozenset[str] = frozenset()
        #: The queues that are listened to, made again only after a change.
        self._listened: frozenset[ObjectId] = frozenset()
        self._stale = True

    def begin(self) -> None:
        """A term has begun: everything is read again."""
        self._held = None
        self._seen = None

    def worker_of(self, queue_id: ObjectId) -> str | None:
        """The worker that listens to a queue and has places, or None."""
        one = (self._held or {}).get(queue_id)
        return one.worker if one is not None and one.worker in self._at_work else None

    def turn(
        self,
        backlog: Backlog,
        held: Sequence[Assignment],
        alive: Sequence[Worker],
        offers: Offers,
        term: int,
        now: float,
    ) -> None:
        """Do what is due, and report to the backlog which queues are listened to. Raises pymongo's errors."""
        listeners = self._listeners(held, alive, now)
        at_work = frozenset(worker for worker, one in listeners.items() if not one.rests)
        self._stale = self._stale or at_work != self._at_work
        self._at_work = at_work
        if self._held is None or now >= self._next_reload:
            self._held = {one.queue_id: one for one in listening.all_listening()}
            self._next_reload = now + RELOAD_SECONDS * random.uniform(0.9, 1.1)
            self._seen = None
            self._stale = True
        seen = (listeners, backlog.changes, len(offers.announcements))
        if now >= self._next_plan or (seen != self._seen and now >= self._next_plan - PLAN_SECONDS + PLAN_REST_SECONDS):
            self._next_plan = now + PLAN_SECONDS
            self._seen = seen
            decided = self._plan(backlog, held, alive, listeners, offers, now)
            self._apply(decided, term, now, {worker.worker_id for worker in alive})
        if self._stale:
            self._stale = False
            self._listened = frozenset(one.queue_id for one in self._held.values() if one.worker in at_work)
        backlog.listened(self._listened, now)

    def _listeners(self, held: Sequence[Assignment], alive: Sequence[Worker], now: float) -> dict[str, Listener]:
        load: dict[str, int] = {}
        for assignment in held:
            load[assignment.worker] = load.get(assignment.worker, 0) + 1
        full = {worker.worker_id for worker in alive if load.get(worker.worker_id, 0) >= worker.capacity}
        self._full_since = {worker: self._full_since.get(worker, now) for worker in full}
        return {
            worker.worker_id: Listener(
                worker.listens, now - self._full_since.get(worker.worker_id, now) >= FULL_SECONDS
            )
            for worker in alive
            if worker.listens and not worker.draining
        }

    def _plan(
        self,
        backlog: Backlog,
        held: Sequence[Assignment],
        alive: Sequence[Worker],
        listeners: Mapping[str, Listener],
        offers: Offers,
        now: float,
    ) -> ListeningPlan:
        present = self._held or {}
        if not listeners and not present:
            return ListeningPlan()
        self._let_go_at = {key: at for key, at in self._let_go_at.items() if now - at < POLL_SECONDS}
        busy: dict[ObjectId, set[str]] = {}
        for assignment in held:
            busy.setdefault(assignment.queue_id, set()).add(assignment.worker)
        present_workers = [worker.worker_id for worker in alive if not worker.draining]
        known: dict[tuple[str, str | None], frozenset[str]] = {}
        candidates = []
        for entry in backlog:
            queue = entry.queue
            # One that backs off or is handled with caution keeps its listener, which waits: such times are short.
            if queue.paused or never_listened_to(queue) is not None:
                continue
            kind = (queue.handler, queue.pool)
            if kind not in known:
                known[kind] = offers.newest(*kind, present_workers)
            candidates.append(
                Candidate(
                    queue.id,
                    queue.queue_url,
                    _active_at(queue),
                    known[kind],
                    frozenset(busy.get(queue.id, ())),
                    queue.id in self._let_go_at,
                )
            )
        return plan(candidates, listeners, {key: one.worker for key, one in present.items()})

    def _apply(self, decided: ListeningPlan, term: int, now: float, alive: Set[str]) -> None:
        assert self._held is not None
        dropped = [self._held[queue_id] for queue_id in decided.drop]
        listening.release_many(dropped)
        for one in dropped:
            del self._held[one.queue_id]
            if one.worker in alive:
                self._let_go_at[one.queue_id] = now
        new = [NewListening(one.queue_url, one.queue_id, worker) for one, worker in decided.add]
        made = listening.insert_many(new, term)
        self._held.update((one.queue_id, one) for one in made)
        if len(made) < len(new):
            self._next_reload = now  # another leader was faster: see what is there
        if dropped or made:
            self._stale = True
            log.info("listening_planned", let_go=len(dropped), given=len(made), listened_to=len(self._held))


def _active_at(queue: Queue) -> float:
    moments = (queue.served_until, queue.wake_requested_at, queue.created_at)
    return max((moment.timestamp() for moment in moments if moment is not None), default=0.0)
