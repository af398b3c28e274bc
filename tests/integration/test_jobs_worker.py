"""The worker's loop, turn by turn, on a real MongoDB; its consumers are stand-ins that note what they are told.

What real consumers make of it is in `tests/acceptance`.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest
import structlog
from bson import ObjectId

from jobs import histogram, services
from jobs.attempt_model import Attempt
from jobs.attempts import AttemptOutcome, AttemptReport
from jobs.consumer.held import Batch
from jobs.consumer.meter import NONE, WorkCounts
from jobs.consumer.news import News
from jobs.consumer.report import RunReport
from jobs.consumer.settings import QueueSettings
from jobs.failures import FailureGroup
from jobs.models import Assignment, EndReason, JobStatus
from jobs.placement import announced
from jobs.repositories import assignments, failures, jobs, leases, throughput, workers
from jobs.worker import recording
from jobs.worker.drain import RECORD_SECONDS
from jobs.worker.loop import WorkerLoop
from jobs.worker.pool import CannotStart, Pool
from queues import repository
from queues.handlers import registry
from queues.models import Queue
from queuesite.foundation.databases import MongoError, collection, database_clock
from queuesite.foundation.errors import InvalidInput, NotFound
from tests.support.records import all_jobs, assign, define, failures_of, job_of, processor, stored
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.conftest import Configure

pytestmark = pytest.mark.usefixtures("mongo")

_pids = itertools.count(1_000_000)


@dataclass(eq=False)
class StandIn:
    """A consumer that does nothing."""

    pid: int = field(default_factory=lambda: next(_pids))
    job_id: ObjectId | None = None
    counts: dict[str, Any] = field(default_factory=dict)
    memory: int = 7
    told: list[object] = field(default_factory=list)

    def start(self, job_id: ObjectId, settings: QueueSettings, first: tuple[Batch, ...] = ()) -> None:
        self.job_id = job_id
        self.told += [settings, *first]

    def give(self, batch: Batch) -> None:
        self.told.append(batch)

    def apply(self, settings: QueueSettings) -> None:
        self.told.append(settings)

    def end(self, reason: EndReason) -> None:
        self.told.append(reason)

    def kill(self, reason: str) -> None:
        self.told.append("kill")


@dataclass
class StandInPool:
    """The pool of these."""

    consumers: list[StandIn] = field(default_factory=list)
    reports: list[tuple[ObjectId, RunReport]] = field(default_factory=list)
    told: list[tuple[ObjectId, News]] = field(default_factory=list)
    free: list[tuple[ObjectId, RunReport]] = field(default_factory=list)
    refused: list[Batch] = field(default_factory=list)
    trouble: str | None = None
    worker_id: str = ""
    closed_with: float | None = None

    def warm_up(self) -> None:
        pass

    def obtain(self) -> StandIn:
        if self.trouble is not None:
            raise CannotStart(f"the worker cannot start a consumer process: {self.trouble}")
        self.consumers.append(StandIn())
        return self.consumers[-1]

    def sources(self) -> tuple[list[Any], list[Any]]:
        return [], []

    def ended(self) -> list[tuple[ObjectId, RunReport]]:
        reports, self.reports = self.reports, []
        return reports

    def news(self) -> list[tuple[ObjectId, News]]:
        told, self.told = self.told, []
        return told

    def finishing(self) -> list[tuple[ObjectId, RunReport]]:
        free, self.free = self.free, []
        return free

    def declined(self) -> list[Batch]:
        refused, self.refused = self.refused, []
        return refused

    def kill_silent(self, patience: float) -> None:
        pass

    def close(self, timeout: float) -> None:
        self.closed_with = timeout


class Worker:
    """A worker whose turns the test takes."""

    def __init__(self, configure: Configure) -> None:
        self.configure = configure
        self.pool = StandInPool()
        self._passed = 0.0
        self.loop = self._make()

    def _make(self, **settings: Any) -> WorkerLoop:
        config = self.configure(**{"heartbeat_seconds": 0.05, "worker_stalled_after": 60, "max_load": 5, **settings})
        return WorkerLoop(config, cast(Pool, self.pool), self._now)

    def _now(self) -> float:
        return time.monotonic() + self._passed

    def skip(self, seconds: float) -> None:
        """Let time pass for the worker alone."""
        self._passed += seconds

    def configured(self, **settings: Any) -> None:
        """Start it with other settings; before its first turn."""
        self.close()
        self.loop = self._make(**settings)

    @property
    def id(self) -> str:
        return self.loop.worker_id

    def turn(self) -> None:
        self.loop.turn()
        self.loop.wait()

    def until(self, condition: Callable[[], object], what: str) -> None:
        def after_a_turn() -> object:
            self.turn()
            return condition()

        eventually(after_a_turn, 10, what)

    def take(self, queue: Queue, **kwargs: Any) -> tuple[Assignment, StandIn]:
        """Have it begin a queue."""
        if not self.id:
            self.turn()
        before = len(self.pool.consumers)
        assignment = assign(queue, self.id, **kwargs)
        self.until(lambda: len(self.pool.consumers) > before, "the queue was begun")
        return assignment, self.pool.consumers[-1]

    def report(self, assignment: Assignment, report: RunReport) -> None:
        """Have the assignment's consumer say that its run has ended."""
        self.pool.reports.append((assignment.job_id, report))

    def stop(self) -> None:
        """What SIGTERM does."""
        self.loop.stop()

    def stop_watching(self) -> None:
        """Have MongoDB tell it nothing any more."""
        self.loop.watch.stop()
        assert self.loop.watch.join(30)

    def close(self) -> None:
        self.stop_watching()
        self.loop.wakeup.close()


