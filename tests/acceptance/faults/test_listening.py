"""Idle queues are listened to: what nobody announces is handled within moments, whatever dies meanwhile."""

from __future__ import annotations

import time

import pytest

from tests.support.cluster import Cluster
from tests.support.system import LONG, create
from tests.support.waiting import eventually
from jobs.repositories import listening

pytestmark = pytest.mark.timeout(240)


def test_x(cluster: Cluster) -> None:
    cluster.set(listen_queues=50, sweep_max_seconds=60, log_level="INFO")
    queues = [create(f"idle-{number}") for number in range(6)]
    cluster.ensure(masters=1, workers=1)
    eventually(lambda: len(listening.all_listening()) == 6, LONG, "listened")
    time.sleep(3)
    for q in queues:
        t = time.monotonic()
        cluster.send(q, [{}], announce=False)
        eventually(lambda: cluster.ledger.events("end", q.name), 20, "handled")
        print(q.name, time.monotonic() - t)
    cluster.nothing_is_lost()
    time.sleep(2)
    for q in queues:
        t = time.monotonic()
        cluster.send(q, [{}], announce=False)
        eventually(lambda: len(cluster.ledger.events("end", q.name)) == 2, 20, "handled")
        print(q.name, time.monotonic() - t)
    cluster.nothing_is_lost()
    assert 0
