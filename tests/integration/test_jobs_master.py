"""The master: rescue, sweeper, and the scheduler turn by turn, on real servers."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any, cast

import boto3
import pytest
import structlog
from bson import ObjectId
from structlog.testing import capture_logs

from jobs.indexes import ensure_indexes
from jobs.listening import POLL_SECONDS
from jobs.master import definitions, depths, rescue, scheduler, upkeep
from jobs.master.listeners import PLAN_SECONDS
from jobs.master.planner import YIELD_SECONDS, Plan, plan
from jobs.master.rescue import Rescue
from jobs.master.scheduler import Scheduler
from jobs.master.sweeper import QUEUED, Observation, Sweeper
from jobs.models import Assignment, EndReason, JobStatus, Lease, Worker
from jobs.repositories import assignments, jobs, leases, listening, workers
from jobs.repositories.jobs import Counts
from jobs.repositories.listening import NewListening
from queues import adoption, repository, services
from queues.models import Queue
from queues.sqs import Depth, get_gateway
from queues.sqs.gateway import SqsGateway
from queuesite.foundation.config import Config, get_config
from queuesite.foundation.databases import MongoError, collection, database_clock
from queuesite.foundation.errors import MongoUnavailable, SqsUnavailable
from tests.support import mongo_queries
from tests.support.adopted import Owner
from tests.support.faults import Forward, Refused, SqsProxy
from tests.support.records import (
    age_job,
    all_jobs,
    assign,
    define,
    job_of,
    processor,
    queued,
    register,
    running,
    set_heartbeat,
    stored,
)
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient

    from tests.conftest import Configure

pytestmark = pytest.mark.usefixtures("queues")


@pytest.fixture(autouse=True)
def own_log_fields() -> Iterator[None]:
    """Masters and workers give their names to every event of their process, which here goes on without them."""
    yield
    structlog.contextvars.clear_contextvars()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("queuesite.foundation.outage.FIRST_PAUSE", 0.01)
    monkeypatch.setattr("queuesite.foundation.outage.LONGEST_PAUSE", 0.05)
    monkeypatch.setattr("queuesite.foundation.changes.MAX_AWAIT_MS", 200)  # else a watcher takes 5 s to end


@pytest.fixture
def config(queues: SQSClient, configure: Configure) -> Config:
    # A lease and heartbeats that outlive a test on a busy machine.
    return configure(
        sweep_max_seconds=0.2,
        lease_seconds=30,
        worker_stalled_after=30,
        backlog_per_consumer=3,
        time_slice_seconds=0.05,
    )


class Master:
    """A scheduler whose turns the test takes."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._passed = 0.0
        self.scheduler = Scheduler(config, get_gateway(), monotonic=self.now)
        self.scheduler.sweeper.start()

    def now(self) -> float:
        """The master's monotonic clock."""
        return time.monotonic() + self._passed

    def skip(self, seconds: float) -> None:
        """Let time pass for the master alone."""
        self._passed += seconds

    def lose_trust(self) -> None:
        """Let its lease run out, as if it had been frozen, and not be due for another attempt."""
        self.scheduler.leadership.next_attempt = float("inf")
        self.skip(self._config.lease_seconds)

    def attempt(self) -> None:
        """Make its next attempt at the lease due."""
        self.scheduler.leadership.next_attempt = float("-inf")

    @property
    def term(self) -> int | None:
        return self.scheduler.leadership.term

    def turn(self, count: int = 1) -> float:
        for _ in range(count):
            pause = self.scheduler.turn()
        return pause

    def until(self, condition: Callable[[], object], what: str) -> None:
        def after_a_turn() -> object:
            self.turn()
            return condition()

        eventually(after_a_turn, 30, what)

    def settle(self) -> None:
        """Take turns until every queue's depth has been asked for since now."""
        self.turn()  # the first begins a term, with a new backlog
        began = self.now()
        asked: dict[ObjectId, float] = {}
        observed = self.scheduler.backlog.observed

        def note(
            queue_id: ObjectId, depth: Depth | None, asked_at: float, now: float, date: datetime | None = None
        ) -> bool:
            asked[queue_id] = asked_at
            return observed(queue_id, depth, asked_at, now, date)

        self.scheduler.backlog.observed = note  # type: ignore[method-assign]
        count = len(repository.all_queues())
        self.until(lambda: sum(at > began for at in asked.values()) == count, "all depths were asked for")
        self.scheduler.backlog.observed = observed  # type: ignore[method-assign]
        self.turn()

    def trust_heartbeats(self) -> None:
        """Let the time pass in which workers may show themselves, in steps that are no gap in the master's readings."""
        for _ in range(3):
            self.skip(self._config.worker_stalled_after / 2 - 0.5)
            self.turn()

    def close(self) -> None:
        self.scheduler.close()
        assert self.scheduler.join(30)


@contextmanager
def a_master(config: Config) -> Iterator[Master]:
    master = Master(config)
    try:
        yield master
    finally:
        master.close()


@pytest.fixture
def master(config: Config) -> Iterator[Master]:
    with a_master(config) as made:
        yield made


def create(name: str = "orders", *, woken: bool = True, **settings: object) -> Queue:
    """A queue here and in SQS, as after a send where it is `woken`."""
    queue = services.create(name, with_dlq=False, settings=settings)
    if woken:
        wake(queue)
    return stored(queue)


def wake(queue: Queue) -> None:
    assert repository.wake(queue.id)


def finish(assignment: Assignment, *, at: float = 0.0) -> None:
    """What a worker does at the end of a run that drained its queue."""
    jobs.start(assignment.job_id, processor(assignment.worker))
    jobs.complete(assignment.job_id, assignment.worker, Counts(1), EndReason.DRAINED)
    repository.served(assignment.queue_id, database_clock.now() + timedelta(seconds=at))
    assignments.release(assignment.id, assignment.worker)


def assigned() -> list[str]:
    """The names of the queues that are assigned."""
    names = {queue.id: queue.name for queue in repository.all_queues()}
    return sorted(names.get(assignment.queue_id, "?") for assignment in assignments.all_assignments())


