"""Promise 5: a queue with messages is processed, announced or not, whatever was away when they came."""

from __future__ import annotations

import random
import time
from collections import Counter

import pytest

from queues import repository
from queues.models import Queue
from tests.support.cluster import Cluster
from tests.support.records import stored
from tests.support.system import DEATHS_SHOW_SOON, LONG, create, leader_is
from tests.support.values import given
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(240)

ROUNDS = 3


def test_messages_that_come_while_nobody_leads(cluster: Cluster) -> None:
    cluster.set(**DEATHS_SHOW_SOON)
    queues = [create(f"leaderless-{number}") for number in range(3)]
    cluster.ensure(masters=2, workers=1)
    given(eventually(cluster.leader, LONG, "a master leads")).kill()
    for queue in queues:
        cluster.send(queue, [{}] * 3)
    cluster.nothing_is_lost()


def test_a_wake_up_outlives_mongodb_and_the_leader(cluster: Cluster) -> None:
    cluster.set(**DEATHS_SHOW_SOON)
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


def test_messages_that_come_at_the_very_end_of_a_run(cluster: Cluster) -> None:
    """The next message is announced about when the run ends, and the sweep is blind: the wake-up alone tells of it."""
    cluster.ensure(masters=1, workers=2)
    rng = random.Random(1)
    rounds = {queue.name: (queue, ROUNDS) for queue in (create(f"end-{number}") for number in range(10))}
    cluster.answer_by_proxy().refuse("GetQueueAttributes", "RequestThrottled")
    for queue, _ in rounds.values():
        cluster.send(queue, [{}])
    due: dict[str, float] = {}
    deadline = time.monotonic() + 2 * LONG
    while rounds:
        assert time.monotonic() < deadline, f"nobody came for {sorted(rounds)}"
        handled = Counter(event.queue for event in cluster.ledger.events("end"))
        for name, (queue, left) in list(rounds.items()):
            if handled[name] < ROUNDS + 1 - left:
                continue
            # A run ends IDLE_SECONDS (1 s) after its last message.
            moment = due.setdefault(name, time.monotonic() + rng.uniform(0.7, 1.4))
            if time.monotonic() < moment:
                continue
            del due[name]
            if left:
                rounds[name] = (queue, left - 1)
                cluster.send(queue, [{}])
            else:
                del rounds[name]
        time.sleep(0.01)
    cluster.nothing_is_lost()
    assert set(cluster.handled().values()) == {1}


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
