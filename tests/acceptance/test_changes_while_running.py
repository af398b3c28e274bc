"""Changes while queues are processed by a real master and a real worker, which all tests of this file share."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import pytest

from jobs.models import EndReason, JobStatus, Worker
from jobs.repositories import assignments, jobs, workers
from queues import repository, services, tripping
from queues.models import Queue
from queues.sqs import Depth, OutgoingMessage, get_gateway
from queues.state import Context, State, state_of
from queuesite.foundation.databases import database_clock
from tests.support.emptied import empty_mongodb
from tests.support.real_sqs import depth
from tests.support.records import all_jobs, stored
from tests.support.system import LONG, SOON_VISIBLE, System, all_handled, create, do, ended_jobs, send, started
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient

pytestmark = [pytest.mark.usefixtures("sqs"), pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def shared(mongo_database: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A master and a worker, on an empty database."""
    empty_mongodb()
    made = System(tmp_path_factory.mktemp("shared"))
    made.both()
    yield made
    made.close()


@pytest.fixture
def system(shared: System, sqs: SQSClient) -> Iterator[System]:
    """The two, with no queue, when a test begins."""
    yield shared
    for queue in repository.all_queues():
        services.delete(queue.name)
    # A run that has given up its place goes on for as long as its handlers do.
    shared.ledger.release("go")
    eventually(
        lambda: not assignments.all_assignments() and not only_worker().consumers, LONG, "the consumers have ended"
    )
    shared.ledger.clear()


def only_worker() -> Worker:
    (worker,) = workers.all_workers()
    return worker


def counts(queue: Queue) -> list[tuple[int, int]]:
    """Messages in flight and buffered of each of the queue's consumers, as the heartbeat tells them."""
    return [(one["inFlight"], one["buffered"]) for one in only_worker().consumers if one["queueName"] == queue.name]


def handled(system: System, queue: Queue) -> dict[str, int]:
    return dict(system.ledger.handled(queue.name))


def test_a_consumer_dies(system: System) -> None:
    queue = create(concurrency=2, visibility_timeout=SOON_VISIBLE)
    ids = send(queue, *["plain"] * 5, do(die=9, times=1), *["plain"] * 5)
    all_handled(system, ids)
    failed = [job for job in all_jobs(queue) if job.status == JobStatus.FAILED]
    assert failed
    for job in failed:
        assert job.end_reason == EndReason.CRASHED
        assert job.last_error == f"the consumer process {job.processor['consumerPid']} was killed by signal 9 (SIGKILL)"
    # What was handled, but not deleted when its consumer died, comes again.
    eventually(lambda: depth(queue) == Depth(0, 0, 0), LONG, "all are deleted")
    all_handled(system, ids)
    assert all_jobs(queue)[-1].status == JobStatus.COMPLETED


def test_messages_that_nobody_announced_are_found(system: System) -> None:
    queue = create()
    all_handled(system, send(queue, "announced"))
    result = get_gateway().send(queue.queue_url, [OutgoingMessage(f"unannounced {n}") for n in range(10)])
    assert not result.failures
    all_handled(system, list(result.message_ids.values()))
    assert set(handled(system, queue).values()) == {1}


def test_live_counts_ride_on_the_heartbeat(system: System) -> None:
    queue = create(concurrency=2)
    ids = send(queue, "plain", *[do(wait="go")] * 5)

    def told() -> bool:
        return [
            (c["queueName"], c["processed"], c["failed"], c["inFlight"], c["buffered"] > 0, c["memory"] > 0)
            for c in only_worker().consumers
        ] == [(queue.name, 1, 0, 2, True, True)]

    eventually(told, LONG, "the heartbeat tells the counts")
    system.ledger.release("go")
    all_handled(system, ids)
    eventually(lambda: only_worker().consumers == [], LONG, "the heartbeat tells that nothing runs")


def test_concurrency(system: System) -> None:
    queue = create(concurrency=1)
    ids = send(queue, *[do(wait="go")] * 8)
    started(system, 1, queue)
    services.update(queue.name, {"concurrency": 3})
    started(system, 3, queue)
    system.ledger.release("go")
    all_handled(system, ids)
    assert system.ledger.most_at_once(queue.name) == 3
    # By one run. A depth that a busy machine read before its end may lead to another, which finds nothing.
    assert len({event.pid for event in system.ledger.events("end", queue.name)}) == 1


def test_a_pause_takes_effect_and_what_is_in_flight_is_finished(system: System) -> None:
    queue = create(concurrency=2)
    ids = send(queue, *[do(wait="go")] * 6)
    started(system, 2, queue)
    services.set_paused(queue.name, True)
    eventually(lambda: depth(queue) == Depth(4, 2, 0), LONG, "the unstarted messages are visible")
    system.ledger.release("go")
    eventually(lambda: ended_jobs(queue), LONG, "the job has ended")
    (job,) = all_jobs(queue)
    assert (job.status, job.end_reason, job.message_count) == (JobStatus.COMPLETED, EndReason.PAUSED, 2)
    assert len(handled(system, queue)) == 2
    services.set_paused(queue.name, False)
    all_handled(system, ids)
    assert set(handled(system, queue).values()) == {1}