class TestPrune:
    def test_a_worker_whose_heartbeat_stopped_is_taken_out(self) -> None:
        register("dead")
        register("alive")
        now = database_clock.now()
        set_heartbeat("dead", now - timedelta(seconds=8.1))
        set_heartbeat("alive", now - timedelta(seconds=7.9))
        assert Rescue().prune(workers.all_workers(), now, 8) == {"dead"}
        assert [worker.worker_id for worker in workers.all_workers()] == ["alive"]

    def test_a_heartbeat_in_between_saves_it(self) -> None:
        register("late")
        now = database_clock.now()
        set_heartbeat("late", now - timedelta(seconds=60))
        seen = workers.all_workers()
        workers.heartbeat("late", [])
        assert Rescue().prune(seen, now, 8) == set()
        assert len(workers.all_workers()) == 1

    def test_a_chunk_at_a_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rescue, "CHUNK", 2)
        now = database_clock.now()
        for n in range(3):
            set_heartbeat(register(f"w{n}"), now - timedelta(seconds=60))
        assert len(Rescue().prune(workers.all_workers(), now, 8)) == 2


class TestRescue:
    def test_the_job_is_abandoned_with_its_last_counts_the_queue_woken_and_the_slot_freed(self) -> None:
        queue = define()
        assignment = running(queue, "dead")
        register("dead")
        workers.heartbeat(
            "dead", [{"jobId": assignment.job_id, "processed": 7, "failed": 2, "timedOut": 1, "retried": 5}]
        )
        set_heartbeat("dead", database_clock.now() - timedelta(minutes=1))
        rescuer = Rescue()
        rescuer.prune(workers.all_workers(), database_clock.now(), 8)
        assert rescuer.free([assignment]) == [assignment]
        job = job_of(assignment)
        assert (job.status, job.end_reason) == (JobStatus.ABANDONED, EndReason.WORKER_DIED)
        assert (job.message_count, job.failed_count, job.timed_out_count, job.retried_count) == (7, 2, 1, 5)
        assert "dead" in (job.last_error or "")
        assert assignments.all_assignments() == []
        woken = stored(queue).wake_requested_at
        assert woken is not None
        assert abs((woken - database_clock.now()).total_seconds()) < 60

    def test_a_master_that_saw_no_heartbeat_keeps_the_counts_that_the_job_has(self) -> None:
        """Another master pruned the worker and died: its successor knows no counts."""
        assignment = running(define(), "dead")
        jobs.progress(assignment.job_id, "dead", Counts(40, 3, 1))
        Rescue().free([assignment])
        job = job_of(assignment)
        assert job.status == JobStatus.ABANDONED
        assert (job.message_count, job.failed_count, job.timed_out_count) == (40, 3, 1)

    def test_counts_that_were_written_after_the_last_heartbeat_are_kept(self) -> None:
        assignment = running(define(), "dead")
        register("dead")
        workers.heartbeat("dead", [{"jobId": assignment.job_id, "processed": 39, "failed": 4}])
        jobs.progress(assignment.job_id, "dead", Counts(40, 3, 1))
        set_heartbeat("dead", database_clock.now() - timedelta(minutes=1))
        rescuer = Rescue()
        rescuer.prune(workers.all_workers(), database_clock.now(), 8)
        rescuer.free([assignment])
        job = job_of(assignment)
        assert (job.message_count, job.failed_count, job.timed_out_count) == (40, 4, 1)

    def test_an_assignment_without_its_job(self) -> None:
        queue = define()
        Rescue().free([assign(queue, "dead")])
        assert assignments.all_assignments() == []
        assert stored(queue).wake_pending
        assert all_jobs() == []

    def test_a_job_that_had_ended_stays_as_it_is(self) -> None:
        assignment = running(define(), "dead")
        jobs.complete(assignment.job_id, "dead", Counts(5), EndReason.DRAINED)
        Rescue().free([assignment])
        assert job_of(assignment).status == JobStatus.COMPLETED
        assert assignments.all_assignments() == []

    def test_one_that_was_released_meanwhile_does_not_stop_the_others(self) -> None:
        gone, left = assign(define("q0"), "dead"), assign(define("q1"), "dead")
        assignments.release(gone.id, "dead")
        Rescue().free([gone, left])
        assert assignments.all_assignments() == []

    def test_one_that_was_given_to_another_worker_meanwhile_is_kept(self) -> None:
        queue = define()
        gone = assign(queue, "dead")
        assignments.release(gone.id, "dead")
        again = assign(queue, "w2")
        Rescue().free([gone])
        assert [a.id for a in assignments.all_assignments()] == [again.id]

    @pytest.mark.parametrize("step", ["abandon_many", "wake_many", "release_many"])
    def test_dying_at_any_step_leaves_it_to_be_found_again(self, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
        queue = define()
        assignment = running(queue, "dead")

        def die(*_: object, **__: object) -> None:
            raise MongoError("the master dies here")

        module = {"abandon_many": jobs, "wake_many": repository, "release_many": assignments}[step]
        with monkeypatch.context() as patch:
            patch.setattr(module, step, die)
            with pytest.raises(MongoError):
                Rescue().free([assignment])
        assert [a.id for a in assignments.all_assignments()] == [assignment.id]
        Rescue().free(assignments.all_assignments())
        assert assignments.all_assignments() == []
        assert job_of(assignment).status == JobStatus.ABANDONED
        assert stored(queue).wake_requested_at is not None

    def test_a_chunk_takes_as_many_requests_as_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rescue, "CHUNK", 20)
        lost = [running(define(f"q{n}"), "dead") for n in range(30)]
        with mongo_queries.counted() as operations:
            assert len(Rescue().free(lost)) == 20
        assert len(operations) <= 4
        assert len(assignments.all_assignments()) == 10


