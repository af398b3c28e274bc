"""Promise 3, where machines do not agree on the time: leases, heartbeats and dates are the database's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jobs.models import JobStatus
from jobs.repositories import leases
from tests.support.cluster import Cluster, term
from tests.support.records import all_jobs
from tests.support.system import LONG, create, leader_is
from tests.support.waiting import eventually

# Long, since programs whose clock libfaketime moves take several times the CPU of others.
pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]

#: Of Debian's package `faketime`; the variant for programs with threads.
LIBFAKETIME = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
#: Mends what it breaks.
SITE = Path(__file__).parents[2] / "support" / "faketime"


def test_clocks_of_machines_that_are_minutes_apart_change_nothing(cluster: Cluster) -> None:
    if not LIBFAKETIME:
        assert "CI" not in os.environ, "CI installs faketime: see .ci/run"
        pytest.skip("libfaketime is not installed (Debian: apt-get install faketime)")

    def clock(offset: str) -> dict[str, str]:
        # The monotonic clock stays: two machines differ in that anyhow, and the ledger's times are by it.
        return {
            "ld_preload": str(LIBFAKETIME[0]),
            "faketime": offset,
            "dont_fake_monotonic": "1",
            "faketime_dont_fake_monotonic": "1",
            "pythonpath": str(SITE),
        }

    cluster.ensure(masters=0, workers=0)
    fast = cluster.start("runmaster", **clock("+7m"))
    workers = [cluster.start("runworker", **clock(offset)) for offset in ("-9m", "+11m")]
    eventually(lambda: leader_is(fast), LONG, "the fast master leads")
    slow = cluster.start("runmaster", **clock("-6m"))
    for worker in workers:
        worker.says("worker_registered", LONG)
    slow.says("master_started", LONG)
    lease = leases.leader()
    assert lease is not None
    queues = [create(f"clocks-{number}") for number in range(4)]
    for queue in queues:
        cluster.send(queue, [{"sleep": 0.02}] * 10)
    cluster.nothing_is_lost()
    assert term() == lease.term
    fast.kill()
    eventually(lambda: leader_is(slow), LONG, "the slow master leads")
    for queue in queues:
        cluster.send(queue, [{"sleep": 0.02}] * 10)
    cluster.nothing_is_lost()
    assert set(cluster.handled().values()) == {1}
    assert {job.status for job in all_jobs()} == {JobStatus.COMPLETED}
    assert not [worker for worker in workers if "worker_pruned" in worker.output()]
