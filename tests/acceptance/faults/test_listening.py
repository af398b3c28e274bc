"""Idle queues are listened to: what nobody announces is handled within moments, whatever dies while it is handed over.

The sweep looks at a queue once in a minute here, so that no message is found by it.
"""

from __future__ import annotations

import random
import signal
import time
from contextlib import suppress

import psutil
import pytest

from jobs.repositories import listening
from queues import services
from queues.models import Queue
from queues.sqs import get_gateway
from queuesite.foundation.processes import signal_all
from tests.support.background import Background
from tests.support.cluster import Cluster
from tests.support.ledger import key_of
from tests.support.system import DEATHS_SHOW_SOON, LONG, SOON_VISIBLE, create, worker_of
from tests.support.values import given
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(autouse=True)
def listening_is_on(cluster: Cluster) -> None:
    # Polls of queues of the test before would be open for up to 20 s.
    for worker in cluster.living("runworker"):
        signal_all(cluster.listeners_of(worker), signal.SIGKILL)
    # A worker that is full gives back what its open polls bring, which costs a receive.
    cluster.set(listen_queues=50, sweep_max_seconds=60, max_load=10)


def listened(*queues: Queue) -> None:
    """Wait until the workers' listeners poll all of these."""

    def polled() -> bool:
        held = {entry.queue_id: entry.worker for entry in listening.all_listening()}
        return {queue.id for queue in queues} <= held.keys()

    eventually(polled, LONG, "each queue has a listener")


def polls(worker: Background) -> int:
    """The open polls of a worker's listener that runs, as of its last heartbeat."""
    registered = worker_of(worker)
    if registered is None or not psutil.pid_exists(int(registered.listener.get("pid", 0))):
        return 0
    return int(registered.listener["polls"])


def listener_of(worker: Background, *, but: int = 0) -> psutil.Process:
    """The listener process of a worker that runs, another one than `but`."""

    def found() -> psutil.Process | None:
        registered = worker_of(worker)
        pid = int(registered.listener.get("pid", 0)) if registered is not None else 0
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(pid) if pid not in (0, but) else None
        return None

    return given(eventually(found, LONG, "the worker has a listener"))


def receive_counts(cluster: Cluster) -> set[int]:
    """How often the messages had been received when they were handled."""
    return {event.receive_count for event in cluster.ledger.events("start")}


def test_promise_5_also_for_messages_that_nobody_announces(cluster: Cluster) -> None:
    queues = [create(f"idle-{number}") for number in range(8)]
    cluster.ensure(masters=1, workers=1)
    (worker,) = cluster.living("runworker")
    listened(*queues)
    eventually(lambda: polls(worker) == len(queues), LONG, "all are polled")
    rng = random.Random(5)
    for _ in range(2 * len(queues)):
        queue = rng.choice(queues)
        (key,) = cluster.send(queue, [{}], announce=False)
        eventually(lambda key=key: key in cluster.handled(), LONG, "it is handled")  # type: ignore[misc]
    # Announced or not, a message that comes during a run or at its end is no other: each is received once.
    for _ in range(10):
        cluster.send(rng.choice(queues), [{}], announce=rng.random() < 0.5)
        time.sleep(rng.uniform(0.0, 0.4))
    cluster.nothing_is_lost()
    assert set(cluster.handled().values()) == {1}
    assert receive_counts(cluster) == {1}


def test_order_holds_across_hand_overs(cluster: Cluster) -> None:
    queue = create("groups.fifo", concurrency=5)
    cluster.ensure(masters=1, workers=1)
    listened(queue)
    for number in range(12):
        cluster.send(queue, [{}, {}], group=f"g{number % 3}", announce=number % 4 == 0)
    cluster.nothing_is_lost()
    for group in ("g0", "g1", "g2"):
        sent = [message.key for message in cluster.ledger.sent() if message.group == group]
        handled = [key for event in cluster.ledger.events("end") if (key := key_of(event.body)) in set(sent)]
        assert handled == sent
    assert receive_counts(cluster) == {1}


