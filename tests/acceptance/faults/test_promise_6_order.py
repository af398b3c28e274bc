"""Promise 6: a FIFO group's messages are handled one at a time and in order, whatever happens in between."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Sequence
from typing import Any

import pytest

from queues.models import Queue
from queuesite.foundation.processes import signal_all
from tests.chaos.verdict import Fault, Record, judge
from tests.support.cluster import Cluster
from tests.support.system import DEATHS_SHOW_SOON, LONG, SOON_VISIBLE, create
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(240)

GROUPS = ("a", "b", "c")


def out_of_order(cluster: Cluster) -> list[str]:
    """What the ledger says of the order; that messages are handled twice is not the matter here."""
    return judge(
        Record(
            sent=cluster.ledger.sent(),
            events=cluster.ledger.events(),
            dead=cluster.dead_letters(),
            faults=[Fault("any", 0.0, float("inf"), repeats=True)],
        )
    ).problems


def send_to_groups(cluster: Cluster, queues: Sequence[Queue], *what: dict[str, Any]) -> None:
    for queue in queues:
        for group in GROUPS:
            cluster.send(queue, what, group=group)


def more_handled(cluster: Cluster, share: float) -> None:
    """Wait until so much of what was sent has been handled."""
    eventually(lambda: len(cluster.handled()) >= share * len(cluster.ledger.sent()), 2 * LONG, f"{share:.0%} handled")


def test_across_failures_retries_and_dead_letters(cluster: Cluster) -> None:
    queue = create("failing.fifo", concurrency=3, max_receive_count=2)
    cluster.ensure(masters=1, workers=1)
    send_to_groups(cluster, [queue], {"sleep": 0.02}, {"retry": 0, "times": 1}, {}, {"retry": 0}, {}, {"reject": "no"})
    send_to_groups(cluster, [queue], {}, {"fail": 1}, {"sleep": 0.02})
    cluster.nothing_is_lost()
    assert out_of_order(cluster) == []
    assert len(cluster.dead_letters() - set(cluster.handled())) >= 2 * len(GROUPS)


def test_across_deaths_freezes_and_hand_overs(cluster: Cluster) -> None:
    cluster.set(max_load=1, time_slice_seconds=1, **DEATHS_SHOW_SOON)
    options = {"concurrency": 3, "max_receive_count": 100, "visibility_timeout": SOON_VISIBLE}
    queues = [create(f"order-{number}.fifo", **options) for number in range(3)]
    cluster.ensure(masters=1, workers=2)
    # One group dies in each round: a queue pauses the longer, the more of its runs fail in a row.
    for deadly in GROUPS[:2]:
        for queue, group in itertools.product(queues, GROUPS):
            middle = {"die": 9, "times": 1} if group == deadly else {}
            cluster.send(queue, [*[{"sleep": 0.05}] * 4, middle, *[{"sleep": 0.05}] * 3], group=group)
    more_handled(cluster, 0.1)
    first, second = cluster.living("runworker")
    signal_all(cluster.consumers_of(first), signal.SIGKILL)
    more_handled(cluster, 0.25)
    first.send(signal.SIGTERM)
    cluster.start("runworker").says("worker_registered", LONG)
    more_handled(cluster, 0.4)
    frozen = cluster.consumers_of(second)
    signal_all(frozen, signal.SIGSTOP)
    more_handled(cluster, 0.5)
    signal_all(frozen, signal.SIGCONT)
    cluster.answer_by_proxy().cut("DeleteMessageBatch")
    eventually(lambda: cluster.http.count("DeleteMessageBatch"), LONG, "a delete was cut off")
    second.kill()
    cluster.heal()
    cluster.ensure(masters=1, workers=2)
    cluster.nothing_is_lost()
    assert out_of_order(cluster) == []