class TestJobsWithoutAssignments:
    def lost(self, queue: Queue, worker_id: str = "w1", *, slot: int = 0, age: float = 61) -> Assignment:
        """A running job whose assignment is gone."""
        assignment = running(queue, worker_id, slot=slot)
        assignments.release(assignment.id, worker_id)
        age_job(assignment.job_id, database_clock.now() - timedelta(seconds=age))
        return assignment

    def abandon(self, *held: Assignment) -> bool:
        return Rescue().abandon_orphaned(held, workers.all_workers(), database_clock.now())

    def test_an_unfinished_job_without_an_assignment_is_given_an_end(self) -> None:
        queue = define()
        lost, fresh, held = self.lost(queue), self.lost(queue, slot=1, age=59), self.lost(queue, slot=2)
        assert not self.abandon(held)
        assert job_of(lost).status == JobStatus.ABANDONED
        assert job_of(fresh).status == job_of(held).status == JobStatus.RUNNING
        assert stored(queue).wake_pending

    def test_one_that_ends_by_itself_meanwhile_is_not_touched(self, monkeypatch: pytest.MonkeyPatch) -> None:
        lost = self.lost(define())
        seen = jobs.unfinished()
        jobs.complete(lost.job_id, "w1", Counts(), EndReason.DRAINED)
        monkeypatch.setattr(jobs, "unfinished", lambda **_: seen)
        self.abandon()
        assert job_of(lost).status == JobStatus.COMPLETED

    def test_one_whose_long_handlers_a_live_worker_still_runs_is_spared(self) -> None:
        """It has given its assignment up, for it receives nothing more."""
        queue = define()
        spared, forgotten, stolen = self.lost(queue), self.lost(queue, slot=1), self.lost(queue, "w2", slot=2)
        register("w1")
        workers.heartbeat("w1", [{"jobId": one.job_id, "processed": 1, "failed": 0} for one in (spared, stolen)])
        self.abandon()
        assert job_of(spared).status == JobStatus.RUNNING
        assert job_of(forgotten).status == job_of(stolen).status == JobStatus.ABANDONED

    def test_with_its_worker_it_is_abandoned_at_once_with_its_last_counts(self) -> None:
        queue = define()
        mine, other = self.lost(queue, "dead", age=0), self.lost(queue, "w2", slot=1, age=0)
        workers.heartbeat(register("dead"), [{"jobId": mine.job_id, "processed": 3, "failed": 1}])
        set_heartbeat("dead", database_clock.now() - timedelta(minutes=1))
        rescuer = Rescue()
        assert not rescuer.abandon_pruned()
        rescuer.prune(workers.all_workers(), database_clock.now(), 8)
        assert not rescuer.abandon_pruned()
        assert (job_of(mine).status, job_of(mine).message_count) == (JobStatus.ABANDONED, 3)
        assert job_of(other).status == JobStatus.RUNNING
        assert stored(queue).wake_pending

    def test_a_chunk_at_a_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rescue, "CHUNK", 2)
        queue = define()
        for n in range(5):
            self.lost(queue, "w1" if n < 3 else "w2", slot=n)
        set_heartbeat(register("w1"), database_clock.now() - timedelta(minutes=1))
        rescuer = Rescue()
        rescuer.prune(workers.all_workers(), database_clock.now(), 8)
        assert [rescuer.abandon_pruned() for _ in range(3)] == [True, False, False]
        assert len(jobs.unfinished()) == 2
        assert not self.abandon()
        assert jobs.unfinished() == []


class TestSweeper:
    @contextmanager
    def sweeping(self, gateway: SqsGateway) -> Iterator[tuple[Sweeper, threading.Event]]:
        woken = threading.Event()
        sweeper = Sweeper(gateway, woken.set)
        sweeper.start()
        yield sweeper, woken
        sweeper.stop()
        assert sweeper.join(30)

    def answer(self, sweeper: Sweeper) -> Observation:
        found: list[Observation] = []

        def came() -> bool:
            found.extend(sweeper.answers())
            return bool(found)

        eventually(came, 30, "an answer came")
        assert len(found) == 1
        return found[0]

    def test_it_asks_sqs_and_wakes_the_loop(self, sqs: SQSClient, gateway: SqsGateway) -> None:
        queue = create()
        sqs.send_message(QueueUrl=queue.queue_url, MessageBody="m")
        with self.sweeping(gateway) as (sweeper, woken):
            before = time.monotonic()
            sweeper.ask(queue)
            assert sweeper.free == QUEUED - 1
            assert woken.wait(30)
            seen = self.answer(sweeper)
            assert sweeper.free == QUEUED
        assert (seen.queue_id, seen.depth) == (queue.id, Depth(1, 0, 0))
        assert before <= seen.asked_at <= time.monotonic()

    def test_an_empty_queue_is_no_reason_for_a_turn(self, gateway: SqsGateway) -> None:
        queue = create()
        with self.sweeping(gateway) as (sweeper, woken):
            sweeper.ask(queue)
            assert self.answer(sweeper).depth == Depth(0, 0, 0)
            assert not woken.is_set()

    def test_many_queues(self, gateway: SqsGateway) -> None:
        queues = [create(f"q{n}") for n in range(12)]
        with self.sweeping(gateway) as (sweeper, _):
            for queue in queues:
                sweeper.ask(queue)
            found: list[Observation] = []

            def all_came() -> bool:
                found.extend(sweeper.answers())
                return len(found) == 12

            eventually(all_came, 30, "all answers came")
        assert {seen.queue_id for seen in found} == {queue.id for queue in queues}

    def test_a_queue_that_sqs_lacks_is_told_once(self, gateway: SqsGateway) -> None:
        queue = create()
        gateway.delete_queue(queue.queue_url)
        with capture_logs() as logs, self.sweeping(gateway) as (sweeper, _):
            for _ in range(3):
                sweeper.ask(queue)
                assert self.answer(sweeper).depth is None
        assert [entry["queue"] for entry in logs if entry["event"] == "queue_missing"] == ["orders"]

    def test_queue_of_another_region_is_asked_there(self, queues: SQSClient) -> None:
        client = boto3.client("sqs", region_name="eu-west-1", endpoint_url=queues.meta.endpoint_url)
        owner = Owner(client, get_config().queue_name_prefix)
        try:
            url = owner.make("orders", dead=None)
            client.send_message(QueueUrl=url, MessageBody="m")
            queue = adoption.adopt(owner.arn("orders"), handler="log")
            with self.sweeping(get_gateway()) as (sweeper, woken):
                sweeper.ask(queue)
                assert self.answer(sweeper).depth == Depth(1, 0, 0)
                assert woken.wait(30)
        finally:
            owner.delete_all()

    def test_refused_queue_of_others_is_told_once_and_holds_nobody_up(self, faulty: SqsProxy) -> None:
        theirs, ours = define("theirs", managed=False, queue_arn="arn:aws:sqs:us-east-1:1:theirs"), create()

        def answer(parameters: dict[str, Any], forward: Forward) -> dict[str, Any]:
            if parameters["QueueUrl"] == theirs.queue_url:
                raise Refused("AccessDenied", status=403)
            return forward(parameters)

        faulty.answer("GetQueueAttributes", answer)
        with capture_logs() as logs, self.sweeping(get_gateway()) as (sweeper, _):
            for queue, depth in ((theirs, None), (theirs, None), (ours, Depth(0, 0, 0))):
                sweeper.ask(queue)
                assert self.answer(sweeper).depth == depth
        assert [entry["queue"] for entry in logs if entry["event"] == "queue_not_observed"] == ["theirs"]
        assert [entry for entry in logs if entry["event"] == "outage_began"] == []

    def test_region_that_is_away_is_left_alone_for_a_while(self) -> None:
        now = [1_000.0]
        asked: list[str] = []
        away = [True]

        class Elsewhere:
            def depth(self, queue_url: str) -> Depth:
                asked.append(queue_url)
                if away[0]:
                    raise SqsUnavailable("away")
                return Depth(1, 0, 0)

        sweeper = Sweeper(
            cast(SqsGateway, None), lambda: None, lambda: now[0], lambda region: cast(SqsGateway, Elsewhere())
        )
        queue = Queue(name="far", queue_url="u", managed=False, queue_arn="arn:aws:sqs:eu-west-1:1:far")
        assert [sweeper._depth(queue) for _ in range(3)] == [None] * 3
        assert asked == ["u"]
        away[0] = False
        now[0] += 60
        assert sweeper._depth(queue) == sweeper._depth(queue) == Depth(1, 0, 0)

    def test_while_sqs_is_away_it_answers_that_it_does_not_know(self, faulty: SqsProxy) -> None:
        queue = create()
        faulty.refuse("GetQueueAttributes", "InternalError", status=500)
        with self.sweeping(get_gateway()) as (sweeper, _):
            sweeper.ask(queue)
            assert self.answer(sweeper).depth is None
            faulty.heal()
            sweeper.ask(queue)
            assert self.answer(sweeper).depth == Depth(0, 0, 0)


