"""Promise 3: one leader acts. Two masters never both schedule, and what a stale leader still writes changes nothing."""

from __future__ import annotations

import re
import signal

import pytest

from jobs.models import JobStatus
from jobs.repositories import assignments
from tests.chaos.traffic import Watch
from tests.support.cluster import Cluster, term
from tests.support.records import all_jobs
from tests.support.system import LONG, create, leader_is
from tests.support.tcp_proxy import TcpProxy
from tests.support.values import given
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(240)

#: Of a lease, in seconds, where a leader loses it once and its successor must keep it, however busy the machine is.
LEASE = 6


def makes_assignments(data: bytes) -> bool:
    """Whether these bytes are MongoDB's command to insert into `assignments`, or to upsert."""
    name = b"assignments\x00"
    value = len(name).to_bytes(4, "little") + name
    return any(b"\x02" + command + b"\x00" + value in data for command in (b"insert", b"update"))


def test_a_leader_that_was_frozen_past_its_lease_does_nothing_wrong(cluster: Cluster) -> None:
    cluster.set(lease_seconds=LEASE)
    queues = [create(f"frozen-leader-{number}") for number in range(4)]
    cluster.ensure(masters=2, workers=1)
    watch = Watch(cluster)
    watch.start()
    frozen, standby = cluster.leader(), cluster.standby()
    assert frozen is not None
    before = term()
    frozen.send(signal.SIGSTOP)
    eventually(lambda: leader_is(standby), LONG, "the standby leads")
    for queue in queues:
        cluster.send(queue, [{"sleep": 0.01}] * 5)
    eventually(lambda: cluster.ledger.events("start"), LONG, "messages are being handled")
    frozen.send(signal.SIGCONT)
    cluster.nothing_is_lost()
    for queue in queues:
        cluster.send(queue, [{}])
    cluster.nothing_is_lost()
    watch.stop()
    assert watch.stale == []
    assert term() == before + 1
    assert leader_is(standby)
    assert set(cluster.handled().values()) == {1}
    assert {job.status for job in all_jobs()} == {JobStatus.COMPLETED}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_standby_takes_over_from_a_leader_that_ends(cluster: Cluster, number: signal.Signals) -> None:
    cluster.set(lease_seconds=LEASE)
    queue = create(f"leader-ends-{number}")
    cluster.ensure(masters=2, workers=1)
    leader, standby, before = given(cluster.leader()), cluster.standby(), term()
    leader.send(number)
    assert leader.process.wait(LONG) == (0 if number is signal.SIGTERM else -signal.SIGKILL)
    eventually(lambda: leader_is(standby), LONG, "the other one leads")
    assert term() == before + 1
    cluster.send(queue, [{}])
    cluster.nothing_is_lost()


def test_an_assignment_that_arrives_after_the_next_election_changes_nothing(cluster: Cluster) -> None:
    """The network holds a leader's insert back until another leads: no freeze of the process could be worse timed."""
    cluster.set(lease_seconds=LEASE)
    cluster.ensure(masters=0, workers=2)
    slow = cluster.another_way()
    # Its client must not give the insert up before it arrives.
    patient = f"{cluster.through(slow)}&connectTimeoutMS=60000&socketTimeoutMS=60000"
    late = cluster.start("runmaster", mongodb_uri=patient)
    eventually(lambda: leader_is(late), LONG, "the master with the slow network leads")
    cluster.start("runmaster").says("master_started", LONG)
    queue = create("late-insert", concurrency=2)
    slow.hold_when(makes_assignments)
    cluster.send(queue, [{"sleep": 0.01}] * 10)
    assert slow.holding.wait(LONG)
    stale_term = term()
    eventually(lambda: term() > stale_term, LONG, "the other one was elected")
    cluster.nothing_is_lost()
    slow.heal()
    eventually(lambda: "leadership_lost" in late.output(), LONG, "the late one knows that it leads no more")
    # The slot is free, so that the unique index lets the late assignment in: who sees it must know its term.
    eventually(
        lambda: not [a for a in assignments.all_assignments() if a.term <= stale_term], LONG, "no stale one is left"
    )
    cluster.send(queue, [{}])
    cluster.nothing_is_lost()
    assert set(cluster.handled().values()) == {1}
    # A stale one that was handed back has woken its queue, so that further runs may begin after the messages' own.
    over = {JobStatus.COMPLETED, JobStatus.ABANDONED}
    eventually(lambda: {job.status for job in all_jobs(queue)} <= over, LONG, "its runs have ended, and none failed")
    _, first_term, *_ = late.output().split("leadership_won")
    stale = set(re.findall(r"queue_assigned .*\bjob_id=(\w+) .*\bqueue=late-insert ", first_term))
    assert stale, "the insert was held back"
    assert not [job for job in all_jobs(queue) if str(job.id) in stale and job.started_at is not None]
    late.stop()


def test_a_leader_whose_network_to_mongodb_breaks_gives_way(cluster: Cluster) -> None:
    cluster.set(lease_seconds=LEASE)
    cluster.ensure(masters=0, workers=1)
    broken = cluster.another_way()
    lonely = cluster.start("runmaster", mongodb_uri=cluster.through(broken))
    eventually(lambda: leader_is(lonely), LONG, "the master whose network will break leads")
    other = cluster.start("runmaster")
    other.says("master_started", LONG)
    queue = create("lonely-leader")
    cut_off(broken)
    cluster.send(queue, [{}] * 5)
    eventually(lambda: leader_is(other), LONG, "the other one leads")
    cluster.nothing_is_lost()
    broken.heal()
    eventually(lambda: "outage_over" in lonely.output(), LONG, "the first one is back")
    cluster.send(queue, [{}] * 5)
    cluster.nothing_is_lost()
    assert leader_is(other)
    assert set(cluster.handled().values()) == {1}
    lonely.stop()


def cut_off(proxy: TcpProxy) -> None:
    """Refuse is what a firewall or a dead switch looks like to a process that connects anew."""
    proxy.refuse()
