"""Masters and workers as real processes: stopped, killed, frozen and thawed, while messages are handled.

What was handled is read from the ledger that the handlers write; what the system says of itself, from its documents.
"""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.models import EndReason, Job, JobStatus
from jobs.repositories import assignments, jobs, leases, workers
from queues.sqs import Depth, get_gateway
from queuesite.foundation.databases import collection
from tests.support.records import all_jobs, assign, stored
from tests.support.system import (
    LONG,
    System,
    all_handled,
    create,
    depth,
    do,
    gone,
    leader_is,
    send,
    started,
    worker_of,
)
from tests.support.waiting import eventually

pytestmark = [pytest.mark.usefixtures("queues"), pytest.mark.timeout(180)]


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    made = System(tmp_path)
    yield made
    made.close()


class TestStopOfAWorker:
    def test_it_finishes_what_it_has_begun_gives_back_the_rest_and_leaves_nothing(self, system: System) -> None:
        queue = create(concurrency=2, visibility_timeout=600)
        _, worker = system.both()
        send(queue, *[do(wait="go")] * 10)
        started(system, 2)
        eventually(lambda: depth(queue) == Depth(0, 10, 0), LONG, "all messages are held")
        consumers = worker.descendants()
        worker.send(signal.SIGTERM)
        eventually(lambda: depth(queue) == Depth(8, 2, 0), LONG, "the unstarted messages are visible")
        assert worker.process.poll() is None
        heartbeats = set()

        def beats() -> bool:
            registered = worker_of(worker)
            assert registered is not None
            assert registered.draining
            heartbeats.add(registered.heartbeat_at)
            return len(heartbeats) >= 3

        eventually(beats, LONG, "heartbeats go on")
        system.ledger.release("go")
        assert worker.process.wait(LONG) == 0
        assert workers.all_workers() == []
        assert assignments.all_assignments() == []
        (job,) = all_jobs(queue)
        assert (job.status, job.end_reason, job.message_count) == (JobStatus.COMPLETED, EndReason.SHUTDOWN, 2)
        assert depth(queue) == Depth(8, 0, 0)
        assert len(system.ledger.handled()) == 2
        eventually(lambda: gone(consumers), LONG, "no process is left")
        # What was given back is handled by the next worker, without anybody announcing it.
        system.worker()
        eventually(lambda: len(system.ledger.handled()) == 10, LONG, "all messages were handled")

    def test_idle_it_stops_at_once(self, system: System) -> None:
        worker = system.worker()
        assert worker.stop() == 0
        assert workers.all_workers() == []
        assert "worker_stopped" in worker.output()

    def test_an_assignment_that_comes_while_it_stops_is_handed_back(self, system: System) -> None:
        busy = create("busy", visibility_timeout=600)
        master, worker = system.both()
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
        eventually(
            lambda: assignment.id not in {a.id for a in assignments.all_assignments()}, LONG, "it was handed back"
        )
        (job,) = all_jobs(late)
        assert (job.status, job.end_reason) == (JobStatus.COMPLETED, EndReason.SHUTDOWN)
        assert stored(late).wake_pending
        system.ledger.release("go")
        assert worker.process.wait(LONG) == 0
        master.send(signal.SIGCONT)

    def test_a_second_signal_ends_it_at_once_and_nothing_is_lost(self, system: System) -> None:
        queue = create(concurrency=2)
        _, worker = system.both()
        ids = send(queue, *[do(wait="go")] * 5)
        started(system, 2)
        consumers = worker.descendants()
        worker.send(signal.SIGTERM)
        worker.says("worker_draining", LONG)
        worker.send(signal.SIGTERM)
        worker.process.wait(LONG)
        eventually(lambda: gone(consumers), LONG, "no process is left")
        assert system.ledger.handled() == {}
        system.ledger.release("go")
        system.worker()
        all_handled(system, ids)
        assert {job.status for job in all_jobs(queue)} <= {JobStatus.COMPLETED, JobStatus.ABANDONED}

    def test_handlers_that_outlast_the_grace_are_killed_and_their_messages_come_back(self, system: System) -> None:
        system.set(shutdown_grace_seconds=2)
        queue = create()
        _, worker = system.both()
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


