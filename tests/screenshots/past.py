"""The shop's last day, written into the database, so that charts and lists are not those of its first minute."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from bson import ObjectId

from jobs import histogram
from jobs.handler_models import HandlerVersion
from jobs.models import Failure, FailureCount, Job, JobStatus
from jobs.repositories import failures, handlers, throughput
from jobs.repositories.jobs import Processor
from queues import services
from queues.models import DepthSample, Queue
from queuesite.foundation.databases import collection, database_clock
from queuesite.foundation.documents import to_document

if TYPE_CHECKING:
    from tests.screenshots.shop import Line

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
#: How far back minutes and jobs go.
MINUTES, JOB_HOURS = 120, 30
OLD, NEW = "2026.11.4", "2026.11.5"
DEPLOYED = timedelta(hours=3)


def write(lines: Sequence[Line]) -> None:
    """Write what the queues did before now. The same each time, but for the time of day."""
    chance = random.Random(7)
    now = database_clock.now()
    queues = {queue.name: queue for queue in services.list_queues()}
    usual = [line for line in lines if line.rate]
    throughput.add(row for line in usual for row in _minutes(queues[line.name], line, now, chance))
    handlers.add(done for line in usual for done in _hours(line, now, chance))
    _versions(lines, now)
    _depths([queues[line.name] for line in usual], now, chance)
    collection(Job).insert_many(
        [to_document(job) for line in usual for job in _jobs(queues[line.name], line, now, chance)]
    )


def write_failures() -> None:
    """Give the kinds of failure that were seen since the start the counts of a day."""
    chance = random.Random(11)
    now = database_clock.now().replace(minute=0, second=0, microsecond=0)
    for kind in collection(Failure).find():
        counts = {now - hours * HOUR: chance.randrange(3, 40) for hours in range(1, 20)}
        collection(FailureCount).insert_many(
            to_document(
                FailureCount(
                    id=f"{kind['queueId']} {kind['fingerprint']} {hour:%Y-%m-%dT%H}",
                    queue_url=kind["queueUrl"],
                    fingerprint=kind["fingerprint"],
                    hour=hour,
                    count=count,
                    expires_at=hour + failures.HOURS_KEPT,
                )
            )
            for hour, count in counts.items()
        )
        collection(Failure).update_one(
            {"_id": kind["_id"]},
            {"$inc": {"count": sum(counts.values())}, "$set": {"firstSeenAt": min(counts) + chance.random() * HOUR}},
        )


def _wave(at: datetime) -> float:
    """How busy a shop is at this time, 0.6 to 1.4."""
    return 1 + 0.4 * math.sin(at.timestamp() / 1_700)


def _minutes(queue: Queue, line: Line, now: datetime, chance: random.Random) -> Iterator[throughput.Row]:
    for ago in range(MINUTES):
        minute = now.replace(second=0, microsecond=0) - ago * MINUTE
        seconds = 60 if ago else now.second
        every = max(1, round(seconds * line.rate * _wave(minute) * chance.uniform(0.85, 1.15)))
        failed = round(every * line.failed * chance.uniform(0.7, 1.3))
        took = [line.took * chance.lognormvariate(0, 0.5) for _ in range(every)]
        waits = [chance.lognormvariate(-1.5, 1) for _ in range(every)]
        yield throughput.Row(
            queue.id, queue.name, minute, every - failed, failed, requests=every // 2 + 3,
            durations=histogram.counts(took), duration_sum=sum(took),
            purposes={"receive": every // 4 + 2, "delete": every // 4 + 1},
            waits=histogram.counts(waits, histogram.WAIT_BOUNDS), wait_sum=sum(waits),
        )  # fmt: skip


def _hours(line: Line, now: datetime, chance: random.Random) -> Iterator[handlers.Done]:
    for ago in range(24):
        hour = now - ago * HOUR
        version = NEW if ago * HOUR < DEPLOYED else OLD
        # The new version is the one that fails: that is what its handler's page is asked.
        failed = line.failed if version == NEW else line.failed / 12
        every = round(3_600 * line.rate * _wave(hour))
        took = [line.took * chance.lognormvariate(0, 0.5) for _ in range(every)]
        waits = [chance.lognormvariate(-1.5, 1) for _ in range(every)]
        yield handlers.Done(
            line.handler, version, hour, round(every * (1 - failed)), round(every * failed), duration_sum=sum(took),
            durations=histogram.counts(took), waits=histogram.counts(waits, histogram.WAIT_BOUNDS),
        )  # fmt: skip


def _versions(lines: Sequence[Line], now: datetime) -> None:
    for name in sorted({line.handler for line in lines}):
        announced = now - DEPLOYED - timedelta(days=2)
        made = HandlerVersion(
            id=f"{OLD} {name}", name=name, version=OLD, first_announced_at=announced, announced_at=now - DEPLOYED
        )
        collection(HandlerVersion).insert_one(to_document(made))


def _depths(queues: Sequence[Queue], now: datetime, chance: random.Random) -> None:
    samples = []
    for ago in range(1, MINUTES):
        minute = now.replace(second=0, microsecond=0) - ago * MINUTE
        visible = {queue.id: round(6 * _wave(minute) * chance.random()) for queue in queues}
        # A quarter of an hour ago there was a rush.
        visible[queues[1].id] += round(180 * math.exp(-(((ago - 18) / 5) ** 2)))
        for queue_id, count in [*visible.items(), (None, sum(visible.values()))]:
            samples.append(
                to_document(
                    DepthSample(
                        id=f"{queue_id or 'all'}-{minute:%Y%m%dT%H%M}", queue_id=queue_id, minute=minute, visible=count,
                        in_flight=min(count, 5), delayed=0, expires_at=minute + timedelta(days=7),
                    )
                )
            )  # fmt: skip
    collection(DepthSample).insert_many(samples)


def _jobs(queue: Queue, line: Line, now: datetime, chance: random.Random) -> Iterator[Job]:
    began = now - JOB_HOURS * HOUR
    while began < now - 5 * MINUTE:
        length = timedelta(seconds=chance.uniform(20, 600))
        handled = max(1, round(line.rate * length.total_seconds()))
        version = NEW if now - began < DEPLOYED else OLD
        failed = round(handled * line.failed * (1 if version == NEW else 1 / 12))
        yield Job(
            id=ObjectId(), queue_name=queue.name, queue_url=queue.queue_url, queue_id=queue.id,
            status=JobStatus.COMPLETED, message_count=handled - failed, failed_count=failed,
            processor=Processor(f"shop-{chance.choice('ab')}-1207-f3a1", "shop-a", 1207, 1644).as_document(),
            handler=line.handler, handler_version=version, created_at=began, started_at=began + timedelta(seconds=0.2),
            ended_at=began + length, last_modified=began + length, end_reason="drained",
        )  # fmt: skip
        began += length + timedelta(minutes=chance.uniform(2, 40))
