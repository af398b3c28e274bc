"""Promise 5: a queue with messages is processed, announced or not, whatever was away when they came."""

from __future__ import annotations

import pytest

from jobs.repositories import assignments
from queues import repository
from queues.models import Queue
from tests.support.cluster import Cluster
from tests.support.records import stored
from tests.support.system import LONG, create, leader_is
from tests.support.values import given
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(240)

#: Longer than a test may take: only a wake-up leads to a queue then.
NO_SWEEP = 300


def test_messages_that_come_while_nobody_leads(cluster: Cluster) -> None:
    queues = [create(f"leaderless-{number}") for number in range(3)]
    cluster.ensure(masters=2, workers=1)
    given(cluster.leader()).kill()
    for queue in queues:
        cluster.send(queue, [{}] * 3)
    cluster.nothing_is_lost()


def test_messages_that_come_at_the_very_end_of_a_run(cluster: Cluster) -> None:
    """The next message is announced in the moment in which the assignment ends; no sweep would find it in time."""
    cluster.ensure(masters=0, workers=0)
    cluster.set(sweep_max_seconds=NO_SWEEP)
    cluster.ensure(masters=1, workers=2)
    waiting = {queue.id: (queue, 4) for queue in (create(f"end-{number}") for number in range(8))}
    for queue, _ in waiting.values():
        cluster.send(queue, [{}])

    def another_round() -> bool:
        held = {assignment.queue_id for assignment in assignments.all_assignments()}
        handled = {event.queue for event in cluster.ledger.events("end")}
        for queue_id, (queue, rounds) in list(waiting.items()):
            if queue_id in held or queue.name not in handled:
                continue
            if rounds:
                waiting[queue_id] = (queue, rounds - 1)
                cluster.send(queue, [{}])
            else:
                del waiting[queue_id]
        return not waiting

    try:
        eventually(another_round, 2 * LONG, "all rounds were sent")
        cluster.nothing_is_lost()
    finally:
        cluster.ensure(masters=0, workers=0)
        cluster.set(sweep_max_seconds=2)


@pytest.mark.parametrize("server", ["mongodb", "sqs"])
def test_messages_that_come_while_a_server_cannot_be_reached(cluster: Cluster, server: str) -> None:
    announced, silent = create(f"{server}-announced"), create(f"{server}-silent")
    cluster.ensure(masters=1, workers=1)
    # Of MongoDB's absence the master notices by itself; of that of SQS the consumer of the queue that was announced.
    (noticing,) = cluster.living("runmaster" if server == "mongodb" else "runworker")
    said = noticing.output().count("outage_began")
    proxy = getattr(cluster, server)
    proxy.refuse()
    cluster.send(announced, [{}] * 3)
    cluster.send(silent, [{}] * 3, announce=False)
    eventually(lambda: noticing.output().count("outage_began") > said, LONG, "the outage is noticed")
    assert cluster.handled() == {}
    proxy.heal()
    cluster.nothing_is_lost()
    assert set(cluster.handled().values()) == {1}


def test_a_wake_up_outlives_mongodb_and_the_leader(cluster: Cluster) -> None:
    queue = create("outlives")
    cluster.ensure(masters=1, workers=1)
    cluster.mongodb.refuse()
    cluster.send(queue, [{}] * 3)
    assert wake_pending(queue)
    given(next(iter(cluster.living("runmaster")))).kill()
    cluster.kill_mongodb()
    cluster.start_again("mongodb")
    assert wake_pending(queue)
    cluster.heal()
    successor = cluster.start("runmaster")
    eventually(lambda: leader_is(successor), LONG, "the new master leads")
    cluster.nothing_is_lost()
    assert not wake_pending(queue)


def wake_pending(queue: Queue) -> bool:
    assert repository.by_ids([queue.id])
    return stored(queue).wake_pending
