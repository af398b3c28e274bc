"""A master and workers as real processes, which end, fill up and share: what needs workers of its own.

The master is that of all tests of this file; it asks for places after 2 s, and gives a large queue a consumer for each
ten messages.
What was handled is read from the ledger that the handlers write; what the system says of itself, from its documents.
Deaths, freezes and hand-overs are in `faults`; what a master and a worker at work do, in `test_changes_while_running`.
"""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from jobs.models import EndReason, Job, JobStatus
from jobs.repositories import assignments, workers
from queues import repository, services
from queuesite.foundation.databases import collection
from tests.support.background import Background, end
from tests.support.emptied import empty_mongodb
from tests.support.records import all_jobs, assign, stored
from tests.support.system import LONG, SOON_VISIBLE, System, all_handled, create, do, send, started, worker_of
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient

pytestmark = [pytest.mark.usefixtures("sqs"), pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def shared(mongo_database: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A master, on an empty database."""
    empty_mongodb()
    made = System(tmp_path_factory.mktemp("shared"))
    made.set(time_slice_seconds=2, backlog_per_consumer=10)
    made.master()
    yield made
    made.close()


@pytest.fixture
def system(shared: System, sqs: SQSClient) -> Iterator[System]:
    """The master, with no queue and no worker, when a test begins."""
    before = dict(shared.environment)
    yield shared
    shared.environment = before
    master_of(shared).send(signal.SIGCONT)
    for queue in repository.all_queues():
        services.delete(queue.name)
    shared.ledger.release("go")
    end([process for process in shared.processes if process.name.startswith("runworker")])
    eventually(lambda: not assignments.all_assignments(), LONG, "no assignment is left")
    collection(Job).delete_many({})
    shared.ledger.clear()


def master_of(system: System) -> Background:
    """The master that runs."""
    (found,) = [one for one in system.processes if one.name.startswith("runmaster") and one.process.poll() is None]
    return found


def test_a_worker_that_was_started_before_its_master_waits_for_it_and_idle_it_stops_at_once(system: System) -> None:
    assert master_of(system).stop() == 0
    queue = create()
    ids = send(queue, "m")
    worker = system.worker()
    assert collection(Job).count_documents({}) == 0
    system.master()
    all_handled(system, ids)
    assert worker.stop() == 0
    assert workers.all_workers() == []
    assert "worker_stopped" in worker.output()


def test_an_assignment_that_comes_while_its_worker_stops_is_handed_back(system: System) -> None:
    busy = create("busy")
    master, worker = master_of(system), system.worker()
    send(busy, do(wait="go"))
    started(system, 1)
    master.send(signal.SIGSTOP)
    late = create("late")
    worker.send(signal.SIGTERM)
    worker.says("worker_draining", LONG)
    registered = worker_of(worker)
    assert registered is not None
    # By a master that had not seen yet that it drains.
    assignment = assign(late, registered.worker_id)
    eventually(lambda: assignment.id not in {a.id for a in assignments.all_assignments()}, LONG, "it was handed back")
    (job,) = all_jobs(late)
    assert (job.status, job.end_reason) == (JobStatus.COMPLETED, EndReason.SHUTDOWN)
    assert stored(late).wake_pending
    system.ledger.release("go")
    assert worker.process.wait(LONG) == 0
    master.send(signal.SIGCONT)


def test_handlers_that_outlast_the_grace_are_killed_and_their_messages_come_back(system: System) -> None:
    system.set(shutdown_grace_seconds=2)
    queue = create(visibility_timeout=SOON_VISIBLE)
    worker = system.worker()
    ids = send(queue, do(wait="go"))
    started(system, 1)
    assert worker.stop() == 0
    (job,) = all_jobs(queue)
    assert job.status == JobStatus.FAILED
    assert "did not end within the grace of 2 s" in (job.last_error or "")
    assert assignments.all_assignments() == []
    assert workers.all_workers() == []
    system.ledger.release("go")
    system.worker()
    all_handled(system, ids)


def test_consumers_are_used_again_up_to_their_limit_and_then_replaced(system: System) -> None:
    system.set(consumer_usage_limit=2)
    queue = create()
    system.worker()
    for number in range(3):
        all_handled(system, send(queue, f"m{number}"))
    with_messages = [job for job in all_jobs(queue) if job.message_count]
    assert [job.message_count for job in with_messages] == [1] * 3
    pids = [job.processor["consumerPid"] for job in all_jobs(queue)]
    uses = {pid: pids.count(pid) for pid in pids}
    assert max(uses.values()) == 2
    assert len(uses) >= 2
    assert [str(event.pid) for event in system.ledger.events("end")] == [
        job.processor["consumerPid"] for job in with_messages
    ]


def test_a_waiting_queue_gets_its_turn(system: System) -> None:
    system.set(max_load=1)
    master = master_of(system)
    asked = master.output().count("yield_requested")
    first, second = (create(name, concurrency=1, handler_options={"sleep": 0.03}) for name in ("first", "second"))
    system.worker()
    # More than the first queue's consumer has in its buffer when it yields.
    ids = send(first, do(wait="go"), *["m"] * 99)
    started(system, 1, first)
    ids += send(second, *["m"] * 10)
    eventually(lambda: master.output().count("yield_requested") > asked, LONG, "it was asked to yield")
    system.ledger.release("go")
    all_handled(system, ids)
    assert set(system.ledger.handled().values()) == {1}
    assert "first" in {job.queue_name for job in all_jobs() if job.end_reason == EndReason.YIELDED}
    order = [event.queue for event in system.ledger.events("start")]
    assert sum(a != b for a, b in itertools.pairwise(order)) >= 2
    assert sum(job.message_count for job in all_jobs()) == 110


def test_a_large_backlog_is_shared(system: System) -> None:
    system.set(max_load=2)
    queue = create(concurrency=1, max_consumers=3)
    for _ in range(2):
        system.worker()
    ids = send(queue, *[do(wait="go")] * 80)
    eventually(lambda: len({event.pid for event in system.ledger.events("start")}) == 3, LONG, "three consumers share")
    system.ledger.release("go")
    all_handled(system, ids)
    assert set(system.ledger.handled().values()) == {1}
    assert system.ledger.most_at_once() == 3
    assert sum(job.message_count for job in all_jobs(queue)) == 80
