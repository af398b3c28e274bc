"""Promise 2: without a fault each message is handled exactly once. Stops, hand-overs and changes are no faults."""

from __future__ import annotations

import itertools
import signal
from collections import Counter

import pytest

from queues import services
from tests.support.cluster import Cluster
from tests.support.ledger import key_of
from tests.support.system import LONG, create
from tests.support.values import given
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(240)


def begun(cluster: Cluster) -> Counter[str]:
    """How often each message's handling was begun."""
    return Counter(str(key_of(event.body)) for event in cluster.ledger.events("start"))


def test_while_everything_changes_hands(cluster: Cluster) -> None:
    cluster.set(max_load=2, time_slice_seconds=1, backlog_per_consumer=40)
    options = {"handler_options": {"sleep": 0.03}}
    queues = [create(f"plain-{n}", concurrency=1 + n, max_consumers=1 + n % 2, **options) for n in range(4)]
    queues += [create("slow", handler="async_recorder", **options), create("grouped.fifo", **options)]
    cluster.ensure(masters=2, workers=2)
    for queue, number in itertools.product(queues, range(5)):
        cluster.send(queue, [{"sleep": 0.03}] * 14, group=f"g{number}" if queue.fifo else None)

    def handled(share: float) -> bool:
        return len(cluster.handled()) >= share * len(cluster.ledger.sent())

    eventually(lambda: handled(0.1), LONG, "a tenth has been handled")
    services.update("plain-3", {"concurrency": 1})
    services.update("plain-0", {"concurrency": 5})
    leaver, *_ = cluster.living("runworker")
    leaver.send(signal.SIGTERM)
    eventually(lambda: handled(0.25), LONG, "a quarter has been handled")
    assert given(cluster.leader()).stop() == 0
    services.set_paused("plain-1", True)
    eventually(lambda: handled(0.4), LONG, "more has been handled")
    services.set_paused("plain-1", False)
    assert leaver.process.wait(LONG) == 0
    cluster.ensure(masters=2, workers=2)
    cluster.nothing_is_lost()
    assert set(begun(cluster).values()) == {1}
    assert cluster.dead_letters() == set()


def test_handlers_that_take_longer_than_the_visibility_timeout(cluster: Cluster) -> None:
    queue = create("long", concurrency=2, visibility_timeout=1)
    cluster.ensure(masters=1, workers=1)
    cluster.send(queue, [{"sleep": 2.5}] * 2 + [{}] * 3)
    cluster.nothing_is_lost()
    assert set(begun(cluster).values()) == {1}
