"""The master's loop: lead, rescue, observe, plan, apply; on every wake-up and at least once a second."""

from __future__ import annotations

import os
import random
import signal
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from itertools import islice
from multiprocessing.connection import wait
from typing import Any

from bson import ObjectId

from jobs.consumer.demand import PREFETCH_SECONDS
from jobs.identity import new_id
from jobs.master.backlog import Backlog
from jobs.master.leadership import Leadership
from jobs.master.liveness import Liveness
from jobs.master.planner import FreeWorker, HeldSlot, Plan, plan
from jobs.master.rescue import Rescue, remove_malformed
from jobs.master.sweeper import Sweeper
from jobs.master.upkeep import IndexUpkeep
from jobs.master.watched import LOSSES, PIPELINE
from jobs.models import Assignment, Worker
from jobs.repositories import assignments, jobs, masters, workers
from jobs.repositories.jobs import Processor
from queues import repository as queues
from queues.sqs import DataPlane, Depth
from queues.sync import sync
from queuesite.changes import Bell, ChangeWatcher
from queuesite.config import Config
from queuesite.databases import MongoError, database_clock
from queuesite.errors import MongoUnavailable, ServerError
from queuesite.logs import bind, get_logger
from queuesite.outage import Outage
from queuesite.threads import supervised

log = get_logger(__name__)

#: Longest pause between two turns, in seconds.
TURN_SECONDS = 1.0
#: Shortest time between two turns, in seconds: events that come in a burst share one.
REST_SECONDS = 0.005
#: Shortest time between two looks at what the sweep has to do, in seconds: what it may be given lasts longer.
SWEEP_REST_SECONDS = 0.05
#: Seconds between readings of all definitions, against a change that a stream did not tell of.
RELOAD_SECONDS = 60.0
#: Seconds between searches for jobs that nobody owns.
ORPHAN_SEARCH_SECONDS = 60.0
#: Seconds by which polling for changes looks back beyond its last look: our reading of the database's clock may be
#: ahead of it by half a slow round trip, and a change that was dated in between would not be seen.
LOOK_BACK_SECONDS = 2.0
#: Seconds that observed depths are gathered before they are written.
OBSERVED_SECONDS = 1.0
#: How many are written at once: the embedded server does nothing else meanwhile.
OBSERVED_AT_ONCE = 500