def test_a_long_handler_does_not_hold_up_its_queue(system: System) -> None:
    """Nothing is received after a pause; what is in flight may take hours, and the queue goes on without it."""
    queue = create(concurrency=1)
    (slow,) = send(queue, do(wait="go"))
    started(system, 1, queue)
    services.set_paused(queue.name, True)
    eventually(lambda: not assignments.all_assignments(), LONG, "its place is free")
    (job,) = all_jobs(queue)
    assert job.status == JobStatus.RUNNING
    services.set_paused(queue.name, False)
    others = set(send(queue, "a", "b"))
    eventually(lambda: others <= set(handled(system, queue)), LONG, "the others are handled")
    eventually(
        lambda: (
            [(one["jobId"], one["inFlight"]) for one in only_worker().consumers if one["finishing"]] == [(job.id, 1)]
        ),
        LONG,
        "the heartbeat tells of it",
    )
    assert jobs.by_id(job.id).status == JobStatus.RUNNING
    system.ledger.release("go")
    all_handled(system, [slow])
    eventually(lambda: jobs.by_id(job.id).status == JobStatus.COMPLETED, LONG, "the job has ended")
    assert jobs.by_id(job.id).message_count == 1
    assert set(handled(system, queue).values()) == {1}


def test_the_queue_is_deleted(system: System) -> None:
    queue = create(concurrency=1)
    send(queue, *[do(wait="go")] * 3)
    started(system, 1, queue)
    eventually(lambda: counts(queue) == [(1, 2)], LONG, "all messages are held")
    services.delete(queue.name)
    eventually(lambda: counts(queue) == [(1, 0)], LONG, "nothing more is begun")
    system.ledger.release("go")
    (job,) = eventually(lambda: ended_jobs(queue), LONG, "the job has ended")
    assert (job.status, job.end_reason) == (JobStatus.COMPLETED, EndReason.QUEUE_MISSING)
    eventually(lambda: not assignments.all_assignments(), LONG, "no assignment is left")
    # The others go on.
    all_handled(system, send(create("other"), "m"))


def test_the_queue_is_deleted_in_sqs_by_somebody_else(system: System) -> None:
    queue = create()
    get_gateway().delete_queue(queue.queue_url)
    services.notify(queue.name)
    # Assigned again after 0, 2, 4, … seconds, not in a tight circle.
    eventually(lambda: stored(queue).crash_count >= 2, LONG, "its runs failed")
    missing = [job for job in ended_jobs(queue) if job.end_reason == EndReason.QUEUE_MISSING]
    assert len(missing) >= 2
    assert len(all_jobs(queue)) <= stored(queue).crash_count + 2


def test_its_handler_takes_batches(system: System) -> None:
    queue = create(handler="batch_recorder", handler_options={}, concurrency=1)
    ids = send(queue, *[do(fail=1)] * 2, *["plain"] * 23)
    all_handled(system, ids)
    assert handled(system, queue) == dict.fromkeys(ids, 1)
    assert len(system.ledger.events("fail")) == 2
    assert max(int(path.name.rpartition("-")[2]) for path in system.ledger.directory.glob("batch-of-*")) > 1
    eventually(lambda: depth(queue) == Depth(0, 0, 0), LONG, "all are deleted")


def tripped(queue: Queue, trips: int) -> bool:
    return stored(queue).trip_count == trips


def test_what_its_handler_needs_is_down(system: System) -> None:
    queue = create(concurrency=1, max_receive_count=1)
    ids = set(send(queue, *[do(need="stripe")] * 12))
    for trips in (1, 2):
        eventually(partial(tripped, queue, trips), LONG, "it has tripped")
        found = stored(queue)
        assert found.trip_reason == "stripe is unavailable"
        assert found.not_before is not None
        assert len(system.ledger.events("fail")) == trips
        assert state_of(found, Context(database_clock.now(), frozenset())) is State.BACKING_OFF
        if trips == 2:
            system.ledger.release("stripe")
        assert tripping.try_now(queue.name)
    # The two that failed come later than the queue, as copies.
    eventually(lambda: len(ids & set(handled(system, queue))) == 10, LONG, "the others are handled")
    eventually(lambda: stored(queue).trip_count == 0, LONG, "it has recovered")
    assert {job.end_reason for job in ended_jobs(queue)[:2]} == {EndReason.TRIPPED}
    assert stored(queue).dlq_url is not None
    assert services.dead_letters(stored(queue)) == 0
    assert depth(queue).total == 2


def test_its_handler_is_not_there(system: System) -> None:
    queue = create()
    repository.update(queue.id, {"handler": "of-another-release"})
    ids = send(queue, "m")
    reason = "no worker has handler of-another-release"
    eventually(lambda: any(reason in process.output() for process in system.processes), LONG, "the master says so")
    assert [job for job in all_jobs(queue) if job.status == JobStatus.FAILED] == []
    assert (stored(queue).crash_count, stored(queue).not_before) == (0, None)
    assert handled(system, queue) == {}
    repository.update(queue.id, {"handler": "async_recorder"})
    all_handled(system, ids)


def test_an_error_of_a_handler_is_told_in_the_job(system: System) -> None:
    queue = create()
    (failing, rejected) = send(queue, do(retry=0, times=1), do(reject="no such order"))
    all_handled(system, [failing])
    assert queue.dlq_url is not None
    dlq_url = queue.dlq_url
    eventually(lambda: get_gateway().depth(dlq_url).total == 1, LONG, "the rejected one is a dead letter")
    eventually(
        lambda: sum(job.failed_count + job.retried_count for job in ended_jobs(queue)) == 2, LONG, "both were counted"
    )
    assert sum(job.failed_count for job in all_jobs(queue)) == 1, "one for which its handler asks is not a failure"
    assert sum(job.message_count for job in all_jobs(queue)) == 1
    assert {job.last_error for job in all_jobs(queue) if job.failed_count} <= {
        "the body asks for it",
        "rejected: no such order",
    }
    assert rejected not in handled(system, queue)
