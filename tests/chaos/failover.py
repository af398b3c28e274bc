"""`python -m tests.chaos.failover --kills 10`: how long hand-overs take with the default settings, as a table.

What is measured begins with the signal and ends when a handler begins with a message, which is later than the moment
at which the queue is assigned.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING

from tests.chaos.alone import say, set_up

if TYPE_CHECKING:
    from queues.models import Queue
    from tests.support.cluster import Cluster

#: The settings that tests make small; a failover is measured with the defaults.
SMALL = (
    "HEARTBEAT_SECONDS",
    "WORKER_STALLED_AFTER",
    "LEASE_SECONDS",
    "IDLE_SECONDS",
    "SWEEP_MAX_SECONDS",
)
#: No failover may take longer, in seconds.
LONGEST = 120.0

Measure = Callable[["Cluster", "Queue"], float]


def leader_ends(number: signal.Signals) -> Measure:
    """From the leader's signal until a message that is announced then is begun."""

    def measure(cluster: Cluster, queue: Queue) -> float:
        cluster.ensure(masters=2, workers=1)
        leader = cluster.leader()
        assert leader is not None
        began = time.monotonic()
        leader.send(number)
        cluster.send(queue, [{}])
        return begun(cluster, queue, set()) - began

    return measure


def worker_killed(cluster: Cluster, queue: Queue) -> float:
    """From the worker's kill until a message of its queue is begun by another."""
    cluster.ensure(masters=2, workers=2)
    before = at_work(cluster, queue)
    victim = cluster.holder_of(queue)
    began = time.monotonic()
    victim.kill()
    return begun(cluster, queue, before) - began


def consumer_killed(cluster: Cluster, queue: Queue) -> float:
    """From the consumer's kill until a message of its queue is begun by another."""
    cluster.ensure(masters=2, workers=1)
    from queuesite.foundation.processes import signal_all

    before = at_work(cluster, queue)
    consumers = [c for c in cluster.consumers_of(cluster.holder_of(queue)) if c.pid in before]
    began = time.monotonic()
    signal_all(consumers, signal.SIGKILL)
    return begun(cluster, queue, before) - began


def at_work(cluster: Cluster, queue: Queue) -> set[int]:
    """Have the queue processed, with more messages than its consumer holds; the consumer's pid."""
    from tests.support.waiting import eventually

    cluster.send(queue, [{"sleep": 0.2}] * 60)
    eventually(lambda: len(cluster.ledger.events("start", queue.name)) >= 5, LONGEST, "it is being processed")
    return {event.pid for event in cluster.ledger.events("start", queue.name)}


def begun(cluster: Cluster, queue: Queue, before: set[int]) -> float:
    """When the first consumer that is none of these began with a message of the queue."""
    from tests.support.waiting import eventually

    def first() -> float | None:
        times = [event.at for event in cluster.ledger.events("start", queue.name) if event.pid not in before]
        return min(times, default=None)

    return eventually(first, LONGEST, "a message is begun") or 0.0


MEASURES: dict[str, Measure] = {
    "leader, SIGKILL": leader_ends(signal.SIGKILL),
    "leader, SIGTERM": leader_ends(signal.SIGTERM),
    "worker, SIGKILL": worker_killed,
    "consumer, SIGKILL": consumer_killed,
}


def main() -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.failover", description=__doc__)
    parser.add_argument("--kills", type=int, default=10, help="how often each is killed (default: 10)")
    options = parser.parse_args()
    directory = set_up("queuesite-failover-")
    from tests.support.cluster import Cluster
    from tests.support.system import create

    cluster = Cluster(directory)
    for name in SMALL:
        del cluster.environment[name]
    rows = ["| what ends | times | median | worst |", "|---|---:|---:|---:|"]
    try:
        with cluster.connected():
            for index, (what, measure) in enumerate(MEASURES.items()):
                taken = []
                for number in range(options.kills):
                    queue = create(f"probe-{index}-{number}", concurrency=2, visibility_timeout=30)
                    taken.append(measure(cluster, queue))
                    say(f"{what} {number + 1}: {taken[-1]:.2f} s")
                    cluster.begin_anew()
                rows.append(f"| {what} | {len(taken)} | {statistics.median(taken):.1f} s | {max(taken):.1f} s |")
    finally:
        with redirect_stdout(StringIO()):  # each process's last lines
            cluster.close()
    say("\n" + "\n".join(rows))
    shutil.rmtree(directory, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
