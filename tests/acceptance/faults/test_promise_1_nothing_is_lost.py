"""Promise 1: a message that was sent is handled to success or ends in its dead-letter queue, whatever dies.

The worst moment to die is after a handler's success and before its delete, so deletes are held up there.
"""

from __future__ import annotations

import os
import signal

import pytest

from jobs.models import JobStatus
from jobs.repositories import assignments
from queues.models import Queue
from queuesite.foundation.processes import signal_all
from tests.support.cluster import Cluster
from tests.support.ledger import key_of
from tests.support.living import gone
from tests.support.real_sqs import depth
from tests.support.records import all_jobs
from tests.support.system import DEATHS_SHOW_SOON, LONG, SOON_VISIBLE, create
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(240)

WORK = [{"sleep": 0.01}] * 12


def handled_without_deletes(cluster: Cluster, queue: Queue, *, after: bool = False) -> set[str]:
    """Send messages and have some handled while no delete arrives (`after`: is answered); their keys."""
    cluster.answer_by_proxy().cut("DeleteMessageBatch", after=after)
    cluster.send(queue, [{"reject": "no such order"}, *WORK])
    eventually(lambda: len(cluster.ledger.events("end", queue.name)) >= 3, LONG, "three have been handled")
    eventually(lambda: cluster.http.count("DeleteMessageBatch"), LONG, "a delete has been tried")
    return {str(key_of(event.body)) for event in cluster.ledger.events("end", queue.name)}


def kill(cluster: Cluster, queue: Queue, who: str) -> None:
    worker = cluster.holder_of(queue)
    if who == "consumer":
        signal_all(cluster.consumers_of(worker), signal.SIGKILL)
    elif who == "worker":
        worker.kill()
    elif who == "everything":
        for process in cluster.living("run"):
            process.kill()


@pytest.mark.parametrize("who", ["consumer", "worker", "everything"])
def test_death_between_a_handlers_success_and_its_delete(cluster: Cluster, who: str) -> None:
    cluster.set(**DEATHS_SHOW_SOON)
    queue = create(f"killed-{who}", concurrency=3, max_receive_count=100, visibility_timeout=SOON_VISIBLE)
    cluster.ensure(masters=1, workers=2)
    before = handled_without_deletes(cluster, queue)
    kill(cluster, queue, who)
    cluster.ensure(masters=1, workers=2)
    # None of them has been deleted, so all of them come again.
    eventually(lambda: all(cluster.handled()[key] >= 2 for key in before), LONG, "they are handled again")
    cluster.heal()
    cluster.nothing_is_lost()


def test_a_second_signal_ends_a_worker_at_once_and_loses_nothing(cluster: Cluster) -> None:
    cluster.set(**DEATHS_SHOW_SOON)
    queue = create("second-signal", concurrency=2, max_receive_count=100, visibility_timeout=SOON_VISIBLE)
    cluster.ensure(masters=1, workers=1)
    cluster.send(queue, [{"wait": "go"}] * 5)
    eventually(lambda: len(cluster.ledger.events("start", queue.name)) >= 2, LONG, "two have been begun")
    worker = cluster.holder_of(queue)
    consumers = cluster.consumers_of(worker)
    worker.send(signal.SIGTERM)
    worker.says("worker_draining", LONG)
    worker.send(signal.SIGTERM)
    worker.process.wait(LONG)
    eventually(lambda: gone(consumers), LONG, "its consumers have ended")
    assert cluster.handled() == {}
    cluster.ledger.release("go")
    cluster.ensure(masters=1, workers=1)
    cluster.nothing_is_lost()
    assert not assignments.all_assignments()
    assert {job.status for job in all_jobs(queue)} <= {JobStatus.COMPLETED, JobStatus.ABANDONED}


def test_a_delete_whose_answer_is_lost_has_happened(cluster: Cluster) -> None:
    queue = create("answer-lost", concurrency=3, visibility_timeout=10)
    cluster.ensure(masters=1, workers=1)
    handled_without_deletes(cluster, queue, after=True)
    cluster.heal()
    cluster.nothing_is_lost()
    assert set(cluster.handled().values()) == {1}


def test_a_consumer_that_is_frozen_until_its_messages_are_visible_again(cluster: Cluster) -> None:
    queue = create("frozen", concurrency=2, visibility_timeout=SOON_VISIBLE, max_receive_count=100)
    cluster.ensure(masters=1, workers=1)
    cluster.send(queue, [{"sleep": 0.05}] * 40)
    eventually(lambda: cluster.ledger.events("end", queue.name), LONG, "some have been handled")
    (consumer,) = {event.pid for event in cluster.ledger.events("start", queue.name)}
    os.kill(consumer, signal.SIGSTOP)
    eventually(lambda: depth(queue).in_flight == 0, LONG, "what it holds is visible again")
    os.kill(consumer, signal.SIGCONT)
    cluster.nothing_is_lost()


def test_a_message_that_kills_its_consumer_each_time_ends_as_a_dead_letter_alone(cluster: Cluster) -> None:
    queue = create("poison", concurrency=2, visibility_timeout=SOON_VISIBLE, max_receive_count=3)
    cluster.ensure(masters=1, workers=1)
    good = cluster.send(queue, [{"sleep": 0.01}] * 4)
    (poison,) = cluster.send(queue, [{"exit": 3}])
    cluster.nothing_is_lost()
    assert poison not in cluster.handled()
    assert poison in cluster.dead_letters()
    eventually(lambda: set(good) <= set(cluster.handled()), LONG, "the others were handled")
    causes = [job.last_error or "" for job in all_jobs(queue) if job.status == JobStatus.FAILED]
    assert causes
    assert all("exit code 3" in cause for cause in causes)
    later = cluster.send(queue, [{}])
    eventually(lambda: set(later) <= set(cluster.handled()), LONG, "the queue goes on")
