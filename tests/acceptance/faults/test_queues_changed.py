"""Queues that somebody deletes, purges or changes in SQS while they are processed."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from jobs.models import EndReason, JobStatus
from queues import messages, services
from queues.sqs import OutgoingMessage, get_gateway
from queuesite.foundation.errors import QueuesiteError
from tests.support.cluster import Cluster
from tests.support.real_sqs import depth
from tests.support.records import all_jobs, stored
from tests.support.system import LONG, create, ended_jobs
from tests.support.values import given
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(autouse=True)
def processes(cluster: Cluster) -> Iterator[None]:
    """A master and a worker, whom none of these changes may harm."""
    cluster.ensure(masters=1, workers=1)
    before = {process.pid for process in cluster.living("run")}
    yield
    assert {process.pid for process in cluster.living("run")} == before


def begun(cluster: Cluster, count: int, queue: str) -> None:
    eventually(lambda: len(cluster.ledger.events("start", queue)) >= count, LONG, f"{count} have been begun")


def test_deleted_in_sqs_by_somebody_else_while_its_messages_are_handled(cluster: Cluster) -> None:
    queue, other = create("deleted", concurrency=2), create("beside")
    cluster.send(queue, [{"wait": "go"}] * 6)
    begun(cluster, 2, queue.name)
    get_gateway().delete_queue(queue.queue_url)
    cluster.ledger.release("go")
    # A receive that was under way when the queue went may still answer that it is empty: the run is drained then.
    eventually(lambda: ended_jobs(queue), LONG, "its run has ended")
    services.notify(queue.name)
    eventually(
        lambda: EndReason.QUEUE_MISSING in {job.end_reason for job in ended_jobs(queue)}, LONG, "a run names the cause"
    )
    keys = cluster.send(other, [{}] * 5)
    eventually(lambda: set(keys) <= set(cluster.handled()), LONG, "other queues go on")
    # It is made anew by a sync, as its definition has it.
    services.delete(queue.name)
    again = create("deleted", concurrency=2)
    keys = cluster.send(again, [{}] * 5)
    eventually(lambda: set(keys) <= set(cluster.handled()), LONG, "the new queue is processed")


def test_purged_while_it_is_processed(cluster: Cluster) -> None:
    queue = create("purged", concurrency=1)
    cluster.send(queue, [{"wait": "go"}] * 20)
    begun(cluster, 1, queue.name)
    services.purge(queue.name)
    assert depth(queue).total == 0
    keys = cluster.send(queue, [{}] * 5)
    cluster.ledger.release("go")
    eventually(lambda: set(keys) <= set(cluster.handled()), LONG, "what came after the purge is handled")
    eventually(lambda: {job.status for job in all_jobs(queue)} == {JobStatus.COMPLETED}, LONG, "its runs are completed")


def test_its_dead_letter_queue_is_missing_for_a_while(cluster: Cluster) -> None:
    queue = create("no-dlq", max_receive_count=100)
    dlq_url = given(queue.dlq_url)
    get_gateway().delete_queue(dlq_url)
    (rejected, *_) = cluster.send(queue, [{"reject": "no such order"}, {}, {}])
    eventually(lambda: len(cluster.ledger.events("fail", queue.name)) >= 2, LONG, "it is kept and tried again")
    made = get_gateway().create_queue(services.sqs_name("no-dlq-dlq"), services.dlq_attributes(queue.name))
    assert made == dlq_url
    cluster.nothing_is_lost()
    assert rejected in cluster.dead_letters()
    assert rejected not in cluster.handled()


def test_its_visibility_timeout_is_changed_while_it_is_processed(cluster: Cluster) -> None:
    queue = create("visibility", concurrency=1)
    cluster.send(queue, [{"wait": "go"}] * 5)
    begun(cluster, 1, queue.name)
    services.update(queue.name, {"visibility_timeout": 2})
    cluster.ledger.release("go")
    eventually(lambda: len(cluster.handled()) == 5, LONG, "what was held has been handled")
    cluster.send(queue, [{"sleep": 3}, {}, {}])
    cluster.nothing_is_lost()
    assert set(cluster.handled().values()) == {1}


def test_a_redrive_is_interrupted_half_way(cluster: Cluster) -> None:
    queue = create("redrive", max_receive_count=1)
    get_gateway().send(
        given(queue.dlq_url),
        [OutgoingMessage(json.dumps({"n": f"redrive/{number}", "do": {}})) for number in range(10)],
    )
    gateway = get_gateway()
    send, moved = gateway.send, []

    def interrupted(*args: object, **options: object) -> object:
        moved.append(send(*args, **options))  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gateway, "send", interrupted)
        with pytest.raises((KeyboardInterrupt, QueuesiteError)):
            messages.redrive(queue.name)
    assert moved
    # Sent, and not deleted: in both queues now, in neither case lost; and the queue was woken for what has moved.
    expected = {f"redrive/{number}" for number in range(10)}
    eventually(lambda: set(cluster.handled()) == expected, LONG, "what was moved is handled")
    assert not stored(queue).paused
    assert get_gateway().depth(given(queue.dlq_url)).total == 10