@pytest.fixture(autouse=True)
def own_log_fields() -> Iterator[None]:
    """Masters and workers give their names to every event of their process, which here goes on without them."""
    yield
    structlog.contextvars.clear_contextvars()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("queuesite.foundation.outage.FIRST_PAUSE", 0.01)
    monkeypatch.setattr("queuesite.foundation.outage.LONGEST_PAUSE", 0.05)
    monkeypatch.setattr("queuesite.foundation.changes.MAX_AWAIT_MS", 200)
    monkeypatch.setattr("jobs.worker.loop.FLUSH_SECONDS", 0.05)


@pytest.fixture
def handlers() -> Iterator[None]:
    """The signal handlers of this process stay its own."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def worker(configure: Configure) -> Iterator[Worker]:
    made = Worker(configure)
    yield made
    made.close()


def heard(worker: Worker) -> list[dict[str, Any]]:
    """The consumers in its next heartbeat."""
    worker.skip(1.0)
    worker.turn()
    return list(workers.all_workers()[0].consumers)


def drained(processed: int = 0) -> RunReport:
    return RunReport(EndReason.DRAINED, processed, empty_at=time.monotonic())


def away(*_: object, **__: object) -> None:
    raise MongoError("away")


class TestBeginning:
    def test_it_registers(self, worker: Worker) -> None:
        worker.turn()
        (registered,) = workers.all_workers()
        assert registered.worker_id == worker.id
        assert (registered.pid, registered.capacity, registered.draining) == (os.getpid(), 5, False)

    def test_it_announces_its_pool_and_its_handlers(self, worker: Worker) -> None:
        worker.turn()
        (registered,) = workers.all_workers()
        assert registered.pool == "default"
        assert registered.version == worker.loop.announcer.announcement.version
        found = {one.name: one for one in announced(registered)}
        assert set(found) == set(registry.all_handlers())
        assert found["simulate"].schema == json.loads(str(registry.get("simulate").schema_text))

    def test_an_assignment_is_begun_with_the_queues_settings(self, worker: Worker) -> None:
        queue = define(concurrency=3, handler="log", visibility_timeout=77)
        worker.turn()
        assignment = assign(queue, worker.id)
        jobs.create_many([(assignment, queue.name, processor(worker.id))])
        worker.until(lambda: worker.pool.consumers, "the queue was begun")
        (consumer,) = worker.pool.consumers
        assert consumer.told == [QueueSettings.of(queue)]
        job = job_of(assignment)
        assert (job.status, job.processor["consumerPid"]) == (JobStatus.RUNNING, str(consumer.pid))
        assert job.processor["workerPid"] == str(os.getpid())
        assert (job.handler, job.handler_version) == ("log", worker.loop.announcer.version_of("log"))

    def test_a_job_that_the_master_did_not_create_is_created(self, worker: Worker) -> None:
        assignment, _ = worker.take(define())
        assert job_of(assignment).status == JobStatus.RUNNING

    def test_another_workers_assignments_are_left_alone(self, worker: Worker) -> None:
        worker.turn()
        assign(define("other"), "w2")
        worker.take(define())
        assert len(worker.pool.consumers) == 1

    def test_an_assignment_whose_job_has_ended_is_not_begun(self, worker: Worker) -> None:
        queue = define()
        worker.turn()
        assignment = assign(queue, worker.id)
        jobs.create_many([(assignment, queue.name, processor(worker.id))])
        jobs.abandon_many([jobs.Abandoned(assignment.job_id, "taken for dead")])
        worker.until(lambda: not assignments.all_assignments(), "the assignment was released")
        assert worker.pool.consumers[0].told == []
        assert worker.loop.runs.active == {}
        assert job_of(assignment).status == JobStatus.ABANDONED

    def test_a_queue_that_it_cannot_serve_is_handed_back(self, worker: Worker) -> None:
        worker.turn()
        queue = define(handler="of-another-worker")
        assignment = assign(queue, worker.id)
        worker.until(lambda: not assignments.all_assignments(), "it was handed back")
        assert (job_of(assignment).status, job_of(assignment).end_reason) == (JobStatus.COMPLETED, EndReason.MISPLACED)
        assert stored(queue).wake_pending
        assert not worker.pool.consumers

    def test_a_paused_queue_is_handed_back(self, worker: Worker) -> None:
        worker.turn()
        assignment = assign(define(paused=True), worker.id)
        worker.until(lambda: not assignments.all_assignments(), "it was handed back")
        job = job_of(assignment)
        assert (job.status, job.end_reason) == (JobStatus.COMPLETED, EndReason.PAUSED)
        assert worker.pool.consumers == []

    def test_a_queue_that_is_gone_is_handed_back(self, worker: Worker) -> None:
        queue = define()
        worker.turn()
        repository.delete(queue.id)
        assignment = assign(queue, worker.id)
        worker.until(lambda: not assignments.all_assignments(), "it was handed back")
        job = job_of(assignment)
        assert (job.status, job.end_reason, job.queue_name) == (
            JobStatus.COMPLETED,
            EndReason.QUEUE_MISSING,
            "orders",
        )


class TestWorking:
    def test_the_end_of_a_run_is_recorded(self, worker: Worker) -> None:
        queue = define()
        assignment, _ = worker.take(queue)
        worker.report(assignment, drained(7))
        worker.until(lambda: not assignments.all_assignments(), "the assignment was released")
        job = job_of(assignment)
        assert (job.status, job.message_count) == (JobStatus.COMPLETED, 7)
        assert worker.loop.runs.active == {}

    def test_heartbeats_tell_what_the_consumers_told(self, worker: Worker) -> None:
        assignment, consumer = worker.take(define())
        consumer.counts = {"processed": 3, "failed": 1, "inFlight": 2, "buffered": 5}

        def told() -> bool:
            expected: list[dict[str, Any]] = [
                {
                    "pid": str(consumer.pid),
                    "queueName": "orders",
                    "jobId": assignment.job_id,
                    "memory": 7,
                    **consumer.counts,
                    "finishing": False,
                }
            ]
            return list(workers.all_workers()[0].consumers) == expected

        worker.until(told, "the heartbeat has the counts")

    def test_a_yield_is_asked_of_the_consumer_once(self, worker: Worker) -> None:
        assignment, consumer = worker.take(define())
        assignments.request_yield([assignment.id])
        worker.until(lambda: EndReason.YIELDED in consumer.told, "the consumer was asked")
        worker.loop.watch.read_all()
        worker.turn()
        assert consumer.told[1:] == [EndReason.YIELDED]

    def test_an_assignment_that_was_taken_away_ends_the_run(self, worker: Worker) -> None:
        assignment, consumer = worker.take(define())
        assignments.release(assignment.id, worker.id)
        worker.until(lambda: EndReason.REVOKED in consumer.told, "the run was ended")
        worker.report(assignment, RunReport(EndReason.REVOKED, 2))
        worker.until(lambda: not worker.loop.runs.active, "it has done with it")

    def test_changed_settings_are_handed_on(self, worker: Worker) -> None:
        queue = define(concurrency=1)
        _, consumer = worker.take(queue)
        repository.update(queue.id, {"concurrency": 4})
        worker.until(lambda: len(consumer.told) > 1, "the settings were handed on")
        (_, changed) = consumer.told
        assert isinstance(changed, QueueSettings)
        assert changed.concurrency == 4
        worker.loop.watch.read_all()
        worker.turn()
        assert len(consumer.told) == 2

    @pytest.mark.parametrize("change", [{"handler": "of-another-worker"}, {"pool": "gpu"}])
    def test_a_queue_that_this_worker_cannot_serve_any_more_goes_to_another(
        self, worker: Worker, change: dict[str, Any]
    ) -> None:
        queue = define()
        assignment, consumer = worker.take(queue)
        repository.update(queue.id, change)
        worker.until(lambda: EndReason.MISPLACED in consumer.told, "its run is ended")
        assert consumer.told[1:] == [EndReason.MISPLACED], "a consumer cannot follow to a handler that it lacks"
        worker.report(assignment, RunReport(EndReason.MISPLACED, processed=3))
        worker.until(lambda: not assignments.all_assignments(), "the run is recorded")
        assert job_of(assignment).status == JobStatus.COMPLETED
        assert stored(queue).wake_pending
        assert stored(queue).not_before is None

    def test_a_pause_ends_the_run(self, worker: Worker) -> None:
        queue = define()
        _, consumer = worker.take(queue)
        repository.update(queue.id, {"paused": True})
        worker.until(lambda: EndReason.PAUSED in consumer.told, "the run was ended")

    def test_a_deleted_definition_ends_the_run(self, worker: Worker) -> None:
        queue = define()
        _, consumer = worker.take(queue)
        repository.delete(queue.id)
        worker.loop.watch.read_all()
        worker.until(lambda: EndReason.QUEUE_MISSING in consumer.told, "the run was ended")


class TestRefused:
    def test_what_a_deposed_master_assigned_is_handed_back(self, worker: Worker) -> None:
        worker.turn()
        assert leases.acquire("old", 60) == 1
        leases.resign("old", 1)
        assert leases.acquire("new", 60) == 2
        queue = define()
        stale = assign(queue, worker.id, term=1)
        worker.until(lambda: not assignments.all_assignments(), "it was handed back")
        assert worker.pool.consumers == []
        job = job_of(stale)
        assert (job.status, job.end_reason) == (JobStatus.COMPLETED, EndReason.REVOKED)
        assert stored(queue).wake_pending
        assign(queue, worker.id, term=2)
        worker.until(lambda: worker.pool.consumers, "the leader's own is begun")

    def test_it_runs_no_more_than_it_may(self, worker: Worker) -> None:
        worker.turn()
        made = [assign(define(f"q{n}"), worker.id) for n in range(7)]
        worker.until(lambda: len(assignments.all_assignments()) == 5, "two were handed back")
        assert len(worker.pool.consumers) == 5
        assert {a.id for a in assignments.all_assignments()} == {a.id for a in made[:5]}, "the first are kept"


class TestFailures:
    def seen(self, at: float = 1.0, message_id: str = "m1") -> FailureGroup:
        return FailureGroup("ValueError", "shop.buy", "no", "trace", at, at, message_id=message_id)

    def test_what_consumers_tell_is_kept_by_kind(self, worker: Worker) -> None:
        queue = define()
        assignment, _ = worker.take(queue)
        now = time.monotonic()
        worker.pool.told = [(assignment.job_id, News((self.seen(now - 2), self.seen(now - 1, "m2")), NONE))]
        worker.until(lambda: failures_of(queue), "they were written")
        worker.pool.told = [(assignment.job_id, News((self.seen(now, "m3"),), NONE))]
        worker.until(lambda: failures_of(queue)[0].count == 3, "one more was counted")
        (found,) = failures_of(queue)
        assert (found.exception_type, found.place, found.message_id) == ("ValueError", "shop.buy", "m3")
        assert found.queue_name == queue.name
        assert 1 < (found.last_seen_at - found.first_seen_at).total_seconds() < 10

    def test_they_wait_for_mongodb(self, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
        queue = define()
        assignment, _ = worker.take(queue)
        with monkeypatch.context() as patch:
            patch.setattr(failures, "add", away)
            worker.pool.told = [(assignment.job_id, News((self.seen(),), NONE))]
            worker.until(lambda: worker.loop.outage.active, "MongoDB is away")
            worker.pool.told = [(assignment.job_id, News((self.seen(2.0),), NONE))]
            worker.turn()
        worker.until(lambda: failures_of(queue), "they were written")
        assert failures_of(queue)[0].count == 2

    def test_the_last_are_written_before_it_leaves(self, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
        queue = define()
        monkeypatch.setattr("jobs.worker.loop.FLUSH_SECONDS", 3_600.0)
        worker.skip(3_600.0)
        assignment, _ = worker.take(queue)
        worker.turn()
        worker.pool.told = [(assignment.job_id, News((self.seen(),), NONE))]
        worker.stop()
        worker.report(assignment, RunReport(EndReason.SHUTDOWN))
        worker.until(lambda: worker.loop.finished, "it has finished")
        assert failures_of(queue)[0].count == 1


def test_attempts_are_recorded_with_the_job_the_worker_and_the_version(worker: Worker) -> None:
    queue = define()
    assignment, _ = worker.take(queue)
    one = AttemptReport("m1", 2, AttemptOutcome.FAILED, time.monotonic() - 2, 0.5, 3.0, "KeyError", "no", log="line")
    worker.pool.told = [(assignment.job_id, News(attempts=(one,)))]
    worker.until(lambda: collection(Attempt).count_documents({}), "it was written")
    found = collection(Attempt).find_one({"messageId": "m1"})
    assert found is not None
    assert (found["queueName"], found["jobId"], found["worker"]) == (queue.name, assignment.job_id, worker.id)
    assert found["handlerVersion"] == worker.loop.announcer.version_of(queue.handler)


class TestThroughput:
    def test_work_is_added_up_by_queue_and_minute(self, worker: Worker) -> None:
        queue, other = define(), define("other")
        first, _ = worker.take(queue)
        second, _ = worker.take(other)
        durations = histogram.counts([0.001, 0.2])
        work = WorkCounts(
            processed=2, failed=1, rejected=1, timed_out=0, requests=5, durations=durations, seconds=0.201
        )
        worker.pool.told = [
            (first.job_id, News((), work)),
            (second.job_id, News((), WorkCounts(requests=1))),
            (first.job_id, News((), work)),
        ]
        worker.until(throughput.totals, "it was written")
        found = {row.queue_name: row for row in throughput.totals()}
        row = found["orders"]
        assert (row.processed, row.failed, row.rejected, row.requests) == (4, 2, 2, 10)
        assert row.buckets == histogram.added(durations, durations)
        assert row.duration_sum == pytest.approx(0.402)
        assert (found["other"].processed, found["other"].requests) == (0, 1)

    def test_it_waits_for_mongodb_and_is_written_once(self, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
        assignment, _ = worker.take(define())
        with monkeypatch.context() as patch:
            patch.setattr(throughput, "add", away)
            worker.pool.told = [(assignment.job_id, News((), WorkCounts(processed=3)))]
            worker.until(lambda: worker.loop.outage.active, "MongoDB is away")
        worker.until(throughput.totals, "it was written")
        for _ in range(3):
            worker.skip(1.0)
            worker.turn()
        assert [row.processed for row in throughput.totals()] == [3]


class TestQueuesOfOthers:
    def test_what_a_consumer_found_is_written_down(self, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
        queue = define(managed=False, max_receive_count=3, visibility_timeout=60)
        assignment, consumer = worker.take(queue)
        found = {"max_receive_count": 10, "dlq_url": "http://sqs/other", "visibility_timeout": 60}
        worker.pool.told = [(assignment.job_id, News((), NONE, found))]
        with monkeypatch.context() as patch:
            patch.setattr("jobs.worker.loop.adopted_queues.followed", away)
            worker.until(lambda: worker.loop.outage.active, "MongoDB is away")
        assert stored(queue).max_receive_count == 3

        worker.until(lambda: stored(queue).max_receive_count == 10, "it was written once MongoDB was back")
        assert stored(queue).dlq_url == "http://sqs/other"
        # Other consumers of the queue follow, as after any change.
        worker.until(lambda: any(getattr(one, "max_receive_count", 0) == 10 for one in consumer.told), "they follow")


class TestDrain:
    def test_it_may_be_asked_for_from_anywhere(self, worker: Worker) -> None:
        assignment, consumer = worker.take(define())
        assert services.drain_worker(worker.id)
        assert not services.drain_worker(worker.id), "it was told to already"
        worker.until(lambda: EndReason.SHUTDOWN in consumer.told, "its runs are ended")
        worker.report(assignment, RunReport(EndReason.SHUTDOWN, 1))
        worker.until(lambda: worker.loop.finished, "it has finished")
        assert workers.all_workers() == []

    def test_without_change_streams_too(self, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
        worker.turn()
        worker.stop_watching()
        monkeypatch.setattr("jobs.worker.loop.POLL_BLIND_SECONDS", 0.05)
        services.drain_worker(worker.id)
        worker.until(lambda: worker.loop.finished, "it has finished")

    def test_of_a_worker_that_is_not_there(self) -> None:
        with pytest.raises(NotFound, match=r"there is no worker 'nobody'; `manage.py worker list`"):
            services.drain_worker("nobody")


def woken_at(queue: Queue) -> datetime:
    """When the queue was last woken, by the server's clock: what this process takes for its time may be ahead."""
    found = stored(queue).wake_requested_at
    assert found is not None
    return found


