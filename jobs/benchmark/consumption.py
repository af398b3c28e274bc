"""One consumer against the floor: the same messages, on the same server, in one run."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from typing import Any

import psutil
from bson import ObjectId

from jobs.benchmark import floor
from jobs.benchmark.floor import Target, Usage
from jobs.consumer.report import RunReport
from jobs.consumer.settings import QueueSettings
from jobs.worker.pool import Pool
from queues import messages
from queues.models import Queue
from queues.sqs import OutgoingMessage
from queuesite.foundation.addresses import embedded_keys, sqs_address
from queuesite.foundation.config import Config
from queuesite.foundation.errors import ServerError

#: How long a run may take, in seconds.
LONGEST = 900.0

Progress = Callable[[int], None]


def fill(queue: Queue, count: int, progress: Progress = lambda sent: None) -> None:
    """Send `count` messages, numbered from 0."""
    report = messages.send(queue.name, [OutgoingMessage(str(n)) for n in range(count)], progress)
    if report.failures:
        raise ServerError(f"SQS refused {len(report.failures)} of {count} messages of the benchmark; run it again")


def measure_floor(config: Config, queue: Queue, count: int, threads: int) -> Usage:
    """What bare boto3 takes for `count` messages that are in the queue, with as many threads as we have slots."""
    address = sqs_address(config)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    keys = embedded_keys(config) if config.embedded_sqs else {}
    target = Target(queue.queue_url, config.aws_region, None if address == "aws" else address, keys)
    process = context.Process(target=floor.measure, args=(theirs, target, count, threads))
    process.start()
    theirs.close()
    try:
        if not ours.poll(LONGEST):
            raise ServerError(f"the floor was not measured within {LONGEST:g} s")
        usage: Usage = ours.recv()
        return usage
    except EOFError:
        raise ServerError("the process that measures the floor ended; its error is above") from None
    finally:
        process.terminate()
        process.join()
        ours.close()


def measure_consumer(pool: Pool, queue: Queue, count: int) -> Usage:
    """Measure a consumer process of ours on the `count` messages in the queue.

    It has served a queue before, as most have: creating its client is not part of the work, nor is it in the floor's.
    """
    began = time.monotonic()
    consumer = pool.obtain()
    process = psutil.Process(consumer.pid)
    before = process.cpu_times()
    job_id = ObjectId()
    consumer.start(job_id, QueueSettings.of(queue))
    report: RunReport | None = None
    after = before
    memory = 0
    while report is None:
        if time.monotonic() - began > LONGEST:
            raise ServerError(f"the consumer did not end within {LONGEST:g} s")
        readable, _ = pool.sources()
        wait(readable, timeout=0.5)
        try:
            after = process.cpu_times()
            memory = max(memory, process.memory_full_info().uss)
        except psutil.NoSuchProcess:
            pass
        report = dict(pool.ended()).get(job_id)
    if report.processed != count or report.last_end is None or report.first_start is None:
        raise ServerError(f"the consumer handled {report.processed} of {count} messages ({report.last_error})")
    work = [news.work for of_job, news in pool.news() if of_job == job_id]
    span = report.last_end - report.first_start
    return Usage(
        messages=count,
        cpu_seconds=(after.user + after.system) - (before.user + before.system),
        wall_seconds=report.last_end - began,
        requests=sum(part.requests for part in work),
        memory_bytes=memory,
        occupied=sum(part.seconds for part in work) / (span * queue.concurrency) if span else None,
        started_after=report.first_start - began,
    )


def measure_starts(config: Config, queue: Queue, samples: int) -> float:
    """Median time until a consumer process that is forked for it handles its first message, in seconds."""
    found = []
    for _ in range(samples):
        fill(queue, 1)
        pool = Pool(config)  # it has no idle process; the fork server is there
        try:
            found.append(measure_consumer(pool, queue, 1).started_after)
        finally:
            pool.close(2.0)
    return statistics.median(found)


def with_our_handlers(environment: dict[str, str], **more: Any) -> dict[str, str]:
    """An environment in which processes know the benchmark's handlers."""
    modules = [name for name in environment.get("HANDLER_MODULES", "").split(",") if name]
    named = {name.upper(): str(value) for name, value in more.items()}
    return {**environment, "HANDLER_MODULES": ",".join([*modules, "jobs.benchmark.handlers"]), **named}