class TestDeath:
    def test_of_a_consumer(self, system: System) -> None:
        queue = create(concurrency=2)
        system.both()
        ids = send(queue, *["plain"] * 5, do(die=9, times=1), *["plain"] * 5)
        all_handled(system, ids)
        failed = [job for job in all_jobs(queue) if job.status == JobStatus.FAILED]
        assert failed
        for job in failed:
            assert job.end_reason == EndReason.CRASHED
            assert job.last_error == (
                f"the consumer process {job.processor['consumerPid']} was killed by signal 9 (SIGKILL)"
            )
        assert all_jobs(queue)[-1].status == JobStatus.COMPLETED
        assert depth(queue) == Depth(0, 0, 0)

    def test_of_consumers_again_and_again_until_the_message_is_a_dead_letter(self, system: System) -> None:
        queue = create(max_receive_count=2, visibility_timeout=1)
        assert queue.dlq_url is not None
        system.both()
        (poison,) = send(queue, do(exit=3))
        dlq_url = queue.dlq_url
        eventually(lambda: get_gateway().depth(dlq_url).total == 1, LONG, "it is in the dead-letter queue")
        good = send(queue, "plain")
        all_handled(system, good)
        assert poison not in system.ledger.handled()
        causes = {job.last_error for job in all_jobs(queue) if job.status == JobStatus.FAILED}
        assert all("exit code 3" in (cause or "") for cause in causes)
        assert causes

    def test_of_a_worker(self, system: System) -> None:
        queue = create(concurrency=2)
        _, victim = system.both()
        ids = send(queue, *[do(wait="go")] * 6)
        started(system, 2)
        registered = worker_of(victim)
        assert registered is not None
        (lost,) = assignments.all_assignments()
        assert lost.worker == registered.worker_id
        other = system.worker()
        consumers = victim.descendants()
        victim.kill()
        eventually(lambda: gone(consumers), LONG, "its consumers have ended by themselves")

        def taken_over() -> bool:
            successor = worker_of(other)
            assert successor is not None
            return [a.worker for a in assignments.all_assignments()] == [successor.worker_id]

        eventually(taken_over, LONG, "the other worker has the queue")
        job = jobs.by_id(lost.job_id)
        assert (job.status, job.end_reason) == (JobStatus.ABANDONED, EndReason.WORKER_DIED)
        assert registered.worker_id in (job.last_error or "")
        assert worker_of(victim) is None
        system.ledger.release("go")
        all_handled(system, ids)
        assert depth(queue) == Depth(0, 0, 0)

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
    def test_of_the_leading_master(self, system: System, number: signal.Signals) -> None:
        queue = create()
        masters = [system.master(), system.master()]
        eventually(lambda: any(map(leader_is, masters)), LONG, "one of them leads")
        leader, standby = sorted(masters, key=leader_is, reverse=True)
        system.worker()
        all_handled(system, send(queue, "before"))
        lease = leases.leader()
        assert lease is not None
        leader.send(number)
        assert leader.process.wait(LONG) == (0 if number is signal.SIGTERM else -signal.SIGKILL)
        eventually(lambda: leader_is(standby), LONG, "the other one leads")
        successor = leases.leader()
        assert successor is not None
        assert successor.term == lease.term + 1
        all_handled(system, send(queue, "after"))
        assert len(all_jobs(queue)) >= 2

    def test_of_both_master_and_worker_in_the_middle_of_it(self, system: System) -> None:
        queue = create(concurrency=2)
        master, worker = system.both()
        ids = send(queue, *[do(wait="go")] * 6)
        started(system, 2)
        worker.kill()
        master.kill()
        system.ledger.release("go")
        system.worker()
        system.master()
        all_handled(system, ids)
        assert {job.status for job in all_jobs(queue)} <= {JobStatus.ABANDONED, JobStatus.COMPLETED}

    def test_fifo_order_holds_across_a_crash(self, system: System) -> None:
        queue = create("orders.fifo", max_receive_count=100, concurrency=3)
        system.both()
        bodies = ["a0", "a1", do(die=9, times=1), "a3", "a4"]
        ids = send(queue, *bodies, group="a")
        all_handled(system, ids)
        order = list(dict.fromkeys(event.body for event in system.ledger.events("end")))
        assert order == bodies