class TestFinishing:
    """A run of which only handlers in flight are left frees its capacity, and goes on."""

    def begun(self, worker: Worker, **settings: Any) -> tuple[Queue, Assignment, StandIn]:
        queue = define(**settings)
        assignment, consumer = worker.take(queue)
        consumer.counts = {"processed": 3, "failed": 1, "timedOut": 0, "retried": 0, "inFlight": 2, "buffered": 0}
        return queue, assignment, consumer

    def release(self, worker: Worker, assignment: Assignment, report: RunReport) -> None:
        worker.pool.free.append((assignment.job_id, report))
        worker.until(lambda: assignment.id not in {a.id for a in assignments.all_assignments()}, "the place is free")

    def test_the_queue_is_left_to_others_and_the_job_runs_on(self, worker: Worker) -> None:
        queue, assignment, _ = self.begun(worker)
        repository.served(queue.id, database_clock.now() - timedelta(seconds=1))
        self.release(worker, assignment, RunReport(EndReason.YIELDED, 3, 1))
        assert stored(queue).wake_pending
        assert job_of(assignment).status == JobStatus.RUNNING
        again, _ = worker.take(queue)
        assert job_of(again).status == JobStatus.RUNNING
        (finishing,) = [one for one in heard(worker) if one["finishing"]]
        assert (finishing["jobId"], finishing["inFlight"]) == (assignment.job_id, 2)

    def test_it_counts_once_when_the_last_handler_has_ended(self, worker: Worker) -> None:
        _, assignment, _ = self.begun(worker)
        self.release(worker, assignment, RunReport(EndReason.YIELDED, 3, 1))
        worker.report(assignment, RunReport(EndReason.YIELDED, 5, 1))
        worker.until(lambda: not len(worker.loop.runs), "it has done with it")
        job = job_of(assignment)
        assert (job.status, job.end_reason, job.message_count) == (JobStatus.COMPLETED, EndReason.YIELDED, 5)
        assert heard(worker) == []

    def test_it_takes_no_place(self, worker: Worker) -> None:
        for n in range(5):
            _, assignment, _ = self.begun(worker, name=f"q{n}")
            self.release(worker, assignment, RunReport(EndReason.YIELDED))
        for n in range(5):
            worker.take(define(f"r{n}"))
        assert len(worker.loop.runs) == 10

    def test_no_more_finish_than_may_be_at_work(self, worker: Worker) -> None:
        """Each is a process: a queue whose handlers take hours yields every minute."""
        begun = []
        for n in range(6):
            _, assignment, _ = self.begun(worker, name=f"q{n}")
            begun.append(assignment)
            if n < 5:
                self.release(worker, assignment, RunReport(EndReason.YIELDED))
        worker.pool.free.append((begun[5].job_id, RunReport(EndReason.YIELDED)))
        for _ in range(3):
            worker.turn()
        assert [a.id for a in assignments.all_assignments()] == [begun[5].id]
        worker.report(begun[0], RunReport(EndReason.YIELDED))
        worker.until(lambda: not assignments.all_assignments(), "its place is free too")

    def test_a_crash_is_recorded_and_the_queue_is_treated_with_caution(self, worker: Worker) -> None:
        queue, assignment, _ = self.begun(worker)
        self.release(worker, assignment, RunReport(EndReason.YIELDED))
        repository.served(queue.id, woken_at(queue))
        worker.report(assignment, RunReport(EndReason.CRASHED, 3, last_error="killed by signal 9"))
        worker.until(lambda: job_of(assignment).status == JobStatus.FAILED, "the job failed")
        found = stored(queue)
        assert found.troubled_until is not None
        assert found.troubled_until > database_clock.now()
        assert found.crash_count == 1
        assert found.wake_pending

    def test_a_message_that_failed_meanwhile_is_looked_for(self, worker: Worker) -> None:
        queue, assignment, _ = self.begun(worker)
        self.release(worker, assignment, RunReport(EndReason.YIELDED, 3, 1))
        repository.served(queue.id, woken_at(queue))
        assert not stored(queue).wake_pending
        worker.report(assignment, RunReport(EndReason.YIELDED, 3, 2))
        worker.until(lambda: job_of(assignment).status == JobStatus.COMPLETED, "the job ended")
        assert stored(queue).wake_pending

    def test_a_paused_queue_stays_so_and_changed_settings_reach_what_is_in_flight(self, worker: Worker) -> None:
        queue, assignment, consumer = self.begun(worker)
        repository.update(queue.id, {"paused": True})
        worker.until(lambda: EndReason.PAUSED in consumer.told, "the run was ended")
        self.release(worker, assignment, RunReport(EndReason.PAUSED))
        repository.update(queue.id, {"visibility_timeout": 99})

        def changed() -> bool:
            last = consumer.told[-1]
            return isinstance(last, QueueSettings) and last.visibility_timeout == 99

        worker.until(changed, "the settings were handed on")

    def test_stopping_waits_for_it_within_the_grace(self, worker: Worker) -> None:
        _, assignment, consumer = self.begun(worker)
        self.release(worker, assignment, RunReport(EndReason.YIELDED))
        worker.stop()
        worker.turn()
        assert not worker.loop.finished
        worker.skip(worker.loop.config.shutdown_grace_seconds)
        worker.turn()
        assert "kill" in consumer.told
        worker.report(assignment, RunReport(EndReason.CRASHED, last_error="killed by its worker"))
        worker.until(lambda: worker.loop.finished, "it has finished")
        assert job_of(assignment).status == JobStatus.FAILED
        assert workers.all_workers() == []

    @pytest.mark.parametrize("step", [(repository, "wake"), (assignments, "release")])
    def test_what_mongodb_did_not_take_is_told_again(
        self, worker: Worker, monkeypatch: pytest.MonkeyPatch, step: tuple[Any, str]
    ) -> None:
        _, assignment, _ = self.begun(worker)
        with monkeypatch.context() as patch:
            patch.setattr(*step, away)
            worker.pool.free.append((assignment.job_id, RunReport(EndReason.YIELDED, 3)))
            worker.until(lambda: worker.loop.outage.active, "MongoDB is away")
            assert [a.id for a in assignments.all_assignments()] == [assignment.id]
        worker.until(lambda: not assignments.all_assignments(), "the place is free")
        assert job_of(assignment).status == JobStatus.RUNNING

    def test_one_that_has_ended_before_its_place_was_given_up_is_recorded_as_ever(self, worker: Worker) -> None:
        _, assignment, _ = self.begun(worker)
        worker.pool.free.append((assignment.job_id, RunReport(EndReason.YIELDED, 3)))
        worker.report(assignment, RunReport(EndReason.YIELDED, 4))
        worker.until(lambda: not assignments.all_assignments(), "it has done with it")
        assert job_of(assignment).message_count == 4


