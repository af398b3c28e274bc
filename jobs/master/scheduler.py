"""The master's loop: lead, rescue, observe, plan, apply; on every wake-up and at least once a second."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from multiprocessing.connection import wait
from typing import Any

from bson import ObjectId

from jobs.consumer.demand import PREFETCH_SECONDS
from jobs.identity import new_id
from jobs.master.attempt_upkeep import AttemptUpkeep
from jobs.master.backlog import Backlog
from jobs.master.changes import LOSSES, PIPELINE
from jobs.master.definitions import Definitions
from jobs.master.demand import slots_wanted
from jobs.master.depths import DepthLog
from jobs.master.health_events import HealthEvents
from jobs.master.leadership import Leadership
from jobs.master.listeners import Listeners
from jobs.master.liveness import Liveness
from jobs.master.look_counts import LookCounts
from jobs.master.offers import Offers
from jobs.master.planner import HeldAssignment, Plan, plan
from jobs.master.presence import Presence
from jobs.master.rescue import Rescue, remove_malformed
from jobs.master.start_sync import StartSync
from jobs.master.sweeper import Sweeper
from jobs.master.unserved import Unserved
from jobs.master.upkeep import IndexUpkeep
from jobs.models import Assignment, Worker
from jobs.repositories import assignments, jobs, workers
from jobs.repositories.jobs import Processor
from queues.sqs import DataPlane
from queuesite.foundation.changes import ChangeWatcher, WakeupPipe
from queuesite.foundation.config import Config
from queuesite.foundation.databases import MongoError, database_clock
from queuesite.foundation.errors import MongoUnavailable
from queuesite.foundation.logs import bind, get_logger
from queuesite.foundation.outage import Outage

log = get_logger(__name__)

#: Longest pause between two turns, in seconds.
TURN_SECONDS = 1.0
#: Shortest time between two turns, in seconds: events that come in a burst share one.
REST_SECONDS = 0.005
#: Shortest time between two looks at what the sweep has to do, in seconds: the requests it is given take longer.
SWEEP_REST_SECONDS = 0.05
#: Seconds between searches for jobs that nobody owns.
ORPHAN_SEARCH_SECONDS = 60.0


class Scheduler:
    """A master. `run` blocks until SIGTERM or SIGINT; `turn`, `wait` and `close` are its steps."""

    def __init__(
        self,
        config: Config,
        gateway: DataPlane,
        *,
        start_sync: StartSync | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._monotonic = monotonic
        self._signals = 0
        self.wakeup = WakeupPipe()
        self.leadership = Leadership(new_id(), config.lease_seconds, monotonic)
        self._presence = Presence(self.leadership.holder, monotonic)
        self.backlog = self._new_backlog()
        self.outage = Outage("MongoDB")
        self.sweeper = Sweeper(gateway, self.wakeup.wake, monotonic)
        self.watcher = ChangeWatcher(PIPELINE, self.note_change, self._on_open)
        self._start_sync = start_sync or StartSync()
        self._definitions = Definitions()
        self._depths = DepthLog()
        self._looks = LookCounts()
        self._liveness = Liveness(config.worker_stalled_after)
        self._rescue = Rescue()
        self._offers = Offers()
        self._unserved = Unserved()
        self._listeners = Listeners()
        self._indexes = IndexUpkeep()
        self._attempts = AttemptUpkeep(config.attempts_max)
        self._health = HealthEvents(lambda: self.leadership.term is not None, config.worker_stalled_after)
        self._next_orphan_search = 0.0
        #: When this leader first saw each assignment (monotonic clock).
        self._seen: dict[ObjectId, float] = {}
        #: The term that has been begun, and whether a collection was dropped since.
        self._begun: int | None = None
        self._dropped = False
        # What a consumer has buffered is about a second of work, which it does before it yields. Asked that much
        # earlier, it has made room when its time slice is over.
        time_slice = min(config.time_slice_seconds, config.job_max_seconds)
        self._time_slice = time_slice - min(PREFETCH_SECONDS, time_slice / 4)

    def run(self) -> None:
        """Lead or stand by until asked to stop; then resign, so that a standby takes over at once."""
        signal.set_wakeup_fd(self.wakeup.signal_fd, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        try:
            self.loop()
        finally:
            signal.set_wakeup_fd(-1)

    def stop(self) -> None:
        """Have `loop` end, as a signal does; may be called from any thread."""
        self._signals += 1
        self.wakeup.wake()

    def loop(self) -> None:
        """What `run` does, without its signals: for a thread."""
        bind(master=self.leadership.holder)
        log.info("master_started", holder=self.leadership.holder)
        self._start_sync.start()
        self.watcher.start()
        self.sweeper.start()
        try:
            while not self._signals:
                self.wait(self.turn())
        finally:
            self.close()
        log.info("master_stopped")

    def close(self) -> None:
        """Resign, and have the threads end; nobody waits for the requests that these are at."""
        self._start_sync.stop()
        self.watcher.stop()
        self.sweeper.stop()
        self._looks.stop()
        try:
            self.leadership.resign()
            self._presence.leave()
        except MongoError as error:
            log.warning("resignation_failed", error=str(error)[:300], meaning="the lease runs out by itself")

    def join(self, timeout: float) -> bool:
        """Wait for the threads of a closed master, and close its descriptors; False if one goes on after `timeout`."""
        threads = (self._start_sync, self.watcher, self.sweeper, self._depths, self._looks)
        parts = (*threads, self._indexes, self._attempts, self._health)
        deadline = time.monotonic() + timeout
        if not all(part.join(max(0.0, deadline - time.monotonic())) for part in parts):
            return False
        self.wakeup.close()
        return True

    def _on_signal(self, number: int, frame: object) -> None:
        self._signals += 1

    # --- what wakes the loop ---

    def note_change(self, change: dict[str, Any]) -> None:
        """Note a change in MongoDB, and have a turn taken. In the watcher's thread, so it only takes notes."""
        if change["operationType"] in LOSSES:
            self._dropped = True
        elif change["ns"]["coll"] == "queues":
            self._definitions.changed(change["documentKey"]["_id"])
        elif change["ns"]["coll"] == "leases":
            self.leadership.lease_changed()
        self.wakeup.wake()

    def _on_open(self) -> None:
        self._definitions.reload()
        self.wakeup.wake()

    def wait(self, pause: float) -> None:
        """Wait for what needs a turn, at most `pause` seconds.

        The sweep goes on meanwhile: its requests and answers need no database.
        """
        until = self._monotonic() + pause
        while not self._signals:
            now = self._monotonic()
            look = until
            if self.leadership.term is not None:
                look = min(until, max(self.backlog.next_due(), now + SWEEP_REST_SECONDS))
            if wait([self.wakeup.fileno()], timeout=max(0.0, look - now)) or look >= until:
                break
            self._sweep(self._monotonic())
        self.wakeup.clear()
        if not self._signals:
            time.sleep(REST_SECONDS)

    # --- the turn ---

    def turn(self) -> float:
        """Do what is due; for how many seconds the loop may wait for an event before the next turn."""
        try:
            if self._monotonic() >= self.leadership.next_attempt:
                self.leadership.attempt()
            term = self.leadership.term
            if term is not None:
                if self._dropped or term != self._begun:
                    self._dropped = False
                    self._begin_term()
                    self._begun = term
                self._indexes.turn(self._monotonic())
                self._attempts.turn(self._monotonic())
                self._health.turn(self._monotonic())
                self._lead()
            self._presence.turn(leads=term is not None)
        except (MongoError, MongoUnavailable) as error:
            pause = self.outage.failed(error)
            self._liveness.lost(self._monotonic(), pause)  # no worker could send a heartbeat either
            return pause
        self.outage.over()
        now = self._monotonic()
        return max(0.0, min(self.leadership.next_attempt - now, TURN_SECONDS * random.uniform(0.9, 1.0)))

    def _begin_term(self) -> None:
        """Forget everything, ensure the unique index, and have everything read: a new leader knows nothing."""
        self._begun = None
        self._indexes.begin()
        self.backlog = self._new_backlog()
        self._definitions.reload()
        self._next_orphan_search = self._monotonic()
        self._liveness.begin(self._monotonic())
        self._rescue = Rescue()
        self._offers = Offers()
        self._unserved = Unserved()
        self._listeners.begin()
        self._seen.clear()
        self._depths.clear()

    def _new_backlog(self) -> Backlog:
        config = self._config
        return Backlog(config.sweep_min_seconds, config.sweep_max_seconds, config.backlog_per_consumer)

    def _lead(self) -> None:
        held = assignments.all_assignments()
        # Read after the assignments: a worker that left in between has released its own, so none is taken for dead.
        present = workers.all_workers(handlers=False)
        date = database_clock.now()
        pruned: set[str] = set()
        if self._liveness.may_prune(self._monotonic(), date):
            pruned = self._rescue.prune(present, date, self._config.worker_stalled_after)
        alive = {worker.worker_id: worker for worker in present if worker.worker_id not in pruned}
        held = self._put_right(held, list(alive.values()), date)
        self._observe(held, self._monotonic())
        self._offers.read(list(alive.values()))
        if (term := self.leadership.term) is not None:
            self._listeners.turn(self.backlog, held, list(alive.values()), self._offers, term, self._monotonic())
        self._apply(self._plan(held, list(alive.values()), self._monotonic()), alive)

    def _put_right(self, held: list[Assignment], alive: list[Worker], date: datetime) -> list[Assignment]:
        """Rescue one chunk of what dead workers left, and have the next turn come at once if there is more.

        Returns the assignments that are left. Those that wait for their rescue count as held until then.
        """
        present = {worker.worker_id for worker in alive}
        orphans = [assignment for assignment in held if assignment.worker not in present]
        freed = {assignment.id for assignment in self._rescue.free(orphans)}
        held = [assignment for assignment in held if assignment.id not in freed]
        more = len(freed) < len(orphans) or self._rescue.abandon_pruned()
        now = self._monotonic()
        if not more and now >= self._next_orphan_search:
            remove_malformed()
            more = self._rescue.abandon_orphaned(held, alive, date)
            if not more:
                self._next_orphan_search = now + ORPHAN_SEARCH_SECONDS * random.uniform(0.9, 1.1)
        if more:
            self.wakeup.wake()
        return held

    def _observe(self, held: list[Assignment], now: float) -> None:
        """Bring the backlog up to date: definitions, consumers, depths."""
        released = self.backlog.follow(Counter(assignment.queue_url for assignment in held), now)
        self._definitions.read(self.backlog, released, now, live=self.watcher.live)
        self._sweep(now)
        self._depths.turn(now)
        self._looks.turn(now)

    def _sweep(self, now: float) -> None:
        """Take the depths that were answered, and have the sweeper ask for those that are due."""
        answers = self.sweeper.answers()
        date = database_clock.now() if answers else None
        for seen in answers:
            if self.backlog.observed(seen.queue_id, seen.depth, seen.asked_at, now, date) and seen.depth is not None:
                self._depths.note(seen.queue_id, seen.depth)
        for queue in self.backlog.due(now, self.sweeper.free):
            self.sweeper.ask(queue)
            self._looks.note(queue)

    def _plan(self, held: list[Assignment], alive: list[Worker], now: float) -> Plan:
        # An assignment's age counts from when this leader first saw it: by the monotonic clock, and never too long.
        self._seen = {assignment.id: self._seen.get(assignment.id, now) for assignment in held}
        date = database_clock.now()
        given = []
        for assignment in held:
            known = self.backlog.get(assignment.queue_id)
            asked_at = assignment.yield_requested_at
            given.append(
                HeldAssignment(
                    assignment.id,
                    assignment.queue_url,
                    assignment.slot,
                    assignment.worker,
                    known.queue.priority if known is not None else 0,
                    now - self._seen[assignment.id],
                    None if asked_at is None else (date - asked_at).total_seconds(),
                )
            )
        free = self._offers.free(alive)
        waiting = self.backlog.waiting(now, date, self._listeners.worker_of)
        self._presence.slots_wanted = slots_wanted(waiting, held, lambda one: self.backlog.pool_of(one.queue_id))
        decided = plan(
            waiting,
            free,
            given,
            now=now,
            time_slice=self._time_slice,
            announcements=self._offers.announcements,
        )
        self._unserved.turn(decided.unserved, self.backlog, self._offers.fleet(free))
        return decided

    def _apply(self, decided: Plan, alive: dict[str, Worker]) -> None:
        """Carry out a plan if this process still leads: assignments first, then their jobs."""
        term = self.leadership.term
        if term is None:
            return
        made = assignments.insert_many(decided.assign, term)
        with_names = []
        for assignment in made:
            self.backlog.assigned(assignment.queue_id, self._monotonic())
            self._offers.given(assignment.worker)
            worker = alive[assignment.worker]
            known = self.backlog.get(assignment.queue_id)
            name = known.queue.name if known is not None else assignment.queue_url.rpartition("/")[2]
            with_names.append((assignment, name, Processor(worker.worker_id, worker.host, worker.pid)))
            log.info(
                "queue_assigned",
                queue=name,
                consumer=assignment.slot,
                worker=worker.worker_id,
                job_id=str(assignment.job_id),
            )
        jobs.create_many(with_names)
        if decided.yield_ and self.leadership.term == term:
            assignments.request_yield(decided.yield_)
            log.info("yield_requested", count=len(decided.yield_))
