"""The floor: bare boto3, receive ten and delete ten, nothing else. What no consumer of SQS in Python can go below."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import boto3
from botocore.config import Config as BotoConfig


@dataclass(frozen=True)
class Target:
    """Where the floor receives from."""

    queue_url: str
    region: str
    endpoint: str | None
    #: boto3's names of keys and their values; empty: boto3's usual chain.
    keys: Mapping[str, Any]


@dataclass(frozen=True)
class Usage:
    """What a number of messages took: seconds of CPU and of time, requests to SQS, and memory of the process's own."""

    messages: int
    cpu_seconds: float
    wall_seconds: float
    requests: int
    memory_bytes: int = 0
    #: Share of the slots' time that was spent in handlers, from the first start to the last end.
    occupied: float | None = None
    #: Seconds until the first handler began.
    started_after: float = 0.0


def measure(pipe: Connection, target: Target, messages: int, threads: int) -> None:
    """Receive and delete `messages` messages; sends a `Usage`. The target of a fresh process."""
    client: Any = boto3.client(
        "sqs",
        region_name=target.region,
        endpoint_url=target.endpoint,
        **target.keys,
        config=BotoConfig(max_pool_connections=threads),
    )
    lock = threading.Lock()
    left, requests = messages, 0

    def loop() -> None:
        nonlocal left, requests
        while left > 0:
            found = client.receive_message(QueueUrl=target.queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=1)
            received = found.get("Messages", ())
            if received:
                client.delete_message_batch(
                    QueueUrl=target.queue_url,
                    Entries=[{"Id": str(n), "ReceiptHandle": m["ReceiptHandle"]} for n, m in enumerate(received)],
                )
            with lock:
                left -= len(received)
                requests += 2 if received else 1

    began, cpu = time.monotonic(), time.process_time()
    workers = [threading.Thread(target=loop) for _ in range(threads)]
    for worker in workers:
        worker.start()
    ended = cpu_at_end = 0.0
    while any(worker.is_alive() for worker in workers):
        if left <= 0 and not ended:
            # The last threads may wait for messages that are not there any more: that is no part of the work.
            ended, cpu_at_end = time.monotonic(), time.process_time()
        time.sleep(0.002)
    pipe.send(Usage(messages, (cpu_at_end or time.process_time()) - cpu, (ended or time.monotonic()) - began, requests))
