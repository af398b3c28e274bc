"""The worker's loop: registers, sends heartbeats, takes its assignments, and supervises the consumers that run them.

One thread does all of it. Its pipes, the deaths of its consumers, a change in MongoDB and a signal end its wait, and
each turn then does what is due. No step relies on an earlier one: what MongoDB did not take is tried again in the next
turn.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

from bson import ObjectId

from jobs.consumer.held import Batch
from jobs.consumer.report import RunReport
from jobs.consumer.settings import QueueSettings
from jobs.identity import new_id
from jobs.models import Assignment, DepartureReason, EndReason, Lease
from jobs.placement import can_serve
from jobs.repositories import assignments, leases, workers
from jobs.repositories.jobs import Processor
from jobs.worker import admission, beginning, completion, following, recording, reports
from jobs.worker.announcer import Announcer
from jobs.worker.capacity import Capacity
from jobs.worker.drain import Drain
from jobs.worker.listener import ListenerProcess
from jobs.worker.listening import WorkerListening
from jobs.worker.pool import CannotStart, Pool
from jobs.worker.runs import ActiveRun, Runs
from jobs.worker.stats_buffer import StatsBuffer
from jobs.worker.watch import Watch
from queues import adopted_repository as adopted_queues
from queues import repository as queues
from queues.models import Queue
from queuesite.foundation.changes import WakeupPipe
from queuesite.foundation.config import Config
from queuesite.foundation.databases import MongoError, database_clock
from queuesite.foundation.errors import StaleTransition
from queuesite.foundation.logs import bind, get_logger
from queuesite.foundation.outage import Outage
from queuesite.foundation.pipes import wait_for

log = get_logger(__name__)

#: Seconds between looks at the assignments, with and without a change stream that reports new ones.
POLL_LIVE_SECONDS = 5.0
POLL_BLIND_SECONDS = 1.0
#: Seconds between looks at the definitions of the queues that are being processed.
SETTINGS_SECONDS = 1.0
#: Seconds between writes of the throughput and of failures.
FLUSH_SECONDS = 3.0


class WorkerLoop:
    """A worker. `run` blocks until it has been asked to stop and everything is in order."""

    def __init__(
        self,
        config: Config,
        pool: Pool | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        worker_pool: str | None = None,
    ) -> None:
        """`pool` has its consumers; `worker_pool` is the name of the pool of workers that it is in."""
        self.config = config
        self._monotonic = monotonic
        self._host = socket.gethostname()
        self._pool = pool or Pool(config)
        self.announcer = Announcer(config, worker_pool)
        self._signals = 0
        self.wakeup = WakeupPipe()
        self.outage = Outage("MongoDB")
        #: Changes with each registration.
        self.worker_id = ""
        self._registered = False
        self.capacity = Capacity(config)
        self.runs = Runs()
        self.listening = WorkerListening(
            config,
            ListenerProcess(config, self._pool, monotonic),
            self.runs,
            self._start,
            self._places,
            lambda queue: can_serve(self.announcer.offer, queue),
            monotonic,
        )
        self.watch = Watch(
            self.wakeup, lambda assignment_id: assignment_id in self.runs.active, self._processes, self.listening
        )
        self._drain = Drain(config.shutdown_grace_seconds)
        self._stats = StatsBuffer()
        #: What SQS was found to hold of queues that others own, which MongoDB does not know yet.
        self._followed: dict[ObjectId, dict[str, Any]] = {}
        self._next_poll = 0.0
        self._next_settings = 0.0
        self._next_heartbeat = 0.0
        self._next_flush = 0.0
        #: MongoDB is away, and is not asked before then (monotonic clock).
        self.blocked_until = 0.0
        #: There is more to do than one turn should, so the next comes at once.
        self.has_more = False

    def begin(self) -> None:
        """Start what needs no servers, while these are waited for."""
        self._pool.begin()

    def run(self) -> None:
        """Work until SIGTERM or SIGINT, then drain; a second signal ends the consumers at once."""
        signal.set_wakeup_fd(self.wakeup.signal_fd, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, frame: self._note_signal())
        try:
            self._pool.warm_up()
            while not self.finished:
                self.turn()
                self.wait()
        finally:
            signal.set_wakeup_fd(-1)
            self.watch.stop()
            self.listening.close(timeout=1.0 if self._signals < 2 else 0.0)
            self._pool.close(timeout=2.0 if self._signals < 2 else 0.0)
        log.info("worker_stopped")

    def stop(self) -> None:
        """Have it drain, as a signal does; a second call ends the consumers at once. May be called from any thread."""
        self._note_signal()
        self.wakeup.wake()

    def _note_signal(self) -> None:
        self._signals += 1  # the wake-up descriptor ends the wait, and the loop acts

    @property
    def finished(self) -> bool:
        """Whether `run` is to end: all is in order, or there is no more time for it."""
        return self._signals >= 2 or self._drain.left or self._drain.has_given_up(self._monotonic())

    def _processes(self, queue_id: ObjectId) -> bool:
        return any(run.queue.id == queue_id for run in self.runs)

    def _places(self) -> int:
        """How many more consumers it may run now."""
        if self._drain.begun or not self._registered or self._pool.trouble is not None:
            return 0
        return self.capacity.now - len(self.runs.active)

    # --- the turn ---

    def turn(self) -> None:
        """Do what is due."""
        reports.take_note(self._pool, self.runs, self._stats, self.announcer, self._followed, self._monotonic)
        self.listening.take_note(self._pool.declined())
        now = self._monotonic()
        if (self._signals or self.watch.drain_asked) and not self._drain.begun:
            self.listening.forget()
            self._drain.begin(self.runs, now)
            self.watch.assignments_due = True
        self._drain.enforce_grace(self.runs, now)
        self._pool.kill_silent(self.config.consumer_stalled_after)
        if now >= self.blocked_until:
            try:
                self._talk_to_mongodb(now)
            except MongoError as error:
                self.blocked_until = self._monotonic() + self.outage.failed(error)
                # What was begun to be read was not read to its end.
                self.watch.assignments_due = self.watch.settings_due = self.watch.wanted_due = True
            else:
                self.outage.over()
        self.listening.steer(able=not self.outage.active)

    def wait(self) -> None:
        """Wait for an event, or for what is due next."""
        if self.finished:
            return
        timers = [self._next_heartbeat, self._next_poll, self._drain.next_due, self._stats.tasks.due()]
        timers.append(self.listening.next_due(registered=self._registered and not self._drain.begun))
        if self.runs:
            timers.append(self._next_settings)
        if self.has_more:
            timers.append(0.0)
        until = max(min(timers), self.blocked_until)
        readable, writable = map(list.__add__, self._pool.sources(), self.listening.sources())
        wait_for([self.wakeup, *readable], writable, max(0.0, until - self._monotonic()))
        self.wakeup.clear()

    def _talk_to_mongodb(self, now: float) -> None:
        """Do all that needs MongoDB, the most important first; an error leaves the rest for the next turn."""
        self.has_more = False
        draining = self._drain.begun
        if not self._registered and not draining:
            self._register()
        if self._registered and now >= self._next_heartbeat:
            self._heartbeat(now)
        if self._registered and draining:
            self._drain.announce(self.worker_id)
        if now >= self._next_flush:
            self._next_flush = now + FLUSH_SECONDS * random.uniform(0.9, 1.1)
            self._stats.flush()
        self._stats.tasks.flush_if_due(now)
        if self._registered:
            self.announcer.keep(now)
        for queue_id, found in list(self._followed.items()):
            adopted_queues.followed(queue_id, found)
            del self._followed[queue_id]
        self.has_more = recording.record(self.runs, self._stats.tasks, self.config, now)
        if self._registered and (self.watch.assignments_due or now >= self._next_poll):
            self._reconcile(now)
        if self.runs and (self.watch.settings_due or now >= self._next_settings):
            self.watch.settings_due = False
            self._next_settings = now + SETTINGS_SECONDS
            following.follow(self.runs, self.announcer)
        self.listening.talk_to_mongodb(self.worker_id, now, live=self.watch.live)
        self.listening.count_requests(self._stats, now)
        if draining and not self.runs and self.listening.is_quiet():
            self.listening.count_requests(self._stats, now, last=True)
            self._stats.flush()
            reason = DepartureReason.SHUTDOWN if self._signals else DepartureReason.DRAINED
            self._drain.leave(self.worker_id if self._registered else None, reason)
            self._registered = False

    # --- MongoDB ---

    def _register(self) -> None:
        self.worker_id = new_id()
        bind(worker=self.worker_id)
        self._pool.worker_id = self.worker_id
        announced = self.announcer.announcement
        self.announcer.keep(self._monotonic())
        capacity = self.capacity
        capacity.shown = capacity.now
        said = {"limit": capacity.limit, "wanted": capacity.wanted}
        workers.register(self.worker_id, self._host, os.getpid(), capacity.now, announced, **said)
        self._registered = self.watch.assignments_due = True
        self._next_heartbeat = 0.0 if self.listening.limit else self._monotonic() + self.config.heartbeat_seconds
        self.watch.start(self.worker_id)
        log.info(
            "worker_registered",
            host=self._host,
            pid=os.getpid(),
            capacity=capacity.now,
            pool=announced.pool,
            version=announced.version,
        )

    def _heartbeat(self, now: float) -> None:
        self._next_heartbeat = now + self.config.heartbeat_seconds * random.uniform(0.9, 1.0)
        # A worker that cannot start processes is given nothing until it can.
        capacity = self.capacity.now if self._pool.trouble is None else len(self.runs.active)
        try:
            workers.heartbeat(
                self.worker_id,
                self.runs.as_documents(),
                capacity,
                self.listening.announced,
                self.listening.as_document(),
            )
        except StaleTransition:
            log.warning(
                "worker_pruned",
                meaning="it was taken for dead: it ends its runs, and registers again under a new id",
                runs=len(self.runs),
            )
            self._registered = False
            self.listening.forget()
            for run in list(self.runs.active.values()):
                run.end(EndReason.REVOKED)
                self.runs.only_finish(run)
            if not self._drain.begun:
                self._register()
        else:
            self.capacity.shown = capacity

    def _reconcile(self, now: float) -> None:
        """Compare what is assigned with what runs: start, end, make room."""
        self.watch.assignments_due = False
        live = self.watch.live
        self._next_poll = now + (POLL_LIVE_SECONDS if live else POLL_BLIND_SECONDS)
        due, self.watch.wanted_due = self.watch.wanted_due, False
        if (due or not live) and (wanted := workers.wanted(self.worker_id)) is not None:
            self.watch.drain_asked = self.watch.drain_asked or wanted.drain
            if self.capacity.follow(wanted.capacity, self.runs):
                self._next_heartbeat = now  # the master hears of it at once
        mine = {assignment.id: assignment for assignment in assignments.of_worker(self.worker_id)}
        active = self.runs.active
        for assignment_id, run in active.items():
            if assignment_id not in mine:
                run.end(EndReason.REVOKED)
            elif mine[assignment_id].yield_requested_at is not None:
                run.end(EndReason.YIELDED)
        new = [assignment for assignment_id, assignment in mine.items() if assignment_id not in active]
        if new:
            definitions = {queue.id: queue for queue in queues.by_ids({a.queue_id for a in new})}
            lease = leases.current()
            # The oldest first: if there are too many, the latest are handed back.
            for assignment in sorted(new, key=lambda a: (a.created_at, a.id))[: recording.STEPS_PER_TURN]:
                if assignment.worker != self.worker_id:
                    return  # the worker was pruned meanwhile, and has another id
                self._start(assignment, definitions.get(assignment.queue_id), lease)
            self.watch.assignments_due = self.has_more = self.has_more or len(new) > recording.STEPS_PER_TURN

    def _start(
        self, assignment: Assignment, queue: Queue | None, lease: Lease | None, first: tuple[Batch, ...] = ()
    ) -> bool:
        """Begin an assignment, with what a listener has received for it; False if it was handed back."""
        processor = Processor(self.worker_id, self._host, os.getpid())
        refusal = admission.refusal(
            assignment,
            queue,
            lease,
            offer=self.announcer.offer,
            free=self.capacity.now - len(self.runs.active),
            draining=self._drain.begun,
        )
        if refusal is not None:
            completion.hand_back(assignment, queue, processor, RunReport(refusal))
            return False
        assert queue is not None
        try:
            consumer = self._pool.obtain()
        except CannotStart as error:
            # First, so that the master does not assign the queue to it again at once.
            if self.capacity.shown > len(self.runs.active):
                self._heartbeat(self._monotonic())
            completion.hand_back(assignment, queue, processor, RunReport(EndReason.REVOKED, last_error=str(error)))
            return False
        processor = Processor(self.worker_id, self._host, os.getpid(), consumer.pid)
        if not beginning.start_job(assignment, queue, processor, self.announcer.version_of(queue.handler)):
            return False
        settings = QueueSettings.of(queue, database_clock.now())
        counts_due = self._monotonic() + self.config.job_max_seconds
        self.runs.add(ActiveRun(assignment, queue, settings, consumer, self.worker_id, counts_due))
        consumer.start(assignment.job_id, settings, first)
        log.info(
            "job_started",
            queue=queue.name,
            job_id=str(assignment.job_id),
            consumer_pid=consumer.pid,
            consumer=assignment.slot,
        )
        return True
