"""MongoDB killed, cut off or slow: loops go on by themselves, and no message pays for it. SQS: `test_sqs_away`."""

from __future__ import annotations

import pytest

from jobs.repositories import workers
from tests.support.cluster import Cluster
from tests.support.records import all_jobs
from tests.support.system import DEATHS_SHOW_SOON, LONG, create, worker_of
from tests.support.values import given
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(240)

#: Seconds of silence after which a worker counts as dead, where it is to be silent for longer and live: less than an
#: outage that a test has the time for, and more than a busy machine keeps a worker silent afterwards.
SILENT = 5


def test_handlers_go_on_while_mongodb_is_killed_and_what_they_did_is_counted_afterwards(cluster: Cluster) -> None:
    queue = create("mongodb-killed", concurrency=2)
    cluster.ensure(masters=1, workers=1)
    (worker,) = cluster.living("runworker")
    known = given(worker_of(worker)).worker_id
    said = worker.output().count("outage_began")
    cluster.send(queue, [{"sleep": 0.1}] * 60)
    eventually(lambda: len(cluster.handled()) >= 3, LONG, "messages are being handled")
    cluster.kill_mongodb()
    before = len(cluster.handled())
    eventually(lambda: len(cluster.handled()) >= before + 20, LONG, "handlers go on")
    eventually(lambda: worker.output().count("outage_began") > said, LONG, "the worker tells of it")
    cluster.start_again("mongodb")
    cluster.nothing_is_lost()
    assert set(cluster.handled().values()) == {1}
    eventually(lambda: worker.output().count("outage_over") > said, LONG, "the worker tells that it is over")
    assert sum(job.message_count for job in all_jobs(queue)) == 60
    # Nobody could hear its heartbeats, which is not a reason to take it for dead.
    assert given(worker_of(worker)).worker_id == known


@pytest.mark.parametrize(("how", "messages"), [("cut", 10), ("blackhole", 20 * SILENT + 10), ("delay", 20)])
def test_handlers_go_on_while_mongodb_breaks_off_or_is_slow_or_silent_for_longer_than_a_heartbeat_may_be_old(
    cluster: Cluster, how: str, messages: int
) -> None:
    cluster.set(worker_stalled_after=SILENT)
    queue = create(f"mongodb-{how}", concurrency=2)
    cluster.ensure(masters=1, workers=1)
    (worker,) = cluster.living("runworker")
    known = given(worker_of(worker)).worker_id
    cluster.send(queue, [{"sleep": 0.1}] * (messages + 15))
    eventually(lambda: len(cluster.handled()) >= 3, LONG, "messages are being handled")
    if how == "delay":
        cluster.mongodb.delay(0.2)
    else:
        getattr(cluster.mongodb, how)()
    before = len(cluster.handled())
    # Two at a time, 0.1 s each.
    eventually(lambda: len(cluster.handled()) >= before + messages, LONG, "handlers go on")
    cluster.mongodb.heal()
    cluster.nothing_is_lost()
    assert set(cluster.handled().values()) == {1}
    assert given(worker_of(worker)).worker_id == known


def test_everything_is_started_before_its_servers_can_be_reached(cluster: Cluster) -> None:
    queue = create("early")
    cluster.ensure(masters=0, workers=0)
    cluster.mongodb.refuse()
    cluster.sqs.refuse()
    master, worker = cluster.start("runmaster"), cluster.start("runworker")
    for process in (master, worker):
        process.says("server_awaited", LONG)
    cluster.mongodb.heal()
    master.says("server_awaited               ", LONG)
    cluster.send(queue, [{}] * 3)
    cluster.sqs.heal()
    eventually(lambda: worker_of(worker), LONG, "the worker has registered")
    cluster.nothing_is_lost()
    assert (master.process.poll(), worker.process.poll()) == (None, None)


@pytest.mark.parametrize("command", ["runmaster", "runworker"])
def test_mongodb_breaks_off_in_the_middle_of_a_start(cluster: Cluster, command: str) -> None:
    way = cluster.another_way()
    way.hold_when(lambda data: b"createIndexes" in data)
    process = cluster.start(command, mongodb_uri=cluster.through(way))
    assert way.holding.wait(LONG)
    way.refuse()
    way.heal()
    started = "master_started" if command == "runmaster" else "worker_registered"
    eventually(lambda: started in process.output() or process.process.poll() is not None, LONG, "it starts, or dies")
    assert started in process.output(), process.output()
    assert process.stop() == 0


def test_a_worker_that_mongodb_cannot_hear_is_not_lost_to_it(cluster: Cluster) -> None:
    """After an outage that is longer than a heartbeat may be old, a worker that lives is there, old or new."""
    cluster.set(**DEATHS_SHOW_SOON)
    queue = create("unheard", concurrency=1)
    cluster.ensure(masters=1, workers=1)
    way = cluster.another_way()
    unheard = cluster.start("runworker", mongodb_uri=cluster.through(way))
    eventually(lambda: worker_of(unheard), LONG, "it has registered")
    for other in cluster.living("runworker"):
        if other is not unheard:
            other.stop()
    cluster.send(queue, [{"wait": "go"}] * 2)
    eventually(lambda: cluster.ledger.events("start"), LONG, "a message has been begun")
    way.refuse()
    eventually(lambda: worker_of(unheard) is None, LONG, "it counts as dead")
    way.heal()
    cluster.ledger.release("go")
    eventually(lambda: worker_of(unheard), LONG, "it has registered anew")
    cluster.nothing_is_lost()
    eventually(lambda: [one.pid for one in workers.all_workers()] == [unheard.pid], LONG, "it alone is registered")
    assert set(cluster.handled().values()) == {1}
    unheard.stop()