class Scheduler:
    """A master. `run` blocks until SIGTERM or SIGINT."""

    def __init__(self, config: Config, gateway: DataPlane) -> None:
        self._config = config
        self._bell = Bell()
        self._signals = 0
        self._leadership = Leadership(new_id(), config.lease_seconds)
        self._sweeper = Sweeper(gateway, self._bell.ring)
        self._backlog = self._new_backlog()
        self._watcher = ChangeWatcher(PIPELINE, self._on_change, self._on_open)
        self._outage = Outage("MongoDB")
        self._lock = threading.Lock()
        self._changed: set[ObjectId] = set()
        self._reload = True
        self._next_reload = 0.0
        self._next_orphan_search = 0.0
        #: Up to when polling has seen all changes; before the first reading of everything that is of no matter.
        self._blind_since = datetime.now(UTC)
        self._observed: dict[ObjectId, Depth] = {}
        self._next_observed = 0.0
        self._recording = threading.Thread()
        self._seen: dict[ObjectId, float] = {}
        self._liveness = Liveness(config.worker_stalled_after)
        self._rescue = Rescue()
        self._indexes = IndexUpkeep()
        #: The term that has been begun, and whether a collection was dropped since.
        self._begun: int | None = None
        self._dropped = False
        # What a consumer has buffered is about a second of work, which it does before it yields: asked so much earlier,
        # it has made room when its time slice is over.
        time_slice = min(config.time_slice_seconds, config.job_max_seconds)
        self._time_slice = time_slice - min(PREFETCH_SECONDS, time_slice / 4)
        self._next_heartbeat = float("-inf")

    def run(self) -> None:
        """Lead or stand by until told to stop; then resign, so that a standby takes over at once."""
        signal.set_wakeup_fd(self._bell.signal_fd, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        try:
            self.loop()
        finally:
            signal.set_wakeup_fd(-1)

    def stop(self) -> None:
        """Have `loop` end, as a signal does; may be called from any thread."""
        self._signals += 1
        self._bell.ring()

    def loop(self) -> None:
        """What `run` does, without its signals: for a thread."""
        bind(master=self._leadership.holder)
        log.info("master_started", holder=self._leadership.holder)
        supervised("sync", self._sync).start()
        self._watcher.start()
        self._sweeper.start()
        try:
            while not self._signals:
                pause = self._turn()
                self._wait(pause)
        finally:
            self._watcher.stop()
            self._sweeper.stop()
            try:
                self._leadership.resign()
                masters.leave(self._leadership.holder)
            except MongoError as error:
                log.warning("resignation_failed", error=str(error)[:300], meaning="the lease runs out by itself")
        log.info("master_stopped")

    def _on_signal(self, number: int, frame: object) -> None:
        self._signals += 1

    def _sync(self) -> None:
        """The sync at the master's start; tried until SQS and MongoDB take it."""
        outage = Outage("sync")
        while not self._signals:
            try:
                sync()
                return
            except ServerError as error:
                time.sleep(outage.failed(error))

    # --- what wakes the loop ---

    def _on_change(self, change: dict[str, Any]) -> None:
        # In the watcher's thread: notes and the bell alone.
        if change["operationType"] in LOSSES:
            self._dropped = True
        elif change["ns"]["coll"] == "queues":
            with self._lock:
                self._changed.add(change["documentKey"]["_id"])
        elif change["ns"]["coll"] == "leases":
            self._leadership.hurry()
        self._bell.ring()

    def _on_open(self) -> None:
        self._reload = True
        self._bell.ring()

    def _wait(self, pause: float) -> None:
        """Wait for what needs a turn. The sweep goes on meanwhile: its requests and answers need no database."""
        until = time.monotonic() + pause
        while not self._signals:
            now = time.monotonic()
            look = until
            if self._leadership.term is not None:
                look = min(until, max(self._backlog.next_due(), now + SWEEP_REST_SECONDS))
            if wait([self._bell.fileno()], timeout=max(0.0, look - now)) or look >= until:
                break
            self._sweep(time.monotonic())
        self._bell.silence()
        if not self._signals:
            time.sleep(REST_SECONDS)

    # --- the turn ---

    def _turn(self) -> float:
        """One turn; how long the loop may wait for an event before the next."""
        try:
            if time.monotonic() >= self._leadership.next_attempt:
                self._leadership.attempt()
            term = self._leadership.term
            if term is not None:
                if self._dropped or term != self._begun:
                    self._dropped = False
                    self._begin_term()
                    self._begun = term
                self._indexes.turn(time.monotonic())
                self._lead()
            if time.monotonic() >= self._next_heartbeat:
                self._next_heartbeat = time.monotonic() + masters.HEARTBEAT_SECONDS * random.uniform(0.9, 1.0)
                masters.heartbeat(self._leadership.holder, socket.gethostname(), os.getpid())
        except (MongoError, MongoUnavailable) as error:
            pause = self._outage.failed(error)
            self._liveness.lost(time.monotonic(), pause)  # no worker could send a heartbeat either
            return pause
        self._outage.over()
        now = time.monotonic()
        return max(0.0, min(self._leadership.next_attempt - now, TURN_SECONDS * random.uniform(0.9, 1.0)))

    def _begin_term(self) -> None:
        """A new leader knows nothing, makes certain of the unique index and reads everything."""
        self._begun = None
        self._indexes.begin()
        self._backlog = self._new_backlog()
        self._reload = True
        self._next_orphan_search = time.monotonic()
        self._liveness.begin(time.monotonic())
        self._rescue = Rescue()
        self._seen.clear()
        self._observed.clear()

    def _new_backlog(self) -> Backlog:
        config = self._config
        return Backlog(config.sweep_min_seconds, config.sweep_max_seconds, config.backlog_per_consumer)

    def _lead(self) -> None:
        held = assignments.all_assignments()
        # Read after the assignments: whoever left in between has released its own, and nobody is taken for dead.
        present = workers.all_workers()
        date = database_clock.now()
        pruned: set[str] = set()
        if self._liveness.may_prune(time.monotonic(), date):
            pruned = self._rescue.prune(present, date, self._config.worker_stalled_after)
        alive = {worker.worker_id: worker for worker in present if worker.worker_id not in pruned}
        held = self._put_right(held, list(alive.values()), date)
        self._observe(held, time.monotonic())
        self._apply(self._plan(held, list(alive.values()), time.monotonic()), alive)

    def _put_right(self, held: list[Assignment], alive: list[Worker], date: datetime) -> list[Assignment]:
        """Take one chunk of what dead workers left, and have the next turn come at once if there is more.

        Answers the assignments that are left: those that wait for their rescue hold their slots until then.
        """
        present = {worker.worker_id for worker in alive}
        orphans = [assignment for assignment in held if assignment.worker not in present]
        freed = {assignment.id for assignment in self._rescue.free(orphans)}
        held = [assignment for assignment in held if assignment.id not in freed]
        more = len(freed) < len(orphans) or self._rescue.abandon_pruned()
        now = time.monotonic()
        if not more and now >= self._next_orphan_search:
            remove_malformed()
            more = self._rescue.abandon_orphaned(held, alive, date)
            if not more:
                self._next_orphan_search = now + ORPHAN_SEARCH_SECONDS * random.uniform(0.9, 1.1)
        if more:
            self._bell.ring()
        return held

    def _observe(self, held: list[Assignment], now: float) -> None:
        """Bring the backlog up to date: definitions, consumers, depths."""
        consumers: dict[str, int] = {}
        for assignment in held:
            consumers[assignment.queue_url] = consumers.get(assignment.queue_url, 0) + 1
        released = self._backlog.follow(consumers, now)
        self._learn(released, now)
        self._sweep(now)
        if self._observed and now >= self._next_observed and not self._recording.is_alive():
            self._next_observed = now + OBSERVED_SECONDS
            # In a thread: nobody waits for a depth to be shown, but a queue may wait for this loop.
            some = dict(islice(self._observed.items(), OBSERVED_AT_ONCE))
            for queue_id in some:
                del self._observed[queue_id]
            self._recording = supervised("depths", lambda: _record(some))
            self._recording.start()

    def _sweep(self, now: float) -> None:
        """Take the depths that were answered, and have the sweeper ask for those that are due."""
        for seen in self._sweeper.answers():
            if self._backlog.observed(seen.queue_id, seen.depth, seen.asked_at, now) and seen.depth is not None:
                self._observed[seen.queue_id] = seen.depth
        for queue in self._backlog.due(now, self._sweeper.free):
            self._sweeper.ask(queue)

    def _learn(self, also: set[ObjectId], now: float) -> None:
        """Read the definitions that changed: those that the stream named, or without one those with newer dates."""
        live = self._watcher.live
        if self._reload or now >= self._next_reload:
            self._reload = False
            self._next_reload = now + RELOAD_SECONDS * random.uniform(0.9, 1.1)
            with self._lock:
                self._changed.clear()
            self._blind_since = database_clock.now()
            self._backlog.replace(queues.all_queues(), now)
            return
        with self._lock:
            changed, self._changed = self._changed | also, set()
        if changed:
            found = queues.by_ids(changed)
            for queue in found:
                self._backlog.learn(queue, now)
            for queue_id in changed - {queue.id for queue in found}:
                self._backlog.forget(queue_id)
        if not live:
            since, self._blind_since = self._blind_since, database_clock.now()
            for queue in queues.changed_since(since - timedelta(seconds=LOOK_BACK_SECONDS)):
                self._backlog.learn(queue, now)

    def _plan(self, held: list[Assignment], alive: list[Worker], now: float) -> Plan:
        # How long a slot has been held is counted from when this leader first saw it: monotonic, and never too long.
        self._seen = {assignment.id: self._seen.get(assignment.id, now) for assignment in held}
        date = database_clock.now()
        slots = []
        for assignment in held:
            known = self._backlog.get(assignment.queue_id)
            asked_at = assignment.yield_requested_at
            slots.append(
                HeldSlot(
                    assignment.id,
                    assignment.queue_url,
                    assignment.slot,
                    assignment.worker,
                    known.queue.priority if known is not None else 0,
                    now - self._seen[assignment.id],
                    None if asked_at is None else (date - asked_at).total_seconds(),
                )
            )
        free = [FreeWorker(worker.worker_id, worker.capacity) for worker in alive if not worker.draining]
        waiting = self._backlog.waiting(now, date)
        return plan(waiting, free, slots, now=now, time_slice=self._time_slice)

    def _apply(self, decided: Plan, alive: dict[str, Worker]) -> None:
        """Carry a plan out, as long as this process still leads: assignments first, then their jobs."""
        term = self._leadership.term
        if term is None:
            return
        made = assignments.insert_many(decided.assign, term)
        with_names = []
        for assignment in made:
            self._backlog.assigned(assignment.queue_id, time.monotonic())
            worker = alive[assignment.worker]
            known = self._backlog.get(assignment.queue_id)
            name = known.queue.name if known is not None else assignment.queue_url.rpartition("/")[2]
            with_names.append((assignment, name, Processor(worker.worker_id, worker.host, worker.pid)))
            log.info(
                "queue_assigned",
                queue=name,
                slot=assignment.slot,
                worker=worker.worker_id,
                job_id=str(assignment.job_id),
            )
        jobs.create_many(with_names)
        if decided.yield_ and self._leadership.term == term:
            assignments.request_yield(decided.yield_)
            log.info("yield_requested", count=len(decided.yield_))


def _record(depths: dict[ObjectId, Depth]) -> None:
    """Write what queues were seen to hold. What cannot be written is seen anew soon enough."""
    try:
        queues.observed(depths)
    except MongoError as error:
        log.warning("depths_not_recorded", count=len(depths), error=str(error)[:300])