class TestFreeze:
    def test_a_worker_that_thaws_finds_itself_pruned_and_registers_anew(self, system: System) -> None:
        queue = create(concurrency=1)
        _, worker = system.both()
        ids = send(queue, *[do(wait="go")] * 3)
        started(system, 1)
        before = worker_of(worker)
        assert before is not None
        (lost,) = assignments.all_assignments()
        worker.send(signal.SIGSTOP)
        eventually(lambda: worker_of(worker) is None, LONG, "it was pruned")
        eventually(lambda: jobs.by_id(lost.job_id).status == JobStatus.ABANDONED, LONG, "its job was abandoned")
        worker.send(signal.SIGCONT)
        system.ledger.release("go")
        eventually(lambda: worker_of(worker) is not None, LONG, "it has registered again")
        after = worker_of(worker)
        assert after is not None
        assert after.worker_id != before.worker_id
        assert "worker_pruned" in worker.output()
        all_handled(system, ids)
        assert jobs.by_id(lost.job_id).status == JobStatus.ABANDONED

    def test_a_leader_that_thaws_has_lost_its_lease_and_does_nothing_wrong(self, system: System) -> None:
        queues = [create(f"q{number}") for number in range(4)]
        masters = [system.master(), system.master()]
        eventually(lambda: any(map(leader_is, masters)), LONG, "one of them leads")
        leader, standby = sorted(masters, key=leader_is, reverse=True)
        leader.send(signal.SIGSTOP)
        eventually(lambda: leader_is(standby), LONG, "the other one leads")
        system.worker()
        ids = [message for queue in queues for message in send(queue, *["m"] * 5)]
        started(system, 1)
        leader.send(signal.SIGCONT)
        all_handled(system, ids)
        assert set(system.ledger.handled().values()) == {1}
        assert leader_is(standby)
        assert {job.status for job in all_jobs()} == {JobStatus.COMPLETED}


class TestConsumers:
    def test_they_are_used_again_up_to_their_limit_and_then_replaced(self, system: System) -> None:
        system.set(consumer_usage_limit=2)
        queue = create()
        system.both()
        for number in range(5):
            all_handled(system, send(queue, f"m{number}"))
        with_messages = [job for job in all_jobs(queue) if job.message_count]
        assert [job.message_count for job in with_messages] == [1] * 5
        pids = [job.processor["consumerPid"] for job in all_jobs(queue)]
        uses = {pid: pids.count(pid) for pid in pids}
        assert max(uses.values()) == 2
        assert len(uses) >= 3
        assert [str(event.pid) for event in system.ledger.events("end")] == [
            job.processor["consumerPid"] for job in with_messages
        ]

    def test_a_waiting_queue_gets_its_turn(self, system: System) -> None:
        system.set(max_load=1, time_slice_seconds=1)
        first, second = (create(name, concurrency=1, handler_options={"sleep": 0.05}) for name in ("first", "second"))
        system.both()
        ids = send(first, *["m"] * 60) + send(second, *["m"] * 60)
        all_handled(system, ids)
        assert set(system.ledger.handled().values()) == {1}
        yielded = [job for job in all_jobs() if job.end_reason == EndReason.YIELDED]
        assert yielded
        order = [event.queue for event in system.ledger.events("start")]
        assert sum(a != b for a, b in itertools.pairwise(order)) >= 2
        assert sum(job.message_count for job in all_jobs()) == 120


class TestSeveralConsumers:
    def test_a_large_backlog_is_shared(self, system: System) -> None:
        system.set(backlog_per_consumer=10, max_load=2)
        queue = create(concurrency=1, max_consumers=3, handler_options={"sleep": 0.02})
        system.both()
        system.worker()
        ids = send(queue, *["m"] * 150)
        all_handled(system, ids)
        assert set(system.ledger.handled().values()) == {1}
        assert len({event.pid for event in system.ledger.events("end")}) > 1
        assert system.ledger.most_at_once() <= 3
        assert sum(job.message_count for job in all_jobs(queue)) == 150


def test_a_worker_that_was_started_before_its_master_waits_for_it(system: System) -> None:
    queue = create()
    ids = send(queue, "m")
    system.worker()
    assert collection(Job).count_documents({}) == 0
    system.master()
    all_handled(system, ids)