class TestLongRuns:
    def test_the_counts_so_far_are_written_without_ending_the_run(self, worker: Worker) -> None:
        worker.configured(job_max_seconds=0.01)
        assignment, consumer = worker.take(define())
        consumer.counts = {"processed": 3, "failed": 1, "timedOut": 1, "retried": 4, "inFlight": 2, "buffered": 0}
        worker.until(lambda: job_of(assignment).message_count == 3, "the counts were written")
        job = job_of(assignment)
        assert (job.failed_count, job.timed_out_count, job.retried_count) == (1, 1, 4)
        assert consumer.told[1:] == []
        jobs.abandon_many([jobs.Abandoned(assignment.job_id, "taken for dead")])
        for _ in range(3):
            worker.turn()
        assert not worker.loop.outage.active


class TestNoProcesses:
    """A worker that cannot start processes (a limit on pids, no memory)."""

    def test_it_hands_assignments_back_and_is_given_no_more_until_it_can(self, worker: Worker) -> None:
        running, _ = worker.take(define("running"))
        worker.pool.trouble = "BlockingIOError: [Errno 11] Resource temporarily unavailable"
        queue = define()
        assignment = assign(queue, worker.id)
        worker.until(lambda: [a.id for a in assignments.all_assignments()] == [running.id], "it was handed back")
        assert workers.all_workers()[0].capacity == 1, "as many as it runs"
        job = job_of(assignment)
        assert (job.status, job.end_reason) == (JobStatus.COMPLETED, EndReason.REVOKED)
        assert "cannot start a consumer process: BlockingIOError" in (job.last_error or "")
        assert stored(queue).wake_pending
        worker.pool.trouble = None
        worker.until(lambda: workers.all_workers()[0].capacity == 5, "it takes as many as ever")


