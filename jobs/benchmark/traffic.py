"""Records of an hour of traffic on many queues, and more of them every second, as masters and workers write them."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId
from django.db import models

from jobs import histogram
from jobs.benchmark.scale import Progress
from jobs.models import EndReason, Failure, Job, JobStatus
from jobs.placement import Announcement
from jobs.repositories import throughput, workers
from jobs.throughput_models import Throughput, ThroughputOfAll
from queues import repository
from queues.handlers.announcement import Announced
from queues.models import Queue
from queues.sqs import Depth
from queuesite.foundation.databases import collection, database_clock
from queuesite.foundation.documents import to_document

WORKERS, CAPACITY = 4, 5
#: Queues with work in each minute of the last hour. The others have some every ten minutes.
BUSY = 40
JOBS_EACH = 5
FAILURES = 60
#: Queues whose depth is observed, and whose work is reported, each second.
OBSERVED, REPORTED = 50, 20
_MINUTE = timedelta(minutes=1)
_HANDLER_SECONDS = 0.12


def fill(count: int, progress: Progress) -> list[Queue]:
    """Store `count` queues with an hour's records, as far as the pages of the admin read them."""
    now = database_clock.now()
    queues = [_queue(number, now) for number in range(count)]
    _store(Queue, queues)
    progress(count)
    minutes = [now.replace(second=0, microsecond=0) - back * _MINUTE for back in range(60)]
    worked = [
        (queue, minute)
        for number, queue in enumerate(queues)
        for minute in (minutes if number < BUSY else minutes[number % 10 :: 10])
    ]
    _store(Throughput, [_minute(queue, minute) for queue, minute in worked])
    together = Counter(minute for _, minute in worked)
    _store(ThroughputOfAll, [_minute_of_all(minute, number) for minute, number in together.items()])
    _store(Job, [_job(queue, now, number, of) for number, queue in enumerate(queues) for of in range(JOBS_EACH)])
    _store(Failure, [_failure(queue, now, number) for number, queue in enumerate(queues[:FAILURES])])
    announced = Announcement("default", "1", (Announced("log", "1"),))
    for number in range(WORKERS):
        workers.register(f"simulated-{number}", "simulated", 1, CAPACITY, announced)
    return queues


class Traffic:
    """A thread that goes on with it until `stop`."""

    def __init__(self, queues: Sequence[Queue]) -> None:
        self._queues = queues
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, within a second or so."""
        self._stopping.set()
        self._thread.join(10)

    def _run(self) -> None:
        while not self._stopping.wait(1.0):
            now = database_clock.now()
            for number in range(WORKERS):
                workers.heartbeat(f"simulated-{number}", [])
            seen = random.sample(self._queues, min(OBSERVED, len(self._queues)))
            repository.observed({queue.id: Depth(random.randrange(200), 5, 0) for queue in seen})
            done = self._queues[: min(REPORTED, BUSY)]
            throughput.add(throughput.Row(queue.id, queue.name, now, 5, requests=2) for queue in done)


def _store(model: type[models.Model], instances: Sequence[models.Model]) -> None:
    for place in range(0, len(instances), 1_000):
        collection(model).insert_many([to_document(one) for one in instances[place : place + 1_000]], ordered=False)


def _queue(number: int, now: datetime) -> Queue:
    """Some of each kind: with a backlog, paused, with dead letters, crash-looping."""
    return Queue(
        id=ObjectId(),
        name=f"team-{number % 20:02}-orders-of-region-{number:05}",
        queue_url=f"http://sqs/benchmark-{number:05}",
        handler="log",
        created_at=now,
        depth_visible=number % 7 * 10,
        depth_in_flight=number % 3,
        depth_observed_at=now - timedelta(seconds=number % 30),
        dlq_url=f"http://sqs/benchmark-{number:05}-dlq",
        dead_letters=int(number % 13 == 0),
        paused=number % 50 == 0,
        crash_count=2 * (number % 100 == 1),
    )


def _minute(queue: Queue, minute: datetime) -> Throughput:
    return Throughput(
        id=f"{queue.id}-{minute:%Y%m%dT%H%M}",
        queue_id=queue.id,
        queue_name=queue.name,
        failed=2 * int(queue.name.endswith("7")),
        **_work(minute, 1),
    )


def _minute_of_all(minute: datetime, queues: int) -> ThroughputOfAll:
    return ThroughputOfAll(id=f"{minute:%Y%m%dT%H%M}", failed=queues // 5, **_work(minute, queues))


def _work(minute: datetime, queues: int) -> dict[str, Any]:
    """What so many queues did in a minute."""
    return {
        "minute": minute,
        "processed": 60 * queues,
        "requests": 12 * queues,
        "durations": histogram.as_document(histogram.counts([_HANDLER_SECONDS] * 60 * queues)),
        "duration_sum": 60 * _HANDLER_SECONDS * queues,
        "expires_at": minute + throughput.MINUTES_KEPT,
    }


def _job(queue: Queue, now: datetime, number: int, of: int) -> Job:
    begun = now - timedelta(seconds=number + 600 * of)
    return Job(
        id=ObjectId(),
        queue_name=queue.name,
        queue_url=queue.queue_url,
        queue_id=queue.id,
        status=JobStatus.COMPLETED,
        message_count=60,
        end_reason=EndReason.DRAINED,
        created_at=begun,
        started_at=begun,
        ended_at=begun + timedelta(seconds=8),
        last_modified=begun,
        processor={"workerId": f"simulated-{number % WORKERS}", "consumerPid": 1},
    )


def _failure(queue: Queue, now: datetime, number: int) -> Failure:
    return Failure(
        id=ObjectId(),
        queue_url=queue.queue_url,
        queue_id=queue.id,
        queue_name=queue.name,
        fingerprint=f"{number:032x}",
        exception_type="TimeoutError",
        place="shop.orders:ship",
        message="the carrier did not answer",
        traceback="Traceback (most recent call last):\nTimeoutError: the carrier did not answer\n",
        count=number + 1,
        first_seen_at=now - timedelta(hours=1),
        last_seen_at=now - timedelta(seconds=number),
    )