def test_sqs_is_cut_off_while_polls_are_open(cluster: Cluster) -> None:
    queues = [create(f"cut-{number}") for number in range(4)]
    cluster.ensure(masters=1, workers=1)
    (worker,) = cluster.living("runworker")
    listened(*queues)
    eventually(lambda: polls(worker) == len(queues), LONG, "all are polled")
    cluster.sqs.refuse()
    for queue in queues:
        cluster.send(queue, [{}], announce=False)
    worker.says("SQS (listen)", LONG)
    cluster.sqs.heal()
    cluster.nothing_is_lost()
    assert set(cluster.handled().values()) == {1}


def test_a_paused_queue_is_let_go_and_what_its_last_poll_brings_is_given_back(cluster: Cluster) -> None:
    queue = create("paused")
    cluster.ensure(masters=1, workers=1)
    (worker,) = cluster.living("runworker")
    listened(queue)
    eventually(lambda: polls(worker) == 1, LONG, "it is polled")
    services.set_paused(queue.name, True)
    eventually(lambda: not given(worker_of(worker)).listener.get("queues"), LONG, "the queue is let go")
    cluster.send(queue, [{}], announce=False)
    eventually(lambda: polls(worker) == 0, LONG, "its last poll has ended")
    eventually(lambda: get_gateway().depth(queue.queue_url).visible == 1, LONG, "its message is visible")
    assert cluster.handled() == {}
    services.set_paused(queue.name, False)
    cluster.nothing_is_lost()


def test_a_worker_that_drains_leaves_what_comes_to_others(cluster: Cluster) -> None:
    queues = [create(f"drain-{number}") for number in range(4)]
    cluster.ensure(masters=1, workers=1)
    (worker,) = cluster.living("runworker")
    listened(*queues)
    eventually(lambda: polls(worker) == len(queues), LONG, "all are polled")
    worker.stop()
    # Nobody is left whose poll could take them.
    for queue in queues:
        cluster.send(queue, [{}], announce=False)
    cluster.ensure(masters=1, workers=1)
    cluster.nothing_is_lost()
    assert receive_counts(cluster) == {1}


@pytest.mark.parametrize("victim", ["listener", "worker", "leader"])
def test_nothing_is_lost_with_whoever_has_the_messages(cluster: Cluster, victim: str) -> None:
    cluster.set(**DEATHS_SHOW_SOON)
    queues = [create(f"{victim}-{number}", visibility_timeout=SOON_VISIBLE) for number in range(4)]
    cluster.ensure(masters=2, workers=2)
    listened(*queues)
    rng = random.Random(victim)
    for _ in range(3):
        listening_ones = eventually(
            lambda: [one for one in cluster.living("runworker") if cluster.listeners_of(one)], LONG, "somebody listens"
        )
        worker = rng.choice(given(listening_ones))
        for queue in queues:
            cluster.send(queue, [{}] * 3, announce=False)
        time.sleep(rng.uniform(0.0, 0.15))
        if victim == "listener":
            signal_all(cluster.listeners_of(worker), signal.SIGKILL)
        elif victim == "worker":
            worker.kill()
        else:
            given(eventually(cluster.leader, LONG, "a master leads")).kill()
        cluster.ensure(masters=2, workers=2)
        listened(*queues)
    cluster.nothing_is_lost()


def test_a_frozen_listener_is_replaced(cluster: Cluster) -> None:
    cluster.set(**DEATHS_SHOW_SOON)
    queue = create("frozen", visibility_timeout=SOON_VISIBLE)
    cluster.ensure(masters=1, workers=1)
    (worker,) = cluster.living("runworker")
    listened(queue)
    frozen = listener_of(worker)
    frozen.send_signal(signal.SIGSTOP)
    cluster.send(queue, [{}] * 3, announce=False)
    listener_of(worker, but=frozen.pid)
    cluster.nothing_is_lost()