class TestLeading:
    def test_a_new_leader_reads_everything_and_assigns(self, master: Master) -> None:
        queue = create()
        register("w1")
        master.turn()
        (assignment,) = assignments.all_assignments()
        assert (assignment.queue_url, assignment.queue_id, assignment.slot) == (queue.queue_url, queue.id, 0)
        assert (assignment.worker, assignment.term) == ("w1", master.term)
        job = job_of(assignment)
        assert (job.status, job.queue_name) == (JobStatus.QUEUED, "orders")
        assert job.processor == processor("w1").as_document()

    def test_without_leadership_nothing_is_written(self, master: Master) -> None:
        create()
        register("w1")
        register("dead")
        set_heartbeat("dead", database_clock.now() - timedelta(hours=1))
        assert leases.acquire("another", 30) == 1
        master.turn(3)
        assert master.term is None
        assert assignments.all_assignments() == []
        assert all_jobs() == []
        assert len(workers.all_workers()) == 2

    def test_a_lease_that_is_not_trusted_any_more_is_not_acted_on(self, master: Master) -> None:
        register("w1")
        master.turn()
        create()
        master.lose_trust()
        master.turn(3)
        assert assignments.all_assignments() == []

    def test_trust_that_ends_within_a_turn_stops_it_before_the_write(
        self, master: Master, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        create()
        register("w1")

        def slow(*args: Any, **kwargs: Any) -> Plan:
            master.lose_trust()
            return plan(*args, **kwargs)

        monkeypatch.setattr(scheduler, "plan", slow)
        master.turn()
        assert assignments.all_assignments() == []

    def test_a_leader_that_was_taken_over_from_stops(self, master: Master) -> None:
        register("w1")
        master.turn()
        terms = [master.term]
        collection(Lease).update_one({}, {"$set": {"holder": "another", "term": 2}})
        create()
        master.attempt()
        master.turn(3)
        terms.append(master.term)
        assert terms == [1, None]
        assert assignments.all_assignments() == []

    def test_of_two_masters_one_schedules_and_the_other_takes_over(self, config: Config, master: Master) -> None:
        queues = [create(f"q{n}") for n in range(4)]
        register("w1")
        with a_master(config) as standby:
            for _ in range(3):
                master.turn()
                standby.turn()
            assert (master.term, standby.term) == (1, None)
            assert len(assignments.all_assignments()) == 4
            assert {a.term for a in assignments.all_assignments()} == {1}
            master.scheduler.leadership.resign()
            # Our reading of the database's clock may be ahead of it, and a wake-up before it would count as satisfied.
            finish(assignments.all_assignments()[0], at=-1.0)
            wake(queues[0])
            wake(queues[1])
            standby.attempt()
            standby.until(lambda: len(assignments.all_assignments()) == 4, "the standby assigned what was free")
            master.turn()
            assert sorted(a.term for a in assignments.all_assignments()) == [1, 1, 1, 2]
            assert (master.term, standby.term) == (None, 2)

    def test_what_two_leaders_decide_at_once_the_index_settles(
        self, config: Config, master: Master, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A leader that was frozen between its decision and its write comes to nothing."""
        create()
        register("w1")
        with a_master(config) as other, monkeypatch.context() as patch:
            patch.setattr(leases, "acquire", lambda *_: 1)
            master.turn()
            other.turn()
        assert len(assignments.all_assignments()) == 1
        assert len(all_jobs()) == 1

    def test_mongodb_away_is_lived_through(self, master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
        create()
        register("w1")

        def away() -> None:
            raise MongoError("away")

        with monkeypatch.context() as patch:
            patch.setattr(assignments, "all_assignments", away)
            assert 0 < master.turn() <= 0.05
            assert master.scheduler.outage.active
        master.until(lambda: assigned() == ["orders"], "it went on")
        assert not master.scheduler.outage.active

    def test_leadership_is_given_up_where_the_renewal_fails(
        self, master: Master, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        register("w1")
        master.turn()

        def away(*_: object) -> None:
            raise MongoError("away")

        master.attempt()
        with monkeypatch.context() as patch:
            patch.setattr(leases, "renew", away)
            master.turn()
            assert master.term is None
        master.attempt()
        master.turn()
        assert master.term == 2


class TestListening:
    @pytest.fixture
    def two(self) -> None:
        for worker_id in ("w1", "w2"):
            register(worker_id)
            workers.heartbeat(worker_id, [], 5, 10)

    @staticmethod
    def held() -> dict[str, str]:
        names = {queue.id: queue.name for queue in repository.all_queues()}
        return {names.get(one.queue_id, "?"): one.worker for one in listening.all_listening()}

    def replanned(self, master: Master) -> dict[str, str]:
        """Who listens to what after another plan."""
        master.skip(PLAN_SECONDS + 1)
        master.turn()
        return self.held()

    def test_idle_queues_are_spread_over_the_listeners(self, master: Master, two: None) -> None:
        for number in range(6):
            create(f"idle-{number}", woken=False)
        master.turn()
        assert sorted(self.held().values()) == ["w1"] * 3 + ["w2"] * 3

    def test_a_woken_queue_goes_to_its_listener(self, master: Master, two: None) -> None:
        queue = create(woken=False)
        master.turn()
        (listener,) = self.held().values()
        # The other one has less to do.
        busy = define("busy")
        assign(busy, listener, term=master.term or 0)
        wake(queue)
        master.until(lambda: "orders" in assigned(), "it is assigned")
        (assignment,) = [one for one in assignments.all_assignments() if one.queue_id == queue.id]
        assert assignment.worker == listener
        assert self.held()["orders"] == listener, "its listener stays"

    def test_paused_and_deleted_queues_are_let_go(self, master: Master, two: None) -> None:
        paused, deleted = create("paused", woken=False), create("deleted", woken=False)
        master.turn()
        assert self.held().keys() == {"paused", "deleted"}
        repository.update(paused.id, {"paused": True})
        repository.delete(deleted.id)
        for queue in (paused, deleted):
            change = {"operationType": "update", "ns": {"coll": "queues"}, "documentKey": {"_id": queue.id}}
            master.scheduler.note_change(change)
        assert self.replanned(master) == {}

    def test_a_worker_that_drains_or_is_gone_has_nothing(self, master: Master, two: None) -> None:
        for number in range(4):
            create(f"idle-{number}", woken=False)
        master.turn()
        workers.drain("w1")
        workers.unregister("w2")
        assert self.replanned(master) == {}

    def test_what_a_listener_let_go_waits_until_its_last_poll_is_over(self, master: Master, two: None) -> None:
        create(woken=False)
        master.turn()
        (first,) = self.held().values()
        workers.drain(first)
        assert self.replanned(master) == {}
        master.skip(POLL_SECONDS)
        assert self.replanned(master) == {"orders": "w2" if first == "w1" else "w1"}

    def test_a_queue_with_few_receives_is_not_listened_to(self, master: Master, two: None) -> None:
        create("few", woken=False, max_receive_count=2)
        create("more", woken=False, max_receive_count=3)
        master.turn()
        assert self.held().keys() == {"more"}

    def test_a_new_leader_goes_on_with_what_it_finds(self, master: Master, two: None) -> None:
        queue = create(woken=False)
        listening.insert_many([NewListening(queue.queue_url, queue.id, "w2")], 1)
        gone = define("gone")
        listening.insert_many([NewListening(gone.queue_url, gone.id, "dead")], 1)
        repository.delete(gone.id)
        master.turn()
        assert self.held() == {"orders": "w2"}


class TestIndexes:
    def unique(self) -> bool:
        return "queueUrl_slot_unique" in collection(Assignment).index_information()

    @pytest.fixture
    def dropped(self) -> Iterator[None]:
        """The collection is dropped, and its index with it."""
        collection(Assignment).drop()
        yield
        ensure_indexes()

    def test_a_term_begins_with_the_unique_index(self, dropped: None, master: Master) -> None:
        create()
        register("w1")
        master.turn()
        assert self.unique()
        assert assigned() == ["orders"]

    def test_without_it_nothing_is_assigned(
        self, dropped: None, master: Master, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        create()
        register("w1")

        def fails() -> None:
            raise MongoUnavailable("no index")

        with monkeypatch.context() as patch:
            patch.setattr(upkeep, "ensure_deciding", fails)
            master.turn(3)
            assert assigned() == []
        master.until(lambda: assigned() == ["orders"], "it went on")
        assert self.unique()

    def test_a_slot_that_was_given_out_twice_meanwhile_is_the_firsts(self, dropped: None, master: Master) -> None:
        queue = create()
        first = assign(queue, register("w1"))
        repeated = collection(Assignment).find_one({})
        assert repeated is not None
        collection(Assignment).insert_one(repeated | {"_id": ObjectId(), "worker": register("w2")})
        master.turn()
        assert [(a.id, a.worker) for a in assignments.all_assignments()] == [(first.id, "w1")]
        assert self.unique()

    def test_a_collection_that_is_dropped_begins_the_term_again(self, dropped: None, master: Master) -> None:
        master.turn()
        term = master.term
        collection(Assignment).drop()
        master.scheduler.note_change({"operationType": "drop", "ns": {"db": "d", "coll": "assignments"}})
        master.turn()
        assert self.unique()
        assert master.term == term

    def test_all_are_made_again_each_hour_in_a_thread(self) -> None:
        made: list[str] = []
        keeping = upkeep.IndexUpkeep(lambda: made.append(threading.current_thread().name))
        now = 1_000.0
        for passed, count in ((0, 1), (60, 1), (2 * upkeep.EACH_SECONDS, 2)):
            keeping.turn(now + passed)
            assert keeping.join(30)
            assert made == ["indexes"] * count
        keeping.begin()
        keeping.turn(now + 2 * upkeep.EACH_SECONDS + 1)
        assert keeping.join(30)
        assert len(made) == 3, "a term's start makes them due"

    def test_what_failed_is_tried_again_soon(self) -> None:
        tries: list[int] = []

        def fails() -> None:
            tries.append(1)
            raise MongoUnavailable("away")

        keeping = upkeep.IndexUpkeep(fails)
        now = 1_000.0
        keeping.turn(now)
        assert keeping.join(30)
        keeping.turn(now + upkeep.RETRY_SECONDS)
        assert keeping.join(30)
        assert len(tries) == 2


class TestFinding:
    def test_a_queue_that_is_woken_while_it_leads(self, master: Master) -> None:
        queue = create(woken=False)
        register("w1")
        master.settle()
        assert assigned() == []
        wake(queue)
        master.until(lambda: assigned() == ["orders"], "the queue was assigned")

    def test_a_wake_up_that_is_dated_before_our_reading_of_the_clock(
        self, master: Master, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Our reading of the database's clock may be ahead of it, by half a round trip."""
        queue = create(woken=False)
        register("w1")
        real = database_clock.now

        def ahead() -> datetime:
            return real() + timedelta(seconds=1)

        with monkeypatch.context() as patch:
            patch.setattr(database_clock, "now", ahead)
            master.turn(2)
        wake(queue)
        master.until(lambda: assigned() == ["orders"], "the queue was assigned")

    def test_counts_that_are_late_are_no_reason_for_another_empty_run(
        self, master: Master, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The queue was drained, by a run that found nothing any more; SQS's counts do not say so yet."""
        monkeypatch.setattr(SqsGateway, "depth", lambda *_: Depth(3, 0, 0))
        queue = create()
        register("w1")
        master.until(lambda: assigned() == ["orders"], "its wake-up counts")
        (assignment,) = assignments.all_assignments()
        master.turn()
        jobs.complete(assignment.job_id, "w1", Counts(), EndReason.DRAINED)
        repository.served(queue.id, database_clock.now() + timedelta(minutes=1), empty_runs=1)
        assignments.release(assignment.id, "w1")
        master.settle()
        assert assigned() == []

    def test_a_new_queue(self, master: Master) -> None:
        register("w1")
        master.turn()
        create()
        master.until(lambda: assigned() == ["orders"], "the queue was assigned")

    def test_a_message_that_nobody_announced(self, master: Master, sqs: SQSClient) -> None:
        queue, _ = create(woken=False), create("idle", woken=False)
        register("w1")
        master.settle()
        assert assigned() == []
        sqs.send_message(QueueUrl=queue.queue_url, MessageBody="unannounced")
        master.until(lambda: assigned() == ["orders"], "the sweep found it")

    def test_what_was_seen_is_recorded(self, master: Master, sqs: SQSClient, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(depths, "GATHER_SECONDS", 0.0)
        queue = create()
        for _ in range(3):
            sqs.send_message(QueueUrl=queue.queue_url, MessageBody="m")
        master.until(lambda: stored(queue).depth == Depth(3, 0, 0), "the depth was recorded")
        assert stored(queue).depth_observed_at is not None

    def test_a_paused_queue_is_not_assigned_until_it_is_resumed(self, master: Master, sqs: SQSClient) -> None:
        queue = create()
        services.set_paused("orders", True)
        sqs.send_message(QueueUrl=queue.queue_url, MessageBody="m")
        register("w1")
        master.settle()
        assert assigned() == []
        services.set_paused("orders", False)
        master.until(lambda: assigned() == ["orders"], "the queue was assigned")

    def test_a_queue_in_its_backoff_is_not_assigned_before_its_end(self, master: Master) -> None:
        queue = create()
        repository.failed(queue.id, 3, database_clock.now() + timedelta(hours=1))
        register("w1")
        master.settle()
        assert assigned() == []
        repository.failed(queue.id, 3, database_clock.now())
        master.until(lambda: assigned() == ["orders"], "the queue was assigned")

    def test_a_deleted_queue_is_forgotten(self, master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(definitions, "RELOAD_SECONDS", 0.0)
        queue = create()
        master.turn()
        assert len(master.scheduler.backlog) == 1
        services.delete("orders")
        master.until(lambda: len(master.scheduler.backlog) == 0, "the queue was forgotten")
        register("w1")
        master.turn(3)
        assert assignments.all_assignments() == []
        assert all_jobs(queue) == []

    def test_a_queue_that_was_deleted_while_it_was_busy_is_forgotten_when_it_ends(self, master: Master) -> None:
        create()
        register("w1")
        master.turn()
        (assignment,) = assignments.all_assignments()
        master.turn()
        services.delete("orders")
        finish(assignment)
        master.until(lambda: len(master.scheduler.backlog) == 0, "the queue was forgotten")
        assert assignments.all_assignments() == []


class TestCapacity:
    def test_never_past_what_the_workers_take_and_evenly(self, master: Master) -> None:
        for n in range(9):
            create(f"q{n}")
        register("w1", capacity=2)
        register("w2", capacity=3)
        master.turn(5)
        assert Counter(a.worker for a in assignments.all_assignments()) == {"w1": 2, "w2": 3}

    def test_a_freed_slot_is_given_to_the_next(self, master: Master) -> None:
        for n in range(3):
            create(f"q{n}")
        register("w1", capacity=1)
        seen = []
        for _ in range(3):
            master.until(assignments.all_assignments, "a queue was assigned")
            (assignment,) = assignments.all_assignments()
            seen.append(assigned()[0])
            master.turn()
            finish(assignment, at=1)
        assert sorted(seen) == ["q0", "q1", "q2"]
        master.settle()
        assert assignments.all_assignments() == []

    def test_a_draining_worker_gets_nothing(self, master: Master) -> None:
        create()
        register("w1")
        workers.drain("w1")
        master.turn(2)
        assert assignments.all_assignments() == []
        register("w2")
        master.turn()
        assert [a.worker for a in assignments.all_assignments()] == ["w2"]

    def test_no_worker_at_all(self, master: Master) -> None:
        create()
        master.turn(3)
        assert assignments.all_assignments() == []
        register("w1")
        master.turn()
        assert assigned() == ["orders"]

    def test_a_large_backlog_gets_more_consumers(self, master: Master, sqs: SQSClient) -> None:
        queue = create(max_consumers=3)
        for _ in range(7):
            sqs.send_message(QueueUrl=queue.queue_url, MessageBody="m")
        register("w1")
        register("w2")
        # 7 messages of which one consumer is to carry 3: worth two of the three that it may have.
        master.until(lambda: len(assignments.all_assignments()) == 2, "the queue has two consumers")
        master.settle()
        assert sorted((a.slot, a.worker) for a in assignments.all_assignments()) == [(0, "w1"), (1, "w2")]
        assert {job.status for job in all_jobs(queue)} == {JobStatus.QUEUED}

    def test_one_that_does_not_make_room_is_not_waited_for(self, master: Master) -> None:
        create("slow")
        register("w1", capacity=2)
        master.until(lambda: assigned() == ["slow"], "the first was assigned")
        create("other")
        master.until(lambda: assigned() == ["other", "slow"], "the worker is full")
        create("third")

        def asked() -> list[Assignment]:
            return [a for a in assignments.all_assignments() if a.yield_requested_at is not None]

        master.until(lambda: len(asked()) == 1, "one was asked to yield")
        master.turn(3)
        assert len(asked()) == 1
        long_ago = database_clock.now() - timedelta(seconds=YIELD_SECONDS)
        collection(Assignment).update_one({"_id": asked()[0].id}, {"$set": {"yieldRequestedAt": long_ago}})
        master.until(lambda: len(asked()) == 2, "the other was asked")

    def test_a_waiting_queue_is_made_room_for(self, master: Master) -> None:
        first = create("first")
        register("w1", capacity=1)
        master.turn()
        second = create("second")
        master.until(
            lambda: assignments.all_assignments()[0].yield_requested_at is not None, "the first was asked to yield"
        )
        (assignment,) = assignments.all_assignments()
        assert assignment.queue_id == first.id
        # What the worker does then: the first still has messages.
        finish(assignment)
        wake(first)
        master.until(assignments.all_assignments, "the slot was given")
        assert assignments.all_assignments()[0].queue_id == second.id


def given(queue: Queue) -> str:
    """The worker that has a queue."""
    return next(one.worker for one in assignments.all_assignments() if one.queue_id == queue.id)


class TestPlacement:
    def test_a_queue_goes_only_to_workers_that_have_its_handler_and_are_in_its_pool(self, master: Master) -> None:
        register("a-lacks-it", has={"log": "1"})
        register("b-elsewhere", pool="night", has={"log": "1", "resize": "1"})
        register("c-has-it", pool="gpu", capacity=9, has={"log": "1", "resize": "1"})
        resize = [define(f"resize-{n}", handler="resize", pool="gpu") for n in range(3)]
        anywhere = define("anywhere", handler="resize")
        for queue in [*resize, anywhere]:
            wake(queue)
        master.turn()
        assert {given(queue) for queue in resize} == {"c-has-it"}
        assert given(anywhere) == "b-elsewhere"

    def test_one_that_no_worker_can_serve_gets_no_job_and_no_backoff_until_one_comes(self, master: Master) -> None:
        register("w1", has={"log": "1"})
        lost, other = define("lost", handler="resize"), define("other")
        wake(lost)
        with capture_logs() as logs:
            master.turn(3)
            wake(other)
            master.turn(3)
        assert (assigned(), all_jobs(lost)) == (["other"], [])
        assert (stored(lost).crash_count, stored(lost).not_before) == (0, None)
        (said,) = [entry for entry in logs if entry["event"] == "queue_unserved"]
        assert (said["reason"], said["queues"]) == ("no worker has handler resize", ["lost"])
        register("w2", has={"resize": "1"})
        master.turn()
        assert assigned() == ["lost", "other"]
        assert given(lost) == "w2"

    def test_what_the_log_says_follows_the_cause(self, master: Master) -> None:
        register("w1", has={"log": "1"})
        lost = define("lost", handler="resize", pool="gpu")
        wake(lost)
        with capture_logs() as logs:
            master.turn()
            register("w2", pool="gpu", has={"log": "1"})
            master.turn(2)
            workers.drain("w2")
            master.turn(2)
            repository.delete(lost.id)
            master.scheduler.note_change(
                {"operationType": "delete", "ns": {"coll": "queues"}, "documentKey": {"_id": lost.id}}
            )
            master.turn(2)
        reasons = [entry["reason"] for entry in logs if entry["event"] == "queue_unserved"]
        assert reasons == ["no worker in pool gpu", "no worker in pool gpu has handler resize", "no worker in pool gpu"]

    def test_equals_take_turns(self, master: Master) -> None:
        names = [register(f"w{n}", has={"log": "1"}) for n in range(3)]
        queue = define()
        turns = []

        def woken() -> bool:
            wake(queue)  # again and again, since the end of the last run may be dated ahead of the database's clock
            return assigned() == ["orders"]

        for _ in range(6):
            master.until(woken, "the queue was assigned")
            (assignment,) = assignments.all_assignments()
            turns.append(assignment.worker)
            finish(assignment, at=0.2)
            master.until(lambda: not assigned(), "it was seen to end")
        assert turns == names * 2

    def test_new_assignments_go_to_the_version_that_was_announced_last(self, master: Master) -> None:
        register("a-old", has={"resize": "2"})
        first = define("first", handler="resize")
        wake(first)
        master.turn()
        register("b-new", capacity=2, has={"resize": "1", "log": "1"})
        later = [define(f"later-{n}", handler="resize") for n in range(3)]
        for n, queue in enumerate(later):
            wake(queue)
            master.until(lambda n=n: len(assigned()) == n + 2, "it was assigned")  # type: ignore[misc]
        assert given(first) == "a-old"
        assert [given(queue) for queue in later] == ["b-new", "b-new", "a-old"]

    def test_a_version_keeps_its_date_when_its_workers_are_replaced(self, master: Master) -> None:
        register("w1", has={"resize": "1"})
        register("w2", has={"resize": "2"})
        workers.unregister("w1")
        register("w3", has={"resize": "1"})
        queue = define(handler="resize")
        wake(queue)
        master.turn()
        assert given(queue) == "w2"

    def test_what_a_worker_announces_is_read_once(self, master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
        register("w1", has={"log": "1"})
        asked: list[set[str]] = []
        by_ids = workers.by_ids

        def read(ids: Iterable[str]) -> list[Worker]:
            asked.append(set(ids))
            return by_ids(ids)

        monkeypatch.setattr(workers, "by_ids", read)
        master.turn(3)
        register("w2", has={"log": "1"})
        master.turn(3)
        assert asked == [{"w1"}, {"w2"}]


class TestRescuing:
    def test_a_dead_workers_queues_go_to_another(self, master: Master) -> None:
        queue = create()
        register("dead")
        master.turn()
        (lost,) = assignments.all_assignments()
        repository.served(queue.id, database_clock.now())  # nobody but the rescue says that messages are left
        jobs.start(lost.job_id, processor("dead", 99))
        workers.heartbeat("dead", [{"jobId": lost.job_id, "processed": 4, "failed": 1}])
        set_heartbeat("dead", database_clock.now() - timedelta(minutes=1))
        register("w2")
        master.trust_heartbeats()
        master.until(lambda: [a.worker for a in assignments.all_assignments()] == ["w2"], "the other took over")
        assert (job_of(lost).status, job_of(lost).message_count) == (JobStatus.ABANDONED, 4)
        assert [worker.worker_id for worker in workers.all_workers()] == ["w2"]

    def test_a_worker_that_lives_keeps_its_own(self, master: Master) -> None:
        create()
        register("w1")
        master.turn()
        (before,) = assignments.all_assignments()
        set_heartbeat("w1", database_clock.now() - timedelta(seconds=5))
        master.turn(3)
        assert [a.id for a in assignments.all_assignments()] == [before.id]

    def test_after_mongodb_was_away_workers_get_time_to_show_themselves(
        self, master: Master, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def away() -> None:
            raise MongoError("away")

        create()
        register("w1")
        master.turn()
        with monkeypatch.context() as patch:
            patch.setattr(assignments, "all_assignments", away)
            master.turn()
        # It lasted for a minute, in which no heartbeat could be written.
        set_heartbeat("w1", database_clock.now() - timedelta(minutes=1))
        master.turn(3)
        assert len(assignments.all_assignments()) == 1
        assert [worker.worker_id for worker in workers.all_workers()] == ["w1"]
        master.trust_heartbeats()
        master.until(lambda: not workers.all_workers(), "then it is taken for dead")

    def test_after_mongodb_answered_nobody_for_a_while_too(self, master: Master) -> None:
        create()
        register("w1")
        master.turn()
        master.skip(60)
        set_heartbeat("w1", database_clock.now() - timedelta(minutes=1))
        master.turn(3)
        assert [worker.worker_id for worker in workers.all_workers()] == ["w1"]
        master.trust_heartbeats()
        master.until(lambda: not workers.all_workers(), "then it is taken for dead")

    def test_a_new_leader_gives_them_that_time_too(self, master: Master) -> None:
        """MongoDB was away, and whoever led before: nobody could write a heartbeat."""
        queue = create()
        assignment = running(queue, register("w1"))
        set_heartbeat("w1", database_clock.now() - timedelta(minutes=1))
        master.turn(3)
        assert [worker.worker_id for worker in workers.all_workers()] == ["w1"]
        assert job_of(assignment).status == JobStatus.RUNNING
        workers.heartbeat("w1", [])
        master.trust_heartbeats()
        master.turn(3)
        assert [a.id for a in assignments.all_assignments()] == [assignment.id]

    def test_scheduling_goes_on_while_many_are_rescued(self, master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rescue, "CHUNK", 2)
        for n in range(7):
            running(define(f"lost{n}"), "gone", slot=3)
        notified = create()
        register("w1", capacity=1)
        master.turn()
        assert [a.queue_id for a in assignments.all_assignments() if a.worker == "w1"] == [notified.id]
        assert len(assignments.all_assignments()) == 6
        for left in (3, 1, 0):
            assert wait([master.scheduler.wakeup.fileno()], timeout=0), "the next turn comes at once"
            master.scheduler.wakeup.clear()
            master.turn()
            assert sum(a.worker == "gone" for a in assignments.all_assignments()) == left

    def test_what_a_pruned_worker_left_is_found_by_the_next_leader_too(self, master: Master) -> None:
        """The leader before died between pruning the worker and rescuing its assignment."""
        queue = create()
        orphan = queued(queue, "gone")
        register("w1")
        master.until(lambda: [a.worker for a in assignments.all_assignments()] == ["w1"], "it was rescued")
        assert job_of(orphan).status == JobStatus.ABANDONED

    def test_jobs_that_nobody_owns_are_ended_when_a_term_begins(self, master: Master) -> None:
        lost = running(define())
        assignments.release(lost.id, "w1")
        age_job(lost.job_id, database_clock.now() - timedelta(seconds=61))
        master.turn()
        assert job_of(lost).status == JobStatus.ABANDONED

    def test_a_job_that_was_not_created_is_left_to_the_worker(
        self, master: Master, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        create()
        register("w1")

        def die(_: object) -> None:
            raise MongoError("the master dies here")

        with monkeypatch.context() as patch:
            patch.setattr(jobs, "create_many", die)
            master.turn()
        master.turn()
        assert assigned() == ["orders"]
        assert all_jobs() == []


class TestWithChangeStreams:
    @pytest.fixture
    def live(self, master: Master) -> Master:
        """A leader to which MongoDB tells the changes; it does not poll."""
        master.scheduler.watcher.start()
        eventually(lambda: master.scheduler.watcher.live, 30, "the stream is open")
        register("w1")
        master.turn()
        return master

    def woken(self, master: Master) -> None:
        """Wait for the bell as the loop does, for no other reason to take a turn."""
        wakeup = master.scheduler.wakeup
        assert wait([wakeup.fileno()], timeout=30), "nothing woke the loop"
        wakeup.clear()

    def wake_until(self, master: Master, condition: Callable[[], object], what: str) -> None:
        for _ in itertools.count():
            self.woken(master)
            master.turn()
            if condition():
                return

    def test_a_wake_up_wakes_the_loop_and_is_read(self, live: Master) -> None:
        queue = create(woken=False)
        live.settle()
        wake(queue)
        self.wake_until(live, lambda: assigned() == ["orders"], "the queue was assigned")

    def test_a_dropped_collection_wakes_the_loop_and_is_made_whole(self, live: Master) -> None:
        try:
            collection(Assignment).drop()
            self.wake_until(
                live,
                lambda: "queueUrl_slot_unique" in collection(Assignment).index_information(),
                "the unique index is there again",
            )
        finally:
            ensure_indexes()

    def test_a_deleted_queue_is_forgotten(self, live: Master) -> None:
        create(woken=False)
        self.wake_until(live, lambda: len(live.scheduler.backlog) == 1, "the queue is known")
        services.delete("orders")
        self.wake_until(live, lambda: len(live.scheduler.backlog) == 0, "the queue was forgotten")

    def test_a_released_assignment_wakes_the_loop(self, live: Master) -> None:
        for n in range(6):
            create(f"q{n}")
        live.until(lambda: len(assignments.all_assignments()) == 5, "the worker is full")
        finish(assignments.all_assignments()[0], at=1)
        self.wake_until(live, lambda: len(assignments.all_assignments()) == 5, "the slot was given")

    def test_a_new_worker_wakes_the_loop(self, live: Master) -> None:
        for n in range(6):
            create(f"q{n}")
        live.until(lambda: len(assignments.all_assignments()) == 5, "the worker is full")
        register("w2")
        self.wake_until(live, lambda: len(assignments.all_assignments()) == 6, "the queue was assigned")

    def test_a_resigned_lease_makes_a_standby_try_at_once(self, config: Config) -> None:
        assert leases.acquire("leader", 3_600) == 1
        with a_master(config) as standby:
            standby.scheduler.watcher.start()
            eventually(lambda: standby.scheduler.watcher.live, 30, "the stream is open")
            standby.turn()
            assert standby.term is None
            assert standby.scheduler.leadership.next_attempt > time.monotonic()
            leases.resign("leader", 1)
            self.wake_until(standby, lambda: standby.term == 2, "the standby leads")


class TestStart:
    @pytest.fixture
    def handlers(self) -> Iterator[None]:
        """The signal handlers of this process stay its own."""
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        yield
        for number, handler in before.items():
            signal.signal(number, handler)

    @pytest.mark.parametrize("mongodb_away", [False, True])
    def test_a_stop_gives_the_lease_up_where_it_can(
        self, config: Config, handlers: None, monkeypatch: pytest.MonkeyPatch, mongodb_away: bool
    ) -> None:
        master = Scheduler(config, get_gateway())

        def away(*_: object) -> None:
            raise MongoError("away")

        def stop_when_it_leads() -> None:
            eventually(lambda: master.leadership.term is not None, 20, "it leads")
            if mongodb_away:
                monkeypatch.setattr(leases, "resign", away)
            os.kill(os.getpid(), signal.SIGTERM)

        stopper = threading.Thread(target=stop_when_it_leads)
        stopper.start()
        master.run()
        stopper.join()
        assert master.join(30)
        lease = leases.current()
        assert lease is not None
        assert lease.holder == (master.leadership.holder if mongodb_away else None)
