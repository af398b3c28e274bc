"""What things cost in requests and database operations. Counts are exact, times are not."""

from __future__ import annotations

import random
from collections.abc import Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from bson import ObjectId

from jobs.consumer.run import Run
from jobs.consumer.settings import QueueSettings, RunLimits
from jobs.master.backlog import Backlog
from jobs.worker.loop import WorkerLoop
from jobs.worker.pool import Pool
from queues import messages, services
from queues.models import Queue
from queues.sqs import Depth, OutgoingMessage, get_gateway
from queuesite.foundation.databases import MONGO, check_mongodb, database_clock
from queuesite.foundation.monitoring import OperationCounter
from tests.support import probe as probes

if TYPE_CHECKING:
    from tests.conftest import Configure

MESSAGES = 400


@pytest.mark.usefixtures("queues")
@pytest.mark.parametrize(("handler", "concurrency"), [("probe", 5), ("async-probe", 50)])
def test_requests_per_message_of_a_full_queue(handler: str, concurrency: int, configure: Configure) -> None:
    configure(max_concurrency=50)
    probes.fresh()
    queue = services.create("orders", settings={"handler": handler, "concurrency": concurrency})
    messages.send("orders", [OutgoingMessage(str(n)) for n in range(MESSAGES)])
    # A linger that is never over: the batches are filled by nothing but messages.
    run = Run(get_gateway(), QueueSettings.of(queue), RunLimits(idle=1, linger=60.0))
    report = run.execute()
    assert report.processed == MESSAGES
    # 0.2 for full batches; the last receives find nothing.
    assert run.meter.total.requests <= 0.2 * MESSAGES + 6


def test_an_idle_queue_is_looked_at_twice_a_minute() -> None:
    backlog = Backlog(1.0, 30.0, 200)
    queue = Queue(id=ObjectId(), name="idle", queue_url="http://sqs/idle")
    now, looks = 0.0, []
    backlog.replace([queue], now)
    random.seed(7)
    while now < 660:
        for due in backlog.due(now, 10):
            looks.append(now)
            backlog.observed(due.id, Depth(0, 0, 0), now, now)
        now = max(now + 0.001, backlog.next_due())
    settled = [at for at in looks if 60 <= at < 660]
    # Each interval is 27 to 30 s.
    assert 20 <= len(settled) <= 23


class Clock:
    """The monotonic clock of the worker's loop, moved by the test."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def counter(mongo: None) -> Iterator[OperationCounter]:
    """Counts the operations of this process, whose connection is made anew with it."""
    from django.db import connections
    from pymongo import monitoring

    counting = OperationCounter()
    before = list(monitoring._LISTENERS.command_listeners)
    counting.register()
    connection: Any = connections[MONGO]
    connection.close_pool()
    yield counting
    monitoring._LISTENERS.command_listeners[:] = before
    connection.close_pool()
    # Connected again for the tests after this one: pytest-django lets none of them open a connection.
    check_mongodb()


def test_operations_of_an_idle_worker_in_a_minute(
    counter: OperationCounter, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    pool = SimpleNamespace(
        ended=list,
        news=list,
        finishing=list,
        declined=list,
        kill_silent=lambda patience: None,
        worker_id="",
        trouble=None,
    )
    idle = WorkerLoop(configure(), cast(Pool, pool), clock.monotonic)
    # Its change stream is open and reports nothing; it asks for changes twelve times a minute, in its own thread.
    silent = SimpleNamespace(
        live=True,
        start=lambda worker_id: None,
        assignments_due=True,
        settings_due=False,
        wanted_due=False,
        drain_asked=False,
    )
    monkeypatch.setattr(idle, "watch", silent)
    database_clock.now()
    idle.turn()
    counter.count = 0
    while clock.now < 60.0:
        clock.now += 0.1
        idle.turn()
    idle.wakeup.close()
    assert counter.count <= 60 - 12
