"""Promise 1: a message that was sent is handled to success or ends in its dead-letter queue."""

from __future__ import annotations

import pytest

from tests.support.cluster import Cluster
from tests.support.system import create

pytestmark = pytest.mark.timeout(240)


def test_a_worker_is_killed(cluster: Cluster) -> None:
    queue = create("killed-worker", concurrency=3)
    cluster.ensure(masters=1, workers=2)
    cluster.send(queue, [{"sleep": 0.05}] * 40)
    cluster.holder_of(queue).kill()
    cluster.nothing_is_lost()
