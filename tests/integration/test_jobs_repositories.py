"""The repositories of processing: one verb a transition, and what becomes of whoever comes too late."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from bson import ObjectId
from pymongo.errors import BulkWriteError

from jobs import status
from jobs.models import Assignment, EndReason, Failure, Job, JobStatus, Lease, Worker
from jobs.repositories import assignments, jobs, leases, workers
from jobs.repositories.assignments import NewAssignment
from jobs.repositories.jobs import ERROR_CHARACTERS, Counts
from queues.models import Queue
from queuesite.foundation.databases import collection, database, database_clock, server_time
from queuesite.foundation.errors import NotFound, StaleTransition
from tests.support.records import (
    assign,
    define,
    job_of,
    processor,
    queued,
    register,
    running,
    set_heartbeat,
)
from tests.support.waiting import eventually

pytestmark = pytest.mark.usefixtures("mongo")


def in_parallel(work: Callable[[int], Any], count: int) -> list[Any]:
    """`work(0)` to `work(count - 1)`, begun at the same moment in threads of their own."""
    barrier = threading.Barrier(count)
    answers: list[Any] = [None] * count

    def one(number: int) -> None:
        barrier.wait(45)
        answers[number] = work(number)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return answers


class TestJobs:
    def test_a_job_is_created_as_the_reference_system_has_it(self) -> None:
        queue = define()
        assignment = queued(queue)
        document = collection(Job).find_one({"_id": assignment.job_id})
        assert document is not None
        created = document.pop("createdAt")
        assert abs((created - server_time()).total_seconds()) < 60
        assert document == {
            "_id": assignment.job_id,
            "queueName": "orders",
            "queueUrl": queue.queue_url,
            "queueId": queue.id,
            "status": "queued",
            "messageCount": 0,
            "failedCount": 0,
            "retriedCount": 0,
            "timedOutCount": 0,
            "processor": {"workerId": "w1", "host": "host-1", "workerPid": "4711", "consumerPid": None},
            "handler": None,
            "handlerVersion": None,
            "startedAt": None,
            "endedAt": None,
            "lastModified": created,
            "endReason": None,
            "lastError": None,
        }

    def test_whoever_creates_it_second_changes_nothing(self) -> None:
        queue = define()
        assignment = assign(queue)
        jobs.create_many([(assignment, "orders", processor("worker", 1))])
        jobs.start(assignment.job_id, processor("worker", 1))
        before = job_of(assignment)
        jobs.create_many([(assignment, "orders", processor("master"))])
        after = job_of(assignment)
        assert (after.status, after.processor, after.last_modified) == (
            before.status,
            before.processor,
            before.last_modified,
        )

    def test_master_and_worker_may_create_it_at_the_same_time(self) -> None:
        queue = define()
        assignment = assign(queue)
        in_parallel(lambda n: jobs.create_many([(assignment, "orders", processor())]), 4)
        assert collection(Job).count_documents({}) == 1
        assert job_of(assignment).status == JobStatus.QUEUED

    def test_many_at_once_and_none(self) -> None:
        made = [assign(define(f"q{n}")) for n in range(5)]
        jobs.create_many((assignment, "q", processor()) for assignment in made)
        jobs.create_many([])
        assert {job.job_id for job in jobs.unfinished()} == {assignment.job_id for assignment in made}

    def test_from_queued_to_completed(self) -> None:
        assignment = queued(define())
        jobs.start(assignment.job_id, processor("w1", 99))
        started = job_of(assignment)
        assert started.status == JobStatus.RUNNING
        assert started.processor["consumerPid"] == "99"
        assert started.started_at is not None
        assert started.ended_at is None
        jobs.complete(assignment.job_id, "w1", Counts(200, 3), EndReason.DRAINED, "the last of three errors")
        ended = job_of(assignment)
        assert ended.status == JobStatus.COMPLETED
        assert (ended.message_count, ended.failed_count) == (200, 3)
        assert ended.end_reason == EndReason.DRAINED
        assert ended.last_error == "the last of three errors"
        assert ended.ended_at is not None
        assert ended.ended_at >= started.started_at
        assert ended.last_modified >= started.last_modified
        assert jobs.unfinished() == []

    def test_the_counts_so_far_of_one_that_goes_on(self) -> None:
        assignment = running(define())
        before = job_of(assignment)
        jobs.progress(assignment.job_id, "w1", Counts(7, 2, 1))
        job = job_of(assignment)
        assert (job.status, job.message_count, job.failed_count, job.timed_out_count) == (JobStatus.RUNNING, 7, 2, 1)
        assert job.last_modified >= before.last_modified
        assert job.ended_at is None
        with pytest.raises(StaleTransition):
            jobs.progress(assignment.job_id, "w2", Counts(8))
        jobs.complete(assignment.job_id, "w1", Counts(9), EndReason.DRAINED)
        with pytest.raises(StaleTransition):
            jobs.progress(assignment.job_id, "w1", Counts(10))
        assert job_of(assignment).message_count == 9

    def test_a_start_may_be_repeated_by_its_worker(self) -> None:
        assignment = running(define())
        jobs.start(assignment.job_id, processor("w1", 100))
        assert job_of(assignment).processor["consumerPid"] == "100"

    def test_a_failure_keeps_the_cause_and_the_last_counts(self) -> None:
        assignment = running(define())
        jobs.fail(assignment.job_id, "w1", Counts(7, 1), EndReason.CRASHED, "x" * 5_000)
        ended = job_of(assignment)
        assert (ended.status, ended.end_reason) == (JobStatus.FAILED, EndReason.CRASHED)
        assert (ended.message_count, ended.failed_count) == (7, 1)
        assert ended.last_error == "x" * ERROR_CHARACTERS

    @pytest.mark.parametrize("make", [queued, running])
    def test_a_master_abandons_what_has_not_ended(self, make: Callable[..., Assignment]) -> None:
        assignment = make(define())
        jobs.abandon_many([jobs.Abandoned(assignment.job_id, "its worker died", Counts(3))])
        ended = job_of(assignment)
        assert (ended.status, ended.message_count) == (JobStatus.ABANDONED, 3)
        assert ended.end_reason == EndReason.WORKER_DIED

    def test_a_job_that_never_began_may_end(self) -> None:
        assignment = queued(define())
        jobs.complete(assignment.job_id, "w1", Counts(), EndReason.PAUSED)
        assert job_of(assignment).last_error is None

    @pytest.mark.parametrize(
        "change",
        [
            lambda job_id: jobs.start(job_id, processor("w2")),
            lambda job_id: jobs.complete(job_id, "w2", Counts(1), EndReason.DRAINED),
            lambda job_id: jobs.fail(job_id, "w2", Counts(1), EndReason.CRASHED, "cause"),
        ],
    )
    def test_another_workers_job_is_not_touched(self, change: Callable[[ObjectId], None]) -> None:
        assignment = running(define())
        before = collection(Job).find_one({})
        with pytest.raises(StaleTransition, match=str(assignment.job_id)):
            change(assignment.job_id)
        assert collection(Job).find_one({}) == before

    @pytest.mark.parametrize("final", [JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.ABANDONED])
    @pytest.mark.parametrize(
        "change",
        [
            lambda job_id: jobs.start(job_id, processor("w1")),
            lambda job_id: jobs.complete(job_id, "w1", Counts(9), EndReason.DRAINED),
            lambda job_id: jobs.fail(job_id, "w1", Counts(9), EndReason.CRASHED, "cause"),
        ],
    )
    def test_what_has_ended_stays_as_it_is(self, final: JobStatus, change: Callable[[ObjectId], None]) -> None:
        assignment = running(define())
        if final is JobStatus.COMPLETED:
            jobs.complete(assignment.job_id, "w1", Counts(1), EndReason.DRAINED)
        elif final is JobStatus.FAILED:
            jobs.fail(assignment.job_id, "w1", Counts(1), EndReason.CRASHED, "cause")
        else:
            jobs.abandon_many([jobs.Abandoned(assignment.job_id, "cause", Counts(1))])
        before = collection(Job).find_one({})
        with pytest.raises(StaleTransition):
            change(assignment.job_id)
        assert jobs.abandon_many([jobs.Abandoned(assignment.job_id, "cause", Counts(9))]) == 0
        assert collection(Job).find_one({}) == before

    def test_one_that_is_not_there(self) -> None:
        with pytest.raises(StaleTransition):
            jobs.start(ObjectId(), processor())
        with pytest.raises(NotFound, match="kept 5 days"):
            jobs.by_id(ObjectId())


class TestAssignments:
    def test_an_assignment_is_as_the_reference_system_has_it(self) -> None:
        queue = define()
        made = assign(queue, "w1", slot=0, term=7)
        document = collection(Assignment).find_one({})
        assert document is not None
        assert abs((document.pop("createdAt") - server_time()).total_seconds()) < 60
        assert document == {
            "_id": made.id,
            "queueUrl": queue.queue_url,
            "slot": 0,
            "queueId": queue.id,
            "worker": "w1",
            "jobId": made.job_id,
            "term": 7,
            "yieldRequestedAt": None,
        }

    def test_what_somebody_else_was_faster_with_is_left_out_and_the_rest_inserted(self) -> None:
        queues = [define(f"q{n}") for n in range(4)]
        assign(queues[1], "other")
        wanted = [NewAssignment(queue.queue_url, queue.id, 0, "w1") for queue in queues]
        made = assignments.insert_many(wanted, 1)
        assert [a.queue_url for a in made] == [queues[0].queue_url, queues[2].queue_url, queues[3].queue_url]
        present = {a.queue_url: a for a in assignments.all_assignments()}
        assert present[queues[1].queue_url].worker == "other"
        assert {a.id for a in made} == {a.id for a in present.values()} - {present[queues[1].queue_url].id}

    def test_slots_of_one_queue_are_apart(self) -> None:
        queue = define()
        assign(queue, "w1", slot=0)
        assign(queue, "w1", slot=1)
        assert assignments.insert_many([NewAssignment(queue.queue_url, queue.id, 1, "w2")], 1) == []

    def test_nothing_to_insert(self) -> None:
        assert assignments.insert_many([], 1) == []

    def test_another_error_is_not_taken_for_a_race_that_was_lost(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Refusing:
            def bulk_write(self, writes: list[Any], ordered: bool) -> None:
                raise BulkWriteError({"writeErrors": [{"index": 0, "code": 121, "errmsg": "validation failed"}]})

        monkeypatch.setattr(assignments, "_assignments", Refusing)
        with pytest.raises(BulkWriteError):
            assignments.insert_many([NewAssignment("http://sqs/orders", ObjectId(), 0, "w1")], 1)

    def test_what_no_majority_confirmed_does_not_count_as_inserted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Unconfirmed:
            def bulk_write(self, writes: list[Any], ordered: bool) -> None:
                raise BulkWriteError({"writeErrors": [], "writeConcernErrors": [{"code": 64, "errmsg": "timed out"}]})

        monkeypatch.setattr(assignments, "_assignments", Unconfirmed)
        with pytest.raises(BulkWriteError):
            assignments.insert_many([NewAssignment("http://sqs/orders", ObjectId(), 0, "w1")], 1)

    def test_of_two_masters_one_wins_each_slot(self) -> None:
        queues = [define(f"q{n}") for n in range(20)]
        wanted = [NewAssignment(queue.queue_url, queue.id, 0, "w1") for queue in queues]
        made = in_parallel(lambda n: assignments.insert_many(wanted, n), 2)
        assert sorted(a.queue_url for part in made for a in part) == sorted(queue.queue_url for queue in queues)
        assert len(assignments.all_assignments()) == 20

    def test_those_of_one_worker(self) -> None:
        mine, _ = assign(define("q0"), "w1"), assign(define("q1"), "w2")
        assert [a.id for a in assignments.of_worker("w1")] == [mine.id]
        assert assignments.of_worker("w3") == []

    def test_all_oldest_first(self) -> None:
        made = [assign(define(f"q{n}")) for n in range(3)]
        oldest = made[2]
        collection(Assignment).update_one(
            {"_id": oldest.id}, {"$set": {"createdAt": database_clock.now() - timedelta(minutes=1)}}
        )
        assert assignments.all_assignments()[0].id == oldest.id

    def test_a_yield_is_asked_for_once(self) -> None:
        first, second = assign(define("q0")), assign(define("q1"))
        assert assignments.request_yield([first.id]) == 1
        (asked,) = [a for a in assignments.all_assignments() if a.yield_requested_at is not None]
        assert asked.id == first.id
        assert assignments.request_yield([first.id, second.id, ObjectId()]) == 1
        (again,) = [a for a in assignments.all_assignments() if a.id == first.id]
        assert again.yield_requested_at == asked.yield_requested_at

    def test_a_worker_releases_its_own_alone(self) -> None:
        made = assign(define())
        with pytest.raises(StaleTransition):
            assignments.release(made.id, "w2")
        assert len(assignments.all_assignments()) == 1
        assignments.release(made.id, "w1")
        assert assignments.all_assignments() == []
        with pytest.raises(StaleTransition):
            assignments.release(made.id, "w1")


class TestWorkers:
    def test_a_registration(self) -> None:
        register("w1", capacity=7)
        (worker,) = workers.all_workers()
        assert (worker.worker_id, worker.host, worker.pid, worker.capacity) == ("w1", "host-1", 4711, 7)
        assert (worker.draining, worker.consumers) == (False, [])
        assert worker.started_at == worker.heartbeat_at
        assert abs((worker.heartbeat_at - server_time()).total_seconds()) < 60

    def test_a_heartbeat_carries_the_live_counts(self) -> None:
        register()
        set_heartbeat("w1", database_clock.now() - timedelta(minutes=1))
        workers.heartbeat("w1", [{"queueName": "orders", "processed": 7}])
        (worker,) = workers.all_workers()
        assert abs((worker.heartbeat_at - server_time()).total_seconds()) < 60
        assert worker.consumers == [{"queueName": "orders", "processed": 7}]

    def test_one_that_was_pruned_learns_it_from_its_heartbeat(self) -> None:
        with pytest.raises(StaleTransition, match="w1"):
            workers.heartbeat("w1", [])
        assert workers.all_workers() == []

    def test_draining(self) -> None:
        register()
        workers.drain("w1")
        assert workers.all_workers()[0].draining
        workers.heartbeat("w1", [])
        assert workers.all_workers()[0].draining
        with pytest.raises(StaleTransition):
            workers.drain("w2")

    def test_leaving_in_order(self) -> None:
        register("w1")
        register("w2")
        workers.unregister("w1")
        workers.unregister("w1")
        assert [worker.worker_id for worker in workers.all_workers()] == ["w2"]

    def test_one_that_showed_itself_since_is_not_pruned(self) -> None:
        register()
        (seen,) = workers.all_workers()
        set_heartbeat("w1", seen.heartbeat_at + timedelta(milliseconds=1))
        assert not workers.prune("w1", seen.heartbeat_at)
        assert len(workers.all_workers()) == 1
        assert workers.prune("w1", seen.heartbeat_at + timedelta(milliseconds=1))
        assert workers.all_workers() == []


def expire() -> None:
    collection(Lease).update_one({}, {"$set": {"expiresAt": database_clock.now() - timedelta(milliseconds=1)}})


def lease() -> Lease:
    found = leases.current()
    assert found is not None
    return found


class TestLeases:
    def test_nobody_ever_led(self) -> None:
        assert leases.current() is None
        assert leases.leader() is None

    def test_the_first_wins_and_the_next_stands_by(self) -> None:
        assert leases.acquire("m1", 30) == 1
        assert leases.acquire("m2", 30) is None
        assert (lease().holder, lease().term) == ("m1", 1)
        left = (lease().expires_at - server_time()).total_seconds()
        assert 25 < left <= 31
        held = leases.leader()
        assert held is not None
        assert held.holder == "m1"

    def test_the_holder_prolongs_it_under_the_same_term(self) -> None:
        leases.acquire("m1", 30)
        assert leases.renew("m1", 1, 300)
        assert (lease().expires_at - server_time()).total_seconds() > 100
        assert lease().term == 1

    @pytest.mark.parametrize(("holder", "term"), [("m2", 1), ("m1", 2), ("m1", 0)])
    def test_nobody_else_prolongs_or_gives_it_up(self, holder: str, term: int) -> None:
        leases.acquire("m1", 30)
        before = collection(Lease).find_one({})
        assert not leases.renew(holder, term, 300)
        assert not leases.resign(holder, term)
        assert collection(Lease).find_one({}) == before

    def test_it_is_taken_over_only_after_it_has_expired(self) -> None:
        leases.acquire("m1", 30)
        assert leases.acquire("m2", 30) is None
        expire()
        assert leases.leader() is None
        assert leases.acquire("m2", 30) == 2
        assert not leases.renew("m1", 1, 30)
        assert lease().holder == "m2"

    def test_an_expired_one_that_nobody_took_may_still_be_renewed(self) -> None:
        leases.acquire("m1", 30)
        expire()
        assert leases.renew("m1", 1, 30)
        assert leases.acquire("m2", 30) is None

    def test_a_holder_that_does_not_know_takes_its_own_again_under_a_new_term(self) -> None:
        leases.acquire("m1", 30)
        assert leases.acquire("m1", 30) == 2
        assert not leases.renew("m1", 1, 30)

    def test_resigned_it_is_free_at_once(self) -> None:
        leases.acquire("m1", 30)
        assert leases.resign("m1", 1)
        assert lease().holder is None
        assert leases.leader() is None
        assert leases.acquire("m2", 30) == 2

    def test_the_term_only_rises(self) -> None:
        terms = []
        for round_number in range(5):
            holder = f"m{round_number % 2}"
            term = leases.acquire(holder, 30)
            assert term is not None
            terms.append(term)
            if round_number % 2:
                leases.resign(holder, term)
            else:
                expire()
        assert terms == [1, 2, 3, 4, 5]

    def test_of_several_that_want_the_first_lease_one_wins(self) -> None:
        won = in_parallel(lambda n: leases.acquire(f"m{n}", 30), 6)
        assert sorted(term for term in won if term is not None) == [1]
        assert lease().holder == f"m{won.index(1)}"

    def test_of_several_that_want_an_expired_one_one_wins(self) -> None:
        leases.acquire("old", 30)
        expire()
        won = in_parallel(lambda n: leases.acquire(f"m{n}", 30), 6)
        assert [term for term in won if term is not None] == [2]
        assert lease().holder == f"m{won.index(2)}"

    def test_an_acquisition_that_is_overtaken_wins_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        leases.acquire("old", 30)
        expire()
        judged = lease()
        assert leases.acquire("fast", 30) == 2
        monkeypatch.setattr(leases, "current", lambda: judged)
        assert leases.acquire("slow", 30) is None
        monkeypatch.undo()
        assert lease().holder == "fast"

    def test_an_acquisition_loses_to_a_renewal_in_between(self, monkeypatch: pytest.MonkeyPatch) -> None:
        leases.acquire("old", 30)
        expire()
        judged = lease()
        assert leases.renew("old", 1, 30)
        monkeypatch.setattr(leases, "current", lambda: judged)
        assert leases.acquire("new", 30) is None
        monkeypatch.undo()
        assert (lease().holder, lease().term) == ("old", 1)

    def test_it_runs_out_by_itself(self) -> None:
        leases.acquire("m1", 0.2)
        eventually(lambda: leases.acquire("m2", 30) == 2, 30, "the lease ran out")


class TestStatus:
    def test_ready_when_a_master_leads_and_enough_workers_are_there(self) -> None:
        answers = [status.ready(2)]
        leases.acquire("m1", 30)
        answers.append(status.ready(2))
        register("w1")
        answers.append(status.ready(2))
        register("w2")
        answers.append(status.ready(2))
        expire()
        answers.append(status.ready(2))
        assert answers == [False, False, False, True, False]

    def test_not_ready_where_mongodb_does_not_answer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from queuesite.foundation.databases import MongoError

        def away() -> None:
            raise MongoError("away")

        monkeypatch.setattr(leases, "current", away)
        assert status.ready(0) is False


def test_models_are_named_by_what_they_are() -> None:
    leases.acquire("m1", 30)
    assignment = running(define())
    register()
    assert str(job_of(assignment)) == f"orders {assignment.job_id}"
    assert str(assignment) == "http://sqs/orders [0] on w1"
    assert str(lease()) == "master: m1 (term 1)"
    assert str(workers.all_workers()[0]) == "w1"
    assert Worker._meta.db_table == "workers"


class TestIndexesOfLists:
    """A list's order is an index's, or MongoDB sorts all that there is for each page."""

    ORDER = (("lastSeenAt", -1), ("_id", -1))

    def test_failures_newest_first(self) -> None:
        plan = database().command("explain", {"find": "failures", "filter": {}, "sort": dict(self.ORDER)})
        assert plan["queryPlanner"]["winningPlan"]["inputStage"]["keyPattern"] == dict(self.ORDER)

    def test_failures_of_one_queue_newest_first(self) -> None:
        keys = [tuple(index["key"]) for index in collection(Failure).index_information().values()]
        assert (("queueName", 1), *self.ORDER) in keys

    def test_each_way_in_which_a_queue_may_have_changed(self) -> None:
        # MongoDB uses indexes for an `$or` if each of its branches has one.
        first_keys = {next(iter(index["key"]))[0] for index in collection(Queue).index_information().values()}
        assert {"updatedAt", "wakeRequestedAt"} <= first_keys
