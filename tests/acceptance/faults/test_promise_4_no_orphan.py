"""Promise 4: every assignment has a live worker, every job ends in a final status, no process outlives its owner."""

from __future__ import annotations

import signal

import pytest

from jobs.models import EndReason, JobStatus
from jobs.repositories import assignments, jobs, workers
from queues.sqs import Depth
from tests.support.cluster import Cluster
from tests.support.living import gone
from tests.support.real_sqs import depth
from tests.support.records import all_jobs
from tests.support.system import DEATHS_SHOW_SOON, LONG, SOON_VISIBLE, create, worker_of
from tests.support.values import given
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(240)


def test_the_queues_of_a_killed_worker_run_elsewhere_and_its_consumers_end(cluster: Cluster) -> None:
    cluster.set(**DEATHS_SHOW_SOON)
    options = {"concurrency": 1, "max_receive_count": 100, "visibility_timeout": SOON_VISIBLE}
    queues = [create(f"orphan-{number}", **options) for number in range(3)]
    cluster.ensure(masters=1, workers=1)
    for queue in queues:
        cluster.send(queue, [{"wait": "go"}] * 2)
    eventually(lambda: len(cluster.ledger.events("start")) >= 3, LONG, "all queues are being processed")
    lost = assignments.all_assignments()
    (victim,) = cluster.living("runworker")
    victim_id = given(worker_of(victim)).worker_id
    processes = victim.descendants()
    victim.kill()
    eventually(lambda: gone(processes), LONG, "its consumers have ended by themselves")
    cluster.ensure(masters=1, workers=1)
    successor = cluster.living("runworker")[0]

    def taken_over() -> bool:
        owners = {assignment.worker for assignment in assignments.all_assignments()}
        return owners == {given(worker_of(successor)).worker_id}

    eventually(taken_over, LONG, "the new worker has the queues")
    for assignment in lost:
        job = jobs.by_id(assignment.job_id)
        assert (job.status, job.end_reason) == (JobStatus.ABANDONED, EndReason.WORKER_DIED)
        assert victim_id in (job.last_error or "")
    assert worker_of(victim) is None
    cluster.ledger.release("go")
    cluster.nothing_is_lost()


def test_after_the_death_of_everything_nothing_is_left_behind(cluster: Cluster) -> None:
    cluster.set(**DEATHS_SHOW_SOON)
    options = {"concurrency": 2, "max_receive_count": 100, "visibility_timeout": SOON_VISIBLE}
    queues = [create(f"all-dead-{number}", **options) for number in range(4)]
    cluster.ensure(masters=1, workers=2)
    for queue in queues:
        cluster.send(queue, [{"sleep": 0.1}] * 10)
    eventually(lambda: len(cluster.ledger.events("start")) >= 4, LONG, "messages are being handled")
    processes = [child for process in cluster.living("run") for child in process.descendants()]
    for process in cluster.living("run"):
        process.kill()
    eventually(lambda: gone(processes), LONG, "no process is left")
    cluster.ensure(masters=1, workers=1)
    cluster.nothing_is_lost()
    alive = {worker.pid for worker in cluster.living("runworker")}
    eventually(lambda: [w.pid for w in workers.all_workers()] == [*alive], LONG, "the dead are no more registered")
    assert {job.status for job in all_jobs()} <= {JobStatus.COMPLETED, JobStatus.ABANDONED}


def test_a_frozen_worker_that_thaws_starts_anew_and_takes_nothing_from_its_successor(cluster: Cluster) -> None:
    # It is pruned, and its successor is not, however busy the machine is.
    cluster.set(worker_stalled_after=6)
    queue = create("thaw", concurrency=2, max_receive_count=100, visibility_timeout=SOON_VISIBLE)
    cluster.ensure(masters=1, workers=2)
    cluster.send(queue, [{"wait": "go"}] * 6)
    eventually(lambda: len(cluster.ledger.events("start")) >= 2, LONG, "two messages have been begun")
    frozen = cluster.holder_of(queue)
    before = given(worker_of(frozen)).worker_id
    (lost,) = assignments.all_assignments()
    frozen.send(signal.SIGSTOP)
    eventually(lambda: worker_of(frozen) is None, LONG, "it was pruned")
    eventually(
        lambda: [a for a in assignments.all_assignments() if a.worker != before], LONG, "another one has the queue"
    )
    (successor,) = assignments.all_assignments()
    frozen.send(signal.SIGCONT)
    frozen.says("worker_pruned", LONG)
    # Its consumer drains, handlers and all, before it registers anew: what was begun there is finished there.
    cluster.ledger.release("go")
    eventually(lambda: worker_of(frozen) is not None, LONG, "it has registered again")
    assert given(worker_of(frozen)).worker_id != before
    cluster.nothing_is_lost()
    ended = jobs.by_id(successor.job_id)
    assert (ended.status, ended.processor["workerId"]) == (JobStatus.COMPLETED, successor.worker)
    assert jobs.by_id(lost.job_id).status == JobStatus.ABANDONED
    assert depth(queue).total == 0


def test_a_drain_finishes_what_is_begun_and_leaves_nothing(cluster: Cluster) -> None:
    queue = create("drain", concurrency=2)
    cluster.ensure(masters=1, workers=1)
    cluster.send(queue, [{"wait": "go"}] * 8)
    eventually(lambda: len(cluster.ledger.events("start")) >= 2, LONG, "two messages have been begun")
    (worker,) = cluster.living("runworker")
    processes = worker.descendants()
    worker.send(signal.SIGTERM)
    eventually(lambda: depth(queue) == Depth(6, 2, 0), LONG, "the unstarted messages are visible")
    assert worker.process.poll() is None
    heartbeats = set()

    def beats() -> bool:
        registered = given(worker_of(worker))
        assert registered.draining
        heartbeats.add(registered.heartbeat_at)
        return len(heartbeats) >= 3

    eventually(beats, LONG, "heartbeats go on")
    cluster.ledger.release("go")
    assert worker.process.wait(LONG) == 0
    assert assignments.all_assignments() == []
    assert workers.all_workers() == []
    eventually(lambda: gone(processes), LONG, "no process is left")
    (job,) = all_jobs(queue)
    assert (job.status, job.end_reason, job.message_count) == (JobStatus.COMPLETED, EndReason.SHUTDOWN, 2)
    assert len(cluster.handled()) == 2
    # What was given back is handled by the next worker, without anybody announcing it.
    cluster.ensure(masters=1, workers=1)
    cluster.nothing_is_lost()
    assert set(cluster.handled().values()) == {1}
