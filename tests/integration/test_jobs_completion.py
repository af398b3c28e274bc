"""The end of a run as it is recorded: the job, then the queue, then the assignment."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest

from jobs.consumer.caution import CAUTION_SECONDS
from jobs.consumer.report import RunReport
from jobs.consumer.windows import LONGEST_SECONDS
from jobs.models import Assignment, EndReason, JobStatus, Trait
from jobs.repositories import assignments, jobs
from jobs.worker import completion
from queues import repository
from queues.models import Queue
from queuesite.foundation.databases import MongoError, collection, database_clock
from tests.support.records import define, job_of, queued, running, stored
from tests.support.waiting import eventually

pytestmark = pytest.mark.usefixtures("mongo")


def record(assignment: Assignment, queue: Queue, report: RunReport) -> None:
    completion.record(assignment, queue, "w1", report)


def drained(**fields: object) -> RunReport:
    return RunReport(EndReason.DRAINED, empty_at=time.monotonic(), **fields)  # type: ignore[arg-type]


def woken(queue: Queue) -> None:
    assert repository.wake(queue.id)


class TestJob:
    @pytest.mark.parametrize("reason", [reason for reason in EndReason if not reason.has(Trait.FAILURE)])
    def test_it_is_completed_with_counts_and_reason(self, reason: EndReason) -> None:
        queue = define()
        assignment = running(queue)
        record(assignment, queue, RunReport(reason, 7, 2, "the last error"))
        job = job_of(assignment)
        assert (job.status, job.end_reason) == (JobStatus.COMPLETED, reason)
        assert (job.message_count, job.failed_count, job.last_error) == (7, 2, "the last error")
        assert assignments.all_assignments() == []

    @pytest.mark.parametrize("reason", [reason for reason in EndReason if reason.has(Trait.FAILURE)])
    def test_it_failed_where_the_consumer_crashed_or_could_not_go_on(self, reason: EndReason) -> None:
        queue = define()
        assignment = running(queue)
        record(assignment, queue, RunReport(reason, 7, 2, "the cause"))
        job = job_of(assignment)
        assert (job.status, job.end_reason, job.last_error) == (JobStatus.FAILED, reason, "the cause")
        assert (job.message_count, job.failed_count) == (7, 2)

    def test_a_cause_that_nobody_knows(self) -> None:
        queue = define()
        assignment = running(queue)
        record(assignment, queue, RunReport(EndReason.CRASHED))
        assert job_of(assignment).last_error == "unknown"

    def test_what_a_master_has_abandoned_stays_so(self) -> None:
        queue = define()
        assignment = running(queue)
        jobs.abandon_many([jobs.Abandoned(assignment.job_id, "taken for dead")])
        record(assignment, queue, RunReport(EndReason.REVOKED, 7))
        assert job_of(assignment).status == JobStatus.ABANDONED
        assert assignments.all_assignments() == []

    def test_it_may_be_repeated(self) -> None:
        queue = define()
        assignment = running(queue)
        record(assignment, queue, drained(processed=7))
        record(assignment, queue, drained(processed=8))
        assert job_of(assignment).message_count == 7

    @pytest.mark.parametrize("step", ["complete", "served", "release"])
    def test_dying_at_any_step_leaves_an_assignment_to_be_found(
        self, monkeypatch: pytest.MonkeyPatch, step: str
    ) -> None:
        queue = define()
        assignment = running(queue)

        def die(*_: object) -> None:
            raise MongoError("the worker dies here")

        module = {"complete": jobs, "served": repository, "release": assignments}[step]
        report = drained(processed=7)
        with monkeypatch.context() as patch:
            patch.setattr(module, step, die)
            with pytest.raises(MongoError):
                record(assignment, queue, report)
        assert [a.id for a in assignments.all_assignments()] == [assignment.id]
        record(assignment, queue, report)
        assert job_of(assignment).message_count == 7
        assert assignments.all_assignments() == []


class TestQueue:
    def test_drained_it_satisfies_the_wake_up_that_started_it(self) -> None:
        queue = define()
        woken(queue)
        queue = stored(queue)
        record(queued(queue), queue, drained())
        assert not stored(queue).wake_pending

    def test_a_wake_up_that_was_there_at_the_start_is_satisfied_whatever_the_clocks_say(self) -> None:
        queue = define()
        future = database_clock.now() + timedelta(minutes=5)
        collection(Queue).update_one({"_id": queue.id}, {"$set": {"wakeRequestedAt": future}})
        queue = stored(queue)
        record(queued(queue), queue, drained())
        assert not stored(queue).wake_pending

    def test_a_wake_up_that_came_after_the_last_look_is_not_lost(self) -> None:
        queue = define()
        report = drained()
        woken(queue)
        record(queued(queue), queue, report)
        assert stored(queue).wake_pending

    def test_not_even_where_mongodb_was_away_when_the_run_ended(self) -> None:
        """The end is recorded late: what counts is when the queue was seen empty, not when that could be told."""
        queue = define()
        assignment = queued(queue)
        report = RunReport(EndReason.DRAINED, empty_at=time.monotonic() - 30)
        collection(Queue).update_one(
            {"_id": queue.id}, {"$set": {"wakeRequestedAt": database_clock.now() - timedelta(seconds=20)}}
        )
        record(assignment, queue, report)
        assert stored(queue).wake_pending

    def test_two_readings_of_the_clock_may_differ(self) -> None:
        queue = define()
        moment = time.monotonic()
        just_before = database_clock.at(moment) - timedelta(seconds=completion.CLOCK_MARGIN / 2)
        collection(Queue).update_one({"_id": queue.id}, {"$set": {"wakeRequestedAt": just_before}})
        record(queued(queue), queue, RunReport(EndReason.DRAINED, empty_at=moment))
        assert stored(queue).wake_pending

    @pytest.mark.parametrize(
        "reason", [EndReason.YIELDED, EndReason.SHUTDOWN, EndReason.RECYCLED, EndReason.REVOKED, EndReason.PAUSED]
    )
    def test_what_may_hold_messages_still_is_woken(self, reason: EndReason) -> None:
        queue = define()
        repository.served(queue.id, database_clock.now())
        before = database_clock.now()
        eventually(lambda: database_clock.now() > before + timedelta(milliseconds=2), 30, "time goes on")
        record(queued(queue), queue, RunReport(reason))
        assert stored(queue).wake_pending
        assert stored(queue).not_before is None

    @pytest.mark.parametrize(("timeout", "hidden"), [(100, 100), (43_200, LONGEST_SECONDS)])
    def test_after_a_crash_it_is_treated_with_caution_until_what_was_held_is_back(
        self, timeout: int, hidden: int
    ) -> None:
        queue = define(visibility_timeout=timeout)
        record(queued(queue), queue, RunReport(EndReason.CRASHED))
        until = stored(queue).troubled_until
        assert until is not None
        assert (until - database_clock.now()).total_seconds() == pytest.approx(hidden + CAUTION_SECONDS, abs=10)

    def test_so_it_is_for_as_long_as_its_run_says(self) -> None:
        queue = define("orders.fifo")
        report = RunReport(EndReason.DRAINED, empty_at=time.monotonic(), troubled_until=time.monotonic() + 50)
        record(queued(queue), queue, report)
        until = stored(queue).troubled_until
        assert until is not None
        assert (until - database_clock.now()).total_seconds() == pytest.approx(50, abs=10)
        record(queued(queue), queue, RunReport(EndReason.DRAINED, troubled_until=time.monotonic() + 10))
        assert stored(queue).troubled_until == until, "a shorter time does not cut it short"

    @pytest.mark.parametrize(
        "reason", [EndReason.CRASHED, EndReason.ERROR, EndReason.TIMED_OUT, EndReason.QUEUE_MISSING]
    )
    def test_failed_runs_in_a_row_make_it_wait_ever_longer(self, reason: EndReason) -> None:
        queue = define()
        for seconds in (0, 2, 4, 8, 16):
            queue, pause = stored(queue), timedelta(seconds=seconds)
            before = database_clock.now()
            record(queued(queue), queue, RunReport(reason, last_error="cause"))
            found = stored(queue)
            assert found.wake_pending
            assert found.not_before is not None
            off = timedelta(seconds=1)  # by as much as `database_clock` may be on a busy machine
            assert before - off <= found.not_before - pause <= database_clock.now() + off
        assert stored(queue).crash_count == 5

    def test_what_tripped_backs_off_for_as_long_as_its_run_says(self) -> None:
        queue = define(crash_count=1)
        for count, processed in ((1, 0), (2, 0), (1, 5), (2, 0)):
            queue = stored(queue)
            record(queued(queue), queue, RunReport(EndReason.TRIPPED, processed, 1, "stripe", pause=count * 100.0))
            found = stored(queue)
            assert (found.trip_count, found.trip_reason, found.crash_count) == (count, "stripe", 1)
            assert found.wake_pending
        assert found.not_before is not None
        assert (found.not_before - database_clock.now()).total_seconds() == pytest.approx(200, abs=10)

    @pytest.mark.parametrize("reason", [EndReason.DRAINED, EndReason.YIELDED, EndReason.CRASHED])
    def test_a_tripped_queue_has_recovered_when_a_message_was_handled(self, reason: EndReason) -> None:
        queue = define(trip_count=3, trip_reason="stripe")
        record(queued(queue), queue, RunReport(reason, 0, 1, empty_at=time.monotonic()))
        assert (stored(queue).trip_count, stored(queue).trip_reason) == (3, "stripe")
        record(queued(queue), queue, RunReport(reason, 1, 1, empty_at=time.monotonic()))
        assert (stored(queue).trip_count, stored(queue).trip_reason) == (0, None)

    def test_a_run_that_got_something_through_is_no_loop_of_crashes(self) -> None:
        queue = define(crash_count=4)
        record(queued(queue), queue, RunReport(EndReason.CRASHED, processed=1))
        assert stored(queue).crash_count == 1

    def test_a_run_that_drained_it_ends_the_row(self) -> None:
        queue = define(crash_count=4)
        record(queued(queue), queue, drained())
        assert stored(queue).crash_count == 0

    def test_runs_that_received_nothing_are_counted_in_a_row(self) -> None:
        queue = define()
        for expected, processed, failed in ((1, 0, 0), (2, 0, 0), (0, 1, 0), (1, 0, 0), (0, 0, 1)):
            queue = stored(queue)
            report = RunReport(EndReason.DRAINED, processed, failed, empty_at=time.monotonic())
            assignment = queued(queue)
            record(assignment, queue, report)
            assert stored(queue).empty_runs == expected
            record(assignment, queue, report)  # repeated after a lost answer
            assert stored(queue).empty_runs == expected

    def test_a_queue_that_is_gone_is_no_concern(self) -> None:
        queue = define()
        assignment = running(queue)
        repository.delete(queue.id)
        record(assignment, queue, RunReport(EndReason.QUEUE_MISSING))
        assert assignments.all_assignments() == []
        assert collection(Queue).count_documents({}) == 0
