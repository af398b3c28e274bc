"""SQS restarted, slow, throttling, failing in part: loops go on by themselves, and no message pays for it."""

from __future__ import annotations

import pytest

from tests.chaos.faults import half_fails
from tests.support.cluster import Cluster
from tests.support.system import LONG, create
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(240)

#: Requests of each kind that SQS refuses with each of the codes: more than the three tries of a transport.
THROTTLED = 4
THROTTLING = {"RequestThrottled": 400, "ServiceUnavailable": 503}


def test_sqs_is_restarted(cluster: Cluster) -> None:
    queue = create("sqs-restarted", concurrency=2)
    cluster.ensure(masters=1, workers=1)
    cluster.send(queue, [{"sleep": 0.05}] * 30)
    eventually(lambda: len(cluster.handled()) >= 3, LONG, "messages are being handled")
    (worker,) = cluster.living("runworker")
    said = worker.output().count("outage_over")
    cluster.stop_sqs()
    eventually(lambda: worker.output().count("outage_began") > said, LONG, "its consumer tells of it")
    cluster.start_again("sqs")
    eventually(lambda: worker.output().count("outage_over") > said, LONG, "and that it is over")
    cluster.nothing_is_lost()


def test_sqs_swallows_requests_and_answers_late(cluster: Cluster) -> None:
    queue = create("sqs-swallows", concurrency=2)
    cluster.ensure(masters=1, workers=1)
    cluster.send(queue, [{"sleep": 0.02}] * 30)
    eventually(lambda: len(cluster.handled()) >= 3, LONG, "messages are being handled")
    cluster.sqs.blackhole()
    assert cluster.sqs.holding.wait(LONG)
    cluster.sqs.heal()
    cluster.sqs.delay(0.1)
    cluster.nothing_is_lost()
    cluster.sqs.heal()
    assert set(cluster.handled().values()) == {1}


def test_sqs_throttles(cluster: Cluster) -> None:
    queue = create("throttled", concurrency=2)
    cluster.ensure(masters=1, workers=1)
    http = cluster.answer_by_proxy()
    before = http.count("DeleteMessageBatch")
    for code, status in THROTTLING.items():
        for action in ("ReceiveMessage", "DeleteMessageBatch", "GetQueueAttributes"):
            http.refuse(action, code, status=status, times=THROTTLED)
    cluster.send(queue, [{"sleep": 0.02}] * 25)
    cluster.nothing_is_lost()
    assert set(cluster.handled().values()) == {1}
    assert http.count("DeleteMessageBatch") - before > THROTTLED * len(THROTTLING)
    (worker,) = cluster.living("runworker")
    said = worker.output()
    # Some are overcome by the client's own repetitions, of which nothing is said.
    assert [code for code in THROTTLING if code in said] != []


def test_sqs_fails_single_entries_of_batches(cluster: Cluster) -> None:
    queue = create("entries", concurrency=3)
    cluster.ensure(masters=1, workers=1)
    http = cluster.answer_by_proxy()
    http.answer("DeleteMessageBatch", half_fails(), times=6)
    http.answer("ChangeMessageVisibilityBatch", half_fails(), times=3)
    cluster.send(queue, [{"sleep": 0.01}, {"retry": 0, "times": 1}, {"sleep": 0.02}] * 10)
    cluster.nothing_is_lost()
    assert set(cluster.handled().values()) == {1}
