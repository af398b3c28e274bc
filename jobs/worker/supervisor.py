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
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any

from bson import ObjectId

from jobs.consumer.run import Report
from jobs.consumer.settings import QueueSettings
from jobs.identity import new_id
from jobs.models import Assignment, DepartureReason, EndReason, Lease
from jobs.repositories import assignments, jobs, leases, workers
from jobs.repositories.jobs import Processor
from jobs.worker import ending, judgement
from jobs.worker.pool import ConsumerProcess, Pool
from jobs.worker.tally import Tally
from queues import repository as queues
from queues.models import Queue
from queuesite.changes import Bell, ChangeWatcher
from queuesite.config import Config
from queuesite.databases import MongoError, database_clock
from queuesite.errors import StaleTransition
from queuesite.logs import bind, get_logger
from queuesite.outage import Outage

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


@dataclass(eq=False)
class Active:
    """An assignment that this worker carries out."""

    assignment: Assignment
    queue: Queue
    settings: QueueSettings
    consumer: ConsumerProcess | None
    ending: bool = False
    #: The run's end, which MongoDB has not been told of yet.
    report: Report | None = None


class Supervisor:
    """A worker. `run` blocks until it has been told to stop and everything is in order."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._host = socket.gethostname()
        self._bell = Bell()
        self._signals = 0
        self._worker_id = ""
        self._registered = False
        #: Seen to be pruned: no assignment is taken until those there were have ended.
        self._expelled = False
        self._draining_until: float | None = None
        self._give_up_at = float("inf")
        self._active: dict[ObjectId, Active] = {}
        self._assignments_dirty = True
        self._settings_dirty = False
        self._next_poll = 0.0
        self._next_settings = 0.0
        self._next_heartbeat = 0.0
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
        if not self._registered:
            self._register()
        if now >= self._next_heartbeat:
            self._heartbeat(now)
        if now >= self._next_flush:
            self._next_flush = now + FLUSH_SECONDS * random.uniform(0.9, 1.1)
            self._tally.flush()
        for active in [a for a in self._active.values() if a.report is not None]:
            self._settle(active)
        if self._expelled:
            if self._active:
                return
            self._register()
        if self._assignments_dirty or now >= self._next_poll:
            self._reconcile(now)
        if self._active and (self._settings_dirty or now >= self._next_settings):
            self._follow_settings(now)
        if self._draining_until is not None and not self._active:
            self._tally.flush()
            workers.unregister(self._worker_id, DepartureReason.SHUTDOWN if self._signals else DepartureReason.DRAINED)
            self._registered = False

    def _wait(self) -> None:
        timers = [self._next_heartbeat, self._next_poll]
        if self._active:
            timers.append(self._next_settings)
        if self._draining_until is not None:
            timers += [self._draining_until, self._give_up_at]
        until = max(min(timers), self._blocked_until)
        sources: list[Any] = [self._bell.fileno(), *self._pool.sources()]
        wait(sources, timeout=max(0.0, until - time.monotonic()))
        self._bell.silence()

    def _finished(self) -> bool:
        if self._signals >= 2 or time.monotonic() >= self._give_up_at:
            return True
        return self._draining_until is not None and not self._active and not self._registered

    def _on_signal(self, number: int, frame: object) -> None:
        self._signals += 1  # the wake-up descriptor ends the wait; the loop acts

    def _take_note(self) -> None:
        """Note the runs that have ended, whether their consumers said so or died, and what failed in them."""
        ended = self._pool.ended()
        by_job = {active.assignment.job_id: active for active in self._active.values()}
        now = time.monotonic()
        for news in self._pool.news():
            if news.job_id in by_job:
                queue = by_job[news.job_id].queue
                self._tally.failed(queue, news.failures)
                self._tally.worked(queue, news.work, now)
        for job_id, report in ended:
            for active in self._active.values():
                if active.assignment.job_id == job_id and active.report is None:
                    active.report = report
                    active.consumer = None

    # --- MongoDB ---

    def _register(self) -> None:
        self._worker_id = new_id()
        bind(worker=self._worker_id)
        self._pool.worker_id = self._worker_id
        workers.register(self._worker_id, self._host, os.getpid(), self._config.max_load)
        self._registered, self._expelled = True, False
        self._assignments_dirty = True
        self._next_heartbeat = time.monotonic() + self._config.heartbeat_seconds
        self._watch()
        log.info("worker_registered", host=self._host, pid=os.getpid(), capacity=self._config.max_load)

    def _watch(self) -> None:
        if self._watcher is not None:
            self._watcher.stop()
        mine = {
            "ns.coll": "assignments",
            "$or": [
                {"operationType": "insert", "fullDocument.worker": self._worker_id},
                {"operationType": "delete"},
                {"operationType": "update", "updateDescription.updatedFields.yieldRequestedAt": {"$exists": True}},
            ],
        }
        drain = {
            "ns.coll": "workers",
            "documentKey._id": self._worker_id,
            "updateDescription.updatedFields.draining": True,
        }
        settings = {"ns.coll": "queues", "updateDescription.updatedFields.updatedAt": {"$exists": True}}
        self._watcher = ChangeWatcher([{"$match": {"$or": [mine, settings, drain]}}], self._on_change, self._on_open)
        self._watcher.start()

    def _on_change(self, change: dict[str, Any]) -> None:
        # In the watcher's thread: flags and the bell alone.
        if change["ns"]["coll"] == "queues":
            if any(active.queue.id == change["documentKey"]["_id"] for active in list(self._active.values())):
                self._settings_dirty = True
                self._bell.ring()
        elif change["ns"]["coll"] == "workers":
            self._drain_asked = True
            self._bell.ring()
        elif change["operationType"] != "delete" or change["documentKey"]["_id"] in self._active:
            self._assignments_dirty = True
            self._bell.ring()

    def _on_open(self) -> None:
        self._assignments_dirty = self._settings_dirty = True
        self._bell.ring()

    def _heartbeat(self, now: float) -> None:
        self._next_heartbeat = now + self._config.heartbeat_seconds * random.uniform(0.9, 1.0)
        if self._expelled:
            return
        consumers = [
            {
                "pid": str(active.consumer.pid),
                "queueName": active.queue.name,
                "jobId": active.assignment.job_id,
                "memory": active.consumer.memory,
                "processed": 0,
                "failed": 0,
                "inFlight": 0,
                "buffered": 0,
                **active.consumer.counts,
            }
            for active in self._active.values()
            if active.consumer is not None
        ]
        try:
            workers.heartbeat(self._worker_id, consumers)
        except StaleTransition:
            log.warning("worker_pruned", meaning="it was taken for dead: it ends its runs and registers anew")
            self._expelled = True
            for active in self._active.values():
                self._end(active, EndReason.REVOKED)

    def _reconcile(self, now: float) -> None:
        """Compare what is assigned with what runs: start, end, make room."""
        self._assignments_dirty = False
        live = self._watcher is not None and self._watcher.live
        self._next_poll = now + (POLL_LIVE_SECONDS if live else POLL_BLIND_SECONDS)
        if not live and self._draining_until is None and workers.is_draining(self._worker_id):
            self._drain_asked = True
        mine = {assignment.id: assignment for assignment in assignments.of_worker(self._worker_id)}
        for assignment_id, active in self._active.items():
            if assignment_id not in mine:
                self._end(active, EndReason.REVOKED)
            elif mine[assignment_id].yield_requested_at is not None:
                self._end(active, EndReason.YIELDED)
        new = [assignment for assignment_id, assignment in mine.items() if assignment_id not in self._active]
        if new:
            definitions = {queue.id: queue for queue in queues.by_ids({a.queue_id for a in new})}
            lease = leases.current()
            # Oldest first: where there are too many, the latest are handed back.
            for assignment in sorted(new, key=lambda a: (a.created_at, a.id)):
                self._start(assignment, definitions.get(assignment.queue_id), lease)

    def _start(self, assignment: Assignment, queue: Queue | None, lease: Lease | None) -> None:
        processor = Processor(self._worker_id, self._host, os.getpid())
        refusal = judgement.refusal(
            assignment,
            queue,
            lease,
            free=self._config.max_load - len(self._active),
            draining=self._draining_until is not None,
        )
        if refusal is not None:
            queue = queue or Queue(
                id=assignment.queue_id, name=assignment.queue_url.rpartition("/")[2], queue_url=assignment.queue_url
            )
            # The job may not be there yet, and every job ends in a final status.
            jobs.create_many([(assignment, queue.name, processor)])
            if refusal is EndReason.REVOKED:
                log.warning("assignment_refused", queue=queue.name, term=assignment.term, load=len(self._active))
            ending.record(assignment, queue, self._worker_id, Report(refusal))
            return
        assert queue is not None
        consumer = self._pool.obtain()
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
        self._active[assignment.id] = Active(assignment, queue, settings, consumer)
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
        definitions = {queue.id: queue for queue in queues.by_ids({a.queue.id for a in self._active.values()})}
        for active in self._active.values():
            if active.ending or active.report is not None or active.consumer is None:
                continue
            queue = definitions.get(active.queue.id)
            if queue is None:
                self._end(active, EndReason.QUEUE_MISSING)
                continue
            if queue.paused:
                self._end(active, EndReason.PAUSED)
                continue
            settings = QueueSettings.of(queue, database_clock.now())
            if settings != active.settings:
                active.settings = settings
                active.consumer.apply(settings)

    def _end(self, active: Active, reason: EndReason) -> None:
        if not active.ending and active.consumer is not None:
            active.ending = True
            active.consumer.end(reason)

    def _settle(self, active: Active) -> None:
        """Record the end of a run, and have done with it. Where MongoDB is away, the next turn repeats it."""
        assert active.report is not None
        ending.record(active.assignment, active.queue, self._worker_id, active.report)
        del self._active[active.assignment.id]

    # --- the end ---

    def _begin_drain(self, now: float) -> None:
        log.info("worker_draining", runs=len(self._active), grace_seconds=self._config.shutdown_grace_seconds)
        self._draining_until = now + self._config.shutdown_grace_seconds
        self._give_up_at = self._draining_until + RECORD_SECONDS
        for active in self._active.values():
            self._end(active, EndReason.SHUTDOWN)
        try:
            if self._registered:
                workers.drain(self._worker_id)
        except (MongoError, StaleTransition):
            pass  # a courtesy to the master: what it still assigns is handed back
        self._assignments_dirty = True

    def _enforce_grace(self, now: float) -> None:
        if self._draining_until is None or now < self._draining_until:
            return
        self._draining_until = float("inf")
        grace = self._config.shutdown_grace_seconds
        for active in self._active.values():
            if active.consumer is not None:
                log.error(
                    "grace_over", queue=active.queue.name, pid=active.consumer.pid, meaning="the consumer is killed"
                )
                active.consumer.kill(f"its handlers did not end within the grace of {grace:g} s")
