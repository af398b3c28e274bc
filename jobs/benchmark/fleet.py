"""Measurements of masters and workers as real processes: latency, scaling of a hot queue, start and memory."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from jobs.benchmark import consumption
from jobs.benchmark.handlers import STAMPS
from jobs.repositories import assignments, leases, workers
from queues import messages, services
from queues.models import Queue
from queues.sqs import OutgoingMessage
from queuesite.foundation import home
from queuesite.foundation.errors import ServerError

#: How long anything is waited for, in seconds.
PATIENCE = 120.0
#: Queues that take turns, so that each is idle again when its turn comes.
ROTATION = 12


@dataclass(frozen=True)
class Latencies:
    """From before a send to the start of the handler, in seconds."""

    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.samples)

    @property
    def worst_percent(self) -> float:
        """The 99th percentile: of fewer than a hundred samples the largest."""
        ordered = sorted(self.samples)
        return ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]


@contextmanager
def process(directory: Path, command: str, **settings: object) -> Iterator[subprocess.Popen[bytes]]:
    """A master or a worker, ended in order afterwards."""
    environment = {
        **home.environment(os.environ),
        "LOG_LEVEL": "WARNING",
        **{k.upper(): str(v) for k, v in settings.items()},
    }
    with (directory / f"{command}.log").open("ab") as log:
        started = subprocess.Popen(
            home.command(command),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(40)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def until(condition: Callable[[], object], what: str, pause: float = 0.005) -> float:
    """Wait for a condition; how long that took, in seconds. Raises `ServerError` after `PATIENCE`."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > PATIENCE:
            raise ServerError(f"the benchmark gave up after {PATIENCE:g} s: {what}")
        time.sleep(pause)
    return time.monotonic() - began


def leading() -> bool:
    """Whether a master leads."""
    return leases.leader() is not None


def registered(count: int) -> Callable[[], bool]:
    """Whether this many workers are there."""
    return lambda: len(workers.all_workers()) == count


class Stamps:
    """The file in which handlers write when they began."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.environ[STAMPS] = str(path)

    def read(self) -> list[dict[str, Any]]:
        """What has been written so far."""
        if not self.path.exists():
            return []
        return [json.loads(line) for line in self.path.read_text().splitlines()]

    def of(self, body: str) -> float | None:
        """When the handling of a message began."""
        return next((stamp["at"] for stamp in self.read() if stamp["body"] == body), None)


def latencies(
    directory: Path, stamps: Stamps, samples: int, *, warm: bool, progress: Callable[[int], None]
) -> Latencies:
    """Send to start of the handler, on queues that are idle and are notified.

    Warm: the worker has idle consumer processes; cold: it forks one for each run.
    """
    name, settings = f"latency-{'warm' if warm else 'cold'}", {"handler": "benchmark-stamp"}
    queues = [services.create(f"{name}-{n}", with_dlq=False, settings=settings) for n in range(ROTATION)]
    found: list[float] = []
    with (
        process(directory, "runmaster"),
        process(directory, "runworker", max_load=ROTATION, consumer_usage_limit=10_000 if warm else 1),
    ):
        until(lambda: leading() and registered(1)(), "a master and a worker are there")
        if warm:
            for queue in queues:  # all at once, so that there is a consumer for each
                _send(queue, f"warm-up-{queue.name}")
            until(lambda: len(stamps.read()) >= ROTATION, "every queue was served once")
        for number in range(samples):
            queue = queues[number % ROTATION]
            until(lambda queue=queue: _is_idle(queue), f"{queue.name} is idle")  # type: ignore[misc]
            body = f"{'warm' if warm else 'cold'}-{number}"
            sent_at = time.monotonic()
            _send(queue, body)
            until(lambda body=body: stamps.of(body) is not None, "the message is handled", 0.002)  # type: ignore[misc]
            found.append((stamps.of(body) or 0.0) - sent_at)
            progress(1)
    return Latencies(tuple(found))


def _send(queue: Queue, body: str) -> None:
    messages.send(queue.name, [OutgoingMessage(body)])


def _is_idle(queue: Queue) -> bool:
    return all(assignment.queue_id != queue.id for assignment in assignments.all_assignments())


@dataclass(frozen=True)
class Hot:
    """A queue with a backlog: messages a second with one consumer and with up to four, and the most it had."""

    alone: float
    together: float
    most_consumers: int


def hot_queue(directory: Path, count: int, work: float) -> Hot:
    """One queue on two workers, with one consumer and then with up to four; each message sleeps `work` seconds."""
    rates: list[float] = []
    most = 0
    with (
        process(directory, "runmaster", backlog_per_consumer=max(1, count // 20)),
        process(directory, "runworker", max_load=2),
        process(directory, "runworker", max_load=2),
    ):
        until(lambda: leading() and registered(2)(), "a master and two workers are there")
        for consumers in (1, 4):
            options = {"least": work, "most": work}
            settings = {"handler": "benchmark", "handler_options": options, "max_consumers": consumers}
            queue = services.create(f"hot-{consumers}", with_dlq=False, settings=settings)
            consumption.fill(queue, 20)
            until(lambda queue=queue: _is_empty(queue), "the consumers are warm", 0.05)  # type: ignore[misc]
            services.set_paused(queue.name, True)
            consumption.fill(queue, count)
            services.set_paused(queue.name, False)
            began = time.monotonic()
            while not _is_empty(queue):
                present = sum(a.queue_id == queue.id for a in assignments.all_assignments())
                most = max(most, present) if consumers > 1 else most
                if time.monotonic() - began > 10 * PATIENCE:
                    raise ServerError("the hot queue does not become empty")
                time.sleep(0.05)
            rates.append(count / (time.monotonic() - began))
    return Hot(rates[0], rates[1], most)


#: Of the measurement of fairness: the time slice, in seconds, and what each message of the queues that hold on takes.
SLICE = 4
HOLDING = 0.1


def fairness(directory: Path, stamps: Stamps, count: int) -> float:
    """How long a queue waits while others that do not empty have all slots: from send to handler, in seconds."""
    options = {"least": HOLDING, "most": HOLDING}
    holding = [
        services.create(f"holding-{n}", with_dlq=False, settings={"handler": "benchmark", "handler_options": options})
        for n in range(2)
    ]
    waiting = services.create("waiting", with_dlq=False, settings={"handler": "benchmark-stamp"})
    for queue in holding:
        consumption.fill(queue, count)
    with (
        process(directory, "runmaster", time_slice_seconds=SLICE),
        process(directory, "runworker", max_load=len(holding)),
    ):
        until(lambda: len(assignments.all_assignments()) == len(holding), "all slots are taken")
        sent_at = time.monotonic()
        _send(waiting, "waiting")
        until(lambda: stamps.of("waiting") is not None, "the waiting queue is served")
        return (stamps.of("waiting") or 0.0) - sent_at


def _is_empty(queue: Queue) -> bool:
    return services.size(queue.name).depth.total == 0


@dataclass(frozen=True)
class Footprint:
    """A worker at rest: seconds until it is ready, and its bytes (resident)."""

    ready_after: float
    resident: int


def footprint(directory: Path) -> Footprint:
    """Start a worker and weigh it."""
    with process(directory, "runworker") as worker:
        took = until(registered(1), "the worker is ready")
        return Footprint(took, psutil.Process(worker.pid).memory_info().rss)
