"""Measurements of idle queues that a listener holds: how soon a message is handled that nobody announces, and the cost.

Messages are sent by bare boto3, as any other program sends them. The floor is a long poll of bare boto3 on the same
server: the time that the server itself takes until it answers a poll.
"""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import psutil

from jobs.benchmark.fleet import Latencies, Stamps, leading, process, registered, until
from jobs.benchmark.report import MIB, Figure, at_most, decimals, mb, ms
from jobs.benchmark.scale import in_parallel
from jobs.repositories import assignments, workers
from queues import services
from queues.models import Queue
from queuesite.foundation.addresses import embedded_keys, sqs_address
from queuesite.foundation.config import Config

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient

#: Idle queues of one worker while latencies are measured, and while the listener is weighed.
QUEUES = 200
MANY_QUEUES = 1_000
#: Messages, and seconds for which requests and CPU are counted.
SAMPLES = 50
WATCHED_SECONDS = 40.0


@dataclass(frozen=True)
class Idle:
    """What was measured. Times are in seconds."""

    #: From before a send to the answer of a long poll, and to the start of the handler.
    floor: Latencies
    latencies: Latencies
    #: Messages that had been received more than once when they were handled.
    received_again: int
    #: The listener's requests in a minute, for each queue.
    requests: float
    #: Of the listener at `MANY_QUEUES`: its own bytes, and its share of a core.
    memory: int
    cpu: float


def measure(config: Config, directory: Path, stamps: Stamps, progress: Callable[[int], None]) -> Idle:
    """Measure one worker with many idle queues."""
    address = sqs_address(config)
    keys = embedded_keys(config) if config.embedded_sqs else {}
    make: Any = boto3.client  # whose types know no keys from a mapping
    client = make("sqs", region_name=config.aws_region, endpoint_url=None if address == "aws" else address, **keys)
    queues: list[Queue] = []
    in_parallel(lambda number: queues.append(_create(number)), range(QUEUES))
    with process(directory, "runmaster"), process(directory, "runworker", listen_queues=MANY_QUEUES):
        until(lambda: leading() and registered(1)(), "a master and a worker are there")
        until(lambda: _polls() == QUEUES, "all queues are listened to", 0.1)
        floor = _floor(client, f"{config.queue_name_prefix}idle-floor")
        latencies = []
        for number in range(SAMPLES):
            queue, body = random.choice(queues), f"idle-{number}"
            until(lambda: len(assignments.all_assignments()) < 3, "most of the worker's places are free", 0.05)
            sent_at = time.monotonic()
            client.send_message(QueueUrl=queue.queue_url, MessageBody=body)
            until(lambda body=body: stamps.of(body) is not None, "the message is handled", 0.002)  # type: ignore[misc]
            latencies.append((stamps.of(body) or 0.0) - sent_at)
            progress(1)
        until(lambda: not assignments.all_assignments() and _polls() == QUEUES, "all queues are idle again", 0.1)
        before, began = _requests(), time.monotonic()
        time.sleep(WATCHED_SECONDS)
        requests = (_requests() - before) / QUEUES / (time.monotonic() - began) * 60
        in_parallel(_create, range(QUEUES, MANY_QUEUES))
        until(lambda: _polls() == MANY_QUEUES, "a thousand queues are listened to", 0.2)
        memory, cpu = _weigh(psutil.Process(int(_listener()["pid"])))
    again = sum(stamp.get("receives", 1) > 1 for stamp in stamps.read() if stamp["body"].startswith("idle-"))
    return Idle(Latencies(tuple(floor)), Latencies(tuple(latencies)), again, requests, memory, cpu)


def _create(number: int) -> Queue:
    return services.create(f"idle-{number}", with_dlq=False, settings={"handler": "benchmark-stamp"})


def _listener() -> dict[str, int]:
    return next((dict(worker.listener) for worker in workers.all_workers()), {})


def _polls() -> int:
    return _listener().get("polls", 0)


def _requests() -> int:
    return _listener().get("requests", 0)


def _floor(client: SQSClient, name: str) -> list[float]:
    """How long the server takes to answer a long poll once a message comes."""
    url = client.create_queue(QueueName=name)["QueueUrl"]
    found = []
    for number in range(20):
        answered: list[float] = []

        def poll(answered: list[float] = answered) -> None:
            client.receive_message(QueueUrl=url, WaitTimeSeconds=20)
            answered.append(time.monotonic())

        thread = threading.Thread(target=poll)
        thread.start()
        time.sleep(random.uniform(0.3, 0.5))
        sent_at = time.monotonic()
        client.send_message(QueueUrl=url, MessageBody=str(number))
        thread.join()
        found.append(answered[0] - sent_at)
    return found


def _weigh(listener: psutil.Process) -> tuple[int, float]:
    began, before = time.monotonic(), listener.cpu_times()
    time.sleep(WATCHED_SECONDS)
    after = listener.cpu_times()
    used = after.user + after.system - before.user - before.system
    return listener.memory_full_info().uss, used / (time.monotonic() - began)


def figures(measured: Idle) -> list[Figure]:
    """The rows of the report."""
    n, floor = f"{QUEUES} idle queues", statistics.median(measured.floor.samples)
    worst = max(measured.latencies.samples)
    return [
        Figure(f"{n}: a bare long poll is answered after, median", floor, ms(floor)),
        at_most(f"{n}: send by others to handler, median", measured.latencies.median, 0.15, ms),
        at_most(f"{n}: send by others to handler, worst of {SAMPLES}", worst, 1.0, ms),
        at_most(f"{n}: messages received more than once", measured.received_again, 0, str),
        at_most(f"{n}: requests a minute of each", measured.requests, 3.2, decimals),
        at_most(f"{MANY_QUEUES:,} idle queues: memory of the listener's own", measured.memory, 80 * MIB, mb),
        at_most(f"{MANY_QUEUES:,} idle queues: CPU of the listener (cores)", measured.cpu, 0.1, decimals),
    ]
