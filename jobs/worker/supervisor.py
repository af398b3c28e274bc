"""The worker's loop: registers, sends heartbeats, takes its assignments, and supervises the consumers that run them.

One thread does all of it. What it waits for (its pipes, the deaths of its consumers, a change in MongoDB, a signal)
ends one `wait`; each turn then does what is due. No step trusts an earlier one to have succeeded: whatever MongoDB did
not take is tried again in the next turn.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import time
from contextlib import suppress
from typing import Any

from jobs.consumer.run import Report
from jobs.consumer.settings import QueueSettings
from jobs.identity import new_id
from jobs.models import Assignment, DepartureReason, EndReason, Lease
from jobs.repositories import assignments, jobs, leases, workers
from jobs.repositories.jobs import Processor
from jobs.worker import ending, judgement, recording, watching
from jobs.worker.pool import CannotStart, Pool
from jobs.worker.runs import ActiveRun, Runs
from jobs.worker.tally import Tally
from queues import repository as queues
from queues.models import Queue
from queuesite.changes import Bell, ChangeWatcher
from queuesite.config import Config
from queuesite.databases import MongoError, database_clock
from queuesite.errors import StaleTransition
from queuesite.logs import bind, get_logger
from queuesite.outage import Outage
from queuesite.pipes import wait_for

log = get_logger(__name__)

#: Seconds between looks at the assignments, with and without a change stream that tells of new ones.
POLL_LIVE_SECONDS = 5.0
POLL_BLIND_SECONDS = 1.0
#: Seconds between looks at the definitions of the queues that are being processed.
SETTINGS_SECONDS = 1.0
#: Seconds between writes of the throughput and of failures.
FLUSH_SECONDS = 3.0
#: Seconds beyond the grace that a stop may take to record the ends of its runs; the master repairs what is not.
RECORD_SECONDS = 5.0


class Supervisor:
    """A worker. `run` blocks until it has been told to stop and everything is in order."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._host = socket.gethostname()
        self._bell = Bell()
        self._signals = 0
        self._worker_id = ""
        self._registered = False
        #: The capacity that was last written.
        self._shown_capacity = config.max_load
        self._draining_until: float | None = None
        self._give_up_at = float("inf")
        #: A drain has been told to MongoDB; all is in order, and the worker has left.
        self._drain_told = self._left = False
        self._runs = Runs()
        self._assignments_dirty = True
        self._settings_dirty = False
        self._next_poll = 0.0
        self._next_settings = 0.0
        self._next_heartbeat = 0.0
        #: There is more to do than one turn should.
        self._more = False
        self._outage = Outage("MongoDB")
        self._blocked_until = 0.0
        self._pool = Pool(config)
        self._tally = Tally()
        self._next_flush = 0.0
        self._drain_asked = False
        self._watcher: ChangeWatcher | None = None

    def begin(self) -> None:
        """Start what needs no servers, while these are waited for."""
        self._pool.begin()

    def run(self) -> None:
        """Work until SIGTERM or SIGINT, then drain; a second signal ends the consumers at once."""
        signal.set_wakeup_fd(self._bell.signal_fd, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        try:
            self._pool.warm_up()
            while not self._finished():
                self._turn()
        finally:
            signal.set_wakeup_fd(-1)
            if self._watcher is not None:
                self._watcher.stop()
            self._pool.close(timeout=2.0 if self._signals < 2 else 0.0)
        log.info("worker_stopped")

    # --- the turn ---

    def _turn(self) -> None:
        self._take_note()
        now = time.monotonic()
        if (self._signals or self._drain_asked) and self._draining_until is None:
            self._begin_drain(now)
        self._enforce_grace(now)
        self._pool.kill_silent(self._config.consumer_stalled_after)
        if now >= self._blocked_until:
            try:
                self._talk_to_mongodb(now)
            except MongoError as error:
                self._blocked_until = time.monotonic() + self._outage.failed(error)
                # What was begun to be read was not read to its end.
                self._assignments_dirty = self._settings_dirty = True
            else:
                self._outage.over()
        if not self._finished():
            self._wait()

    def _talk_to_mongodb(self, now: float) -> None:
        """All that needs MongoDB, most important first; an error leaves the rest for the next turn."""
        self._more = False
        draining = self._draining_until is not None
        if not self._registered and not draining:
            self._register()
        if self._registered and now >= self._next_heartbeat:
            self._heartbeat(now)
        if self._registered and draining and not self._drain_told:
            with suppress(StaleTransition):  # a courtesy to the master: what it still assigns is handed back
                workers.drain(self._worker_id)
            self._drain_told = True
        if now >= self._next_flush:
            self._next_flush = now + FLUSH_SECONDS * random.uniform(0.9, 1.1)
            self._tally.flush()
        self._more = recording.record(self._runs, self._config, now)
        if self._registered and (self._assignments_dirty or now >= self._next_poll):
            self._reconcile(now)
        if self._runs and (self._settings_dirty or now >= self._next_settings):
            self._follow_settings(now)
        if draining and not self._runs:
            self._tally.flush()
            if self._registered:
                workers.unregister(
                    self._worker_id, DepartureReason.SHUTDOWN if self._signals else DepartureReason.DRAINED
                )
            self._registered, self._left = False, True

    def _wait(self) -> None:
        timers = [self._next_heartbeat, self._next_poll]
        if self._runs:
            timers.append(self._next_settings)
        if self._draining_until is not None:
            timers += [self._draining_until, self._give_up_at]
        if self._more:
            timers.append(0.0)
        until = max(min(timers), self._blocked_until)
        readable, writable = self._pool.sources()
        wait_for([self._bell, *readable], writable, max(0.0, until - time.monotonic()))
        self._bell.silence()

    def _finished(self) -> bool:
        return self._signals >= 2 or time.monotonic() >= self._give_up_at or self._left

    def _on_signal(self, number: int, frame: object) -> None:
        self._signals += 1  # the wake-up descriptor ends the wait; the loop acts

    def _take_note(self) -> None:
        """Note what consumers said: runs that ended, or gave up their places, and what was done or failed in them."""
        ended = self._pool.ended()
        now = time.monotonic()
        for news in self._pool.news():
            if (run := self._runs.of_job(news.job_id)) is not None:
                self._tally.failed(run.queue, news.failures)
                self._tally.worked(run.queue, news.work, now)
        for job_id, report in self._pool.released():
            if (run := self._runs.of_job(job_id)) is not None:
                run.released = report
        for job_id, report in ended:
            if (run := self._runs.of_job(job_id)) is not None:
                run.report, run.consumer = report, None

    # --- MongoDB ---

    def _register(self) -> None:
        self._worker_id = new_id()
        bind(worker=self._worker_id)
        self._pool.worker_id = self._worker_id
        workers.register(self._worker_id, self._host, os.getpid(), self._config.max_load)
        self._registered = self._assignments_dirty = True
        self._shown_capacity = self._config.max_load
        self._next_heartbeat = time.monotonic() + self._config.heartbeat_seconds
        self._watch()
        log.info("worker_registered", host=self._host, pid=os.getpid(), capacity=self._config.max_load)

    def _watch(self) -> None:
        if self._watcher is not None:
            self._watcher.stop()
        self._watcher = ChangeWatcher(watching.pipeline(self._worker_id), self._on_change, self._on_open)
        self._watcher.start()

    def _on_change(self, change: dict[str, Any]) -> None:
        # In the watcher's thread: flags and the bell alone.
        if change["ns"]["coll"] == "queues":
            if any(run.queue.id == change["documentKey"]["_id"] for run in self._runs):
                self._settings_dirty = True
                self._bell.ring()
        elif change["ns"]["coll"] == "workers":
            self._drain_asked = True
            self._bell.ring()
        elif change["operationType"] != "delete" or change["documentKey"]["_id"] in self._runs.active:
            self._assignments_dirty = True
            self._bell.ring()

    def _on_open(self) -> None:
        self._assignments_dirty = self._settings_dirty = True
        self._bell.ring()

    def _heartbeat(self, now: float) -> None:
        self._next_heartbeat = now + self._config.heartbeat_seconds * random.uniform(0.9, 1.0)
        # A worker that cannot start processes is given nothing until it can.
        capacity = self._config.max_load if self._pool.trouble is None else len(self._runs.active)
        try:
            workers.heartbeat(self._worker_id, self._runs.as_documents(), capacity)
        except StaleTransition:
            log.warning(
                "worker_pruned",
                meaning="it was taken for dead: it ends its runs, and registers again under a new id",
                runs=len(self._runs),
            )
            self._registered = False
            for run in list(self._runs.active.values()):
                run.end(EndReason.REVOKED)
                self._runs.only_finish(run)
            if self._draining_until is None:
                self._register()
        else:
            self._shown_capacity = capacity

    def _reconcile(self, now: float) -> None:
        """Compare what is assigned with what runs: start, end, make room."""
        self._assignments_dirty = False
        live = self._watcher is not None and self._watcher.live
        self._next_poll = now + (POLL_LIVE_SECONDS if live else POLL_BLIND_SECONDS)
        if not live and self._draining_until is None and workers.is_draining(self._worker_id):
            self._drain_asked = True
        mine = {assignment.id: assignment for assignment in assignments.of_worker(self._worker_id)}
        active = self._runs.active
        for assignment_id, run in active.items():
            if assignment_id not in mine:
                run.end(EndReason.REVOKED)
            elif mine[assignment_id].yield_requested_at is not None:
                run.end(EndReason.YIELDED)
        new = [assignment for assignment_id, assignment in mine.items() if assignment_id not in active]
        if new:
            definitions = {queue.id: queue for queue in queues.by_ids({a.queue_id for a in new})}
            lease = leases.current()
            # Oldest first: if there are too many, the latest are handed back.
            for assignment in sorted(new, key=lambda a: (a.created_at, a.id))[: recording.STEPS_PER_TURN]:
                if assignment.worker != self._worker_id:
                    return  # it was found to be pruned meanwhile, and has another id
                self._start(assignment, definitions.get(assignment.queue_id), lease)
            self._assignments_dirty = self._more = self._more or len(new) > recording.STEPS_PER_TURN

    def _start(self, assignment: Assignment, queue: Queue | None, lease: Lease | None) -> None:
        processor = Processor(self._worker_id, self._host, os.getpid())
        refusal = judgement.refusal(
            assignment,
            queue,
            lease,
            free=self._config.max_load - len(self._runs.active),
            draining=self._draining_until is not None,
        )
        if refusal is not None:
            ending.hand_back(assignment, queue, processor, Report(refusal))
            return
        assert queue is not None
        try:
            consumer = self._pool.obtain()
        except CannotStart as error:
            # First, so that it is not given it straight back.
            if self._shown_capacity > len(self._runs.active):
                self._heartbeat(time.monotonic())
            ending.hand_back(assignment, queue, processor, Report(EndReason.REVOKED, last_error=str(error)))
            return
        processor = Processor(self._worker_id, self._host, os.getpid(), consumer.pid)
        try:
            jobs.start(assignment.job_id, processor)
        except StaleTransition:
            # The master died, or has not come round, between the assignment and its job.
            jobs.create_many([(assignment, queue.name, processor)])
            try:
                jobs.start(assignment.job_id, processor)
            except StaleTransition:
                log.warning("assignment_stale", assignment_id=str(assignment.id), queue=queue.name)
                ending.release(assignment, self._worker_id)
                return
        settings = QueueSettings.of(queue, database_clock.now())
        counts_due = time.monotonic() + self._config.job_max_seconds
        self._runs.add(ActiveRun(assignment, queue, settings, consumer, self._worker_id, counts_due))
        consumer.start(assignment.job_id, settings)
        log.info(
            "job_started",
            queue=queue.name,
            job_id=str(assignment.job_id),
            consumer_pid=consumer.pid,
            slot=assignment.slot,
        )

    def _follow_settings(self, now: float) -> None:
        """Hand changed definitions to the consumers, and end the runs of queues that are paused or gone."""
        self._settings_dirty = False
        self._next_settings = now + SETTINGS_SECONDS
        definitions = {queue.id: queue for queue in queues.by_ids({run.queue.id for run in self._runs})}
        for run in self._runs:
            if run.report is not None or run.consumer is None:
                continue
            queue = definitions.get(run.queue.id)
            if queue is None:
                run.end(EndReason.QUEUE_MISSING)
                continue
            if queue.paused:
                run.end(EndReason.PAUSED)
            # Those that are ending too: how long a message is hidden, and where a rejected one goes, still matters.
            settings = QueueSettings.of(queue, database_clock.now())
            if settings != run.settings:
                run.settings = settings
                run.consumer.apply(settings)

    # --- the end ---

    def _begin_drain(self, now: float) -> None:
        log.info("worker_draining", runs=len(self._runs), grace_seconds=self._config.shutdown_grace_seconds)
        self._draining_until = now + self._config.shutdown_grace_seconds
        self._give_up_at = self._draining_until + RECORD_SECONDS
        for run in self._runs:
            run.end(EndReason.SHUTDOWN)
        self._assignments_dirty = True

    def _enforce_grace(self, now: float) -> None:
        if self._draining_until is None or now < self._draining_until:
            return
        self._draining_until = float("inf")
        grace = self._config.shutdown_grace_seconds
        for run in self._runs:
            if run.consumer is not None:
                log.error("grace_over", queue=run.queue.name, pid=run.consumer.pid, meaning="the consumer is killed")
                run.consumer.kill(f"its handlers did not end within the grace of {grace:g} s")