class TestCapacity:
    def test_a_running_worker_follows_what_it_is_asked_for(self, worker: Worker) -> None:
        worker.configured(max_load=2, max_load_limit=3)
        runs = [worker.take(define(f"q{n}"))[1] for n in range(2)]

        def shown() -> tuple[int, int | None, int | None]:
            (one,) = workers.all_workers()
            return one.capacity, one.wanted_capacity, one.capacity_limit

        assert shown() == (2, None, 3)
        with pytest.raises(InvalidInput, match="capacity 4: expected 1 to 3"):
            services.set_capacity(worker.id, 4)
        assert services.set_capacity(worker.id, 3)
        assert not services.set_capacity(worker.id, 3)
        worker.until(lambda: shown() == (3, 3, 3), "it has another place")
        runs.append(worker.take(define("q2"))[1])

        services.set_capacity(worker.id, 1)
        worker.until(lambda: shown() == (1, 1, 3), "it has one place")
        assert [EndReason.YIELDED in run.told for run in runs] == [False, True, True], "the last ones make room"

        before = worker.id
        workers.unregister(before)
        worker.until(lambda: worker.id != before and shown() == (1, 1, 3), "it registered again, and still knows")
        services.set_capacity(worker.id, None)
        worker.until(lambda: shown() == (2, None, 3), "it has as many as it was started with")

    def test_what_is_asked_for_while_it_reads_is_read_next(
        self, worker: Worker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        worker.turn()
        watch, read = worker.loop.watch, workers.wanted

        def overtaken(worker_id: str) -> workers.Wanted | None:
            found = read(worker_id)
            watch.wanted_due = True  # as the change stream's thread says
            return found

        monkeypatch.setattr(workers, "wanted", overtaken)
        watch.wanted_due = watch.assignments_due = True
        worker.loop.turn()
        assert watch.wanted_due

    def test_what_a_document_asks_for_beyond_the_limit_is_cut(self, worker: Worker) -> None:
        worker.turn()
        workers.want_capacity(worker.id, 1_000)
        worker.until(lambda: workers.all_workers()[0].capacity == 10, "it has twice MAX_LOAD")


class TestMany:
    def test_heartbeats_go_on_while_many_begin_and_end(self, configure: Configure, worker: Worker) -> None:
        many = 3 * recording.STEPS_PER_TURN
        worker.configured(max_load=many)
        worker.turn()
        made = [assign(define(f"q{n}"), worker.id) for n in range(many)]
        worker.loop.watch.read_all()
        worker.turn()
        assert len(worker.pool.consumers) == recording.STEPS_PER_TURN
        assert worker.loop.has_more, "the next turn comes at once"
        worker.until(lambda: len(worker.pool.consumers) == many, "all were begun")
        for assignment in made:
            worker.report(assignment, drained())
        worker.turn()
        assert len(worker.loop.runs) == many - recording.STEPS_PER_TURN
        worker.until(lambda: not len(worker.loop.runs), "all were recorded")
        worker.turn()
        assert not worker.loop.has_more


class TestPruned:
    def test_it_ends_its_runs_and_registers_again_without_waiting_for_them(self, worker: Worker) -> None:
        assignment, consumer = worker.take(define())
        before = worker.id
        workers.unregister(before)
        worker.until(lambda: EndReason.REVOKED in consumer.told, "the run was ended")
        worker.until(workers.all_workers, "it registered again")
        assert worker.id != before
        assert worker.pool.worker_id == worker.id
        late = assign(define("late"), before)
        full = [worker.take(define(f"q{n}"))[1] for n in range(5)]
        assert len(full) == 5, "what ends takes no place"
        assert late.id in {a.id for a in assignments.all_assignments()}, "what is not its own any more stays"

        consumer.counts = {"processed": 1, "failed": 0, "timedOut": 0, "retried": 0, "inFlight": 1, "buffered": 0}
        entry = eventually(
            lambda: next((one for one in heard(worker) if one["jobId"] == assignment.job_id), None), 30, "it is shown"
        )
        assert entry is not None
        assert entry["finishing"]
        worker.report(assignment, RunReport(EndReason.REVOKED, 2))
        worker.until(lambda: len(worker.loop.runs) == 5, "it has done with it")
        assert job_of(assignment).message_count == 2, "the job was still its own"
        assert assignment.id not in {a.id for a in assignments.all_assignments()}

    def test_draining_it_does_not_register_again(self, worker: Worker) -> None:
        assignment, _ = worker.take(define())
        worker.stop()
        worker.turn()
        workers.unregister(worker.id)
        worker.skip(1.0)
        worker.turn()
        worker.report(assignment, RunReport(EndReason.SHUTDOWN, 2))
        worker.until(lambda: worker.loop.finished, "it has finished")
        assert workers.all_workers() == []
        assert assignments.all_assignments() == []

    def test_idle_it_registers_again_at_once(self, worker: Worker) -> None:
        worker.turn()
        before = worker.id
        workers.unregister(before)
        worker.until(workers.all_workers, "it registered again")
        assert worker.id != before


class TestMongoAway:
    def test_the_end_of_a_run_is_kept_until_it_can_be_recorded(
        self, worker: Worker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        queue = define()
        assignment, _ = worker.take(queue)
        with monkeypatch.context() as patch:
            patch.setattr(jobs, "complete", away)
            worker.report(assignment, drained(7))
            worker.until(lambda: worker.loop.outage.active, "MongoDB is away")
            worker.turn()
            assert job_of(assignment).status == JobStatus.RUNNING
            # It comes back, and before the worker notices somebody announces a message.
            repository.wake(queue.id)
        worker.until(lambda: job_of(assignment).status == JobStatus.COMPLETED, "the end was recorded")
        assert job_of(assignment).message_count == 7
        assert stored(queue).wake_pending

    def test_an_assignment_that_could_not_be_begun_is_begun_as_soon_as_it_can(
        self, worker: Worker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("jobs.worker.loop.POLL_LIVE_SECONDS", 3_600)
        monkeypatch.setattr("jobs.worker.loop.POLL_BLIND_SECONDS", 3_600)
        worker.turn()
        worker.stop_watching()
        worker.turn()
        worker.turn()  # by now it looks at its assignments for no other reason than this test's
        assignment = assign(define(), worker.id)
        worker.loop.watch.read_all()
        with monkeypatch.context() as patch:
            patch.setattr(jobs, "start", away)
            worker.until(lambda: worker.loop.outage.active, "MongoDB is away")
        worker.until(lambda: worker.loop.runs.active, "it was begun")
        assert job_of(assignment).status == JobStatus.RUNNING

    def test_it_is_left_alone_until_the_pause_is_over(self, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("FIRST_PAUSE", "LONGEST_PAUSE"):
            monkeypatch.setattr(f"queuesite.foundation.outage.{name}", 0.4)
        worker.configured()
        worker.turn()
        calls: list[float] = []

        def fail(*_: object) -> None:
            calls.append(time.monotonic())
            raise MongoError("away")

        monkeypatch.setattr(workers, "heartbeat", fail)
        worker.until(lambda: calls, "a heartbeat failed")
        blocked_until = worker.loop.blocked_until
        worker.loop.wakeup.wake()  # whatever happens meanwhile
        worker.turn()
        assert len(calls) == 1 or calls[1] >= blocked_until

    def test_heartbeats_go_on_when_it_is_back(self, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
        worker.turn()
        with monkeypatch.context() as patch:
            patch.setattr(workers, "heartbeat", away)
            worker.until(lambda: worker.loop.outage.active, "MongoDB is away")
        before = workers.all_workers()[0].heartbeat_at
        worker.until(lambda: workers.all_workers()[0].heartbeat_at > before, "heartbeats go on")
        assert not worker.loop.outage.active


class TestStop:
    def test_idle_it_leaves(self, worker: Worker) -> None:
        worker.turn()
        worker.stop()
        worker.turn()
        assert worker.loop.finished
        assert workers.all_workers() == []

    def test_before_it_ever_registered(self, worker: Worker) -> None:
        worker.stop()
        worker.until(lambda: worker.loop.finished, "it has finished")
        assert workers.all_workers() == []

    def test_its_runs_are_ended_and_recorded_first(self, worker: Worker) -> None:
        queue = define()
        assignment, consumer = worker.take(queue)
        worker.stop()
        worker.turn()
        assert consumer.told[1:] == [EndReason.SHUTDOWN]
        assert workers.all_workers()[0].draining
        assert not worker.loop.finished
        worker.report(assignment, RunReport(EndReason.SHUTDOWN, 3))
        worker.until(lambda: worker.loop.finished, "it has finished")
        job = job_of(assignment)
        assert (job.status, job.end_reason, job.message_count) == (JobStatus.COMPLETED, EndReason.SHUTDOWN, 3)
        assert stored(queue).wake_pending
        assert (workers.all_workers(), assignments.all_assignments()) == ([], [])

    def test_what_is_assigned_meanwhile_is_handed_back(self, worker: Worker) -> None:
        running, _ = worker.take(define())
        worker.stop()
        worker.turn()
        late = assign(define("late"), worker.id)
        worker.until(lambda: [a.id for a in assignments.all_assignments()] == [running.id], "it was handed back")
        job = job_of(late)
        assert (job.status, job.end_reason) == (JobStatus.COMPLETED, EndReason.SHUTDOWN)

    def test_after_the_grace_consumers_are_killed(self, worker: Worker) -> None:
        assignment, consumer = worker.take(define())
        worker.stop()
        worker.turn()
        assert "kill" not in consumer.told
        worker.skip(worker.loop.config.shutdown_grace_seconds)
        worker.until(lambda: "kill" in consumer.told, "the consumer was killed")
        worker.report(assignment, RunReport(EndReason.CRASHED, last_error="killed"))
        worker.until(lambda: worker.loop.finished, "it has finished")
        assert consumer.told.count("kill") == 1
        assert job_of(assignment).status == JobStatus.FAILED
        assert workers.all_workers() == []

    def test_it_does_not_wait_for_mongodb_for_ever(self, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
        assignment, _ = worker.take(define())
        for module, name in ((workers, "drain"), (workers, "heartbeat"), (jobs, "complete")):
            monkeypatch.setattr(module, name, away)
        worker.stop()
        worker.report(assignment, RunReport(EndReason.SHUTDOWN))
        worker.turn()
        worker.skip(worker.loop.config.shutdown_grace_seconds)
        worker.turn()
        assert not worker.loop.finished
        worker.skip(RECORD_SECONDS)
        worker.until(lambda: worker.loop.finished, "it gave up")
        assert len(assignments.all_assignments()) == 1, "the master finds it"

    def test_two_signals_before_it_has_begun(self, worker: Worker, handlers: None) -> None:
        worker.stop()
        worker.stop()
        worker.loop.run()
        assert worker.pool.closed_with == 0.0
        assert workers.all_workers() == []

    def test_a_second_signal_ends_it_at_once(self, worker: Worker) -> None:
        worker.take(define())
        worker.stop()
        worker.turn()
        worker.stop()
        assert worker.loop.finished


def test_a_worker_that_was_pruned_while_a_run_ended_records_what_it_can(worker: Worker) -> None:
    queue = define()
    assignment, _ = worker.take(queue)
    jobs.abandon_many([jobs.Abandoned(assignment.job_id, "taken for dead")])
    repository.served(queue.id, database_clock.now() - timedelta(seconds=1))
    worker.report(assignment, RunReport(EndReason.REVOKED, 5))
    worker.until(lambda: not assignments.all_assignments(), "the assignment was released")
    (job,) = all_jobs(queue)
    assert job.status == JobStatus.ABANDONED
