"""Many queues on one master: what a turn, the sweep and a burst of wake-ups cost. Workers are simulated."""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from queue import PriorityQueue
from typing import Any, TypeVar

import psutil
from bson import ObjectId

from jobs.benchmark.fleet import until
from jobs.master.scheduler import Scheduler
from jobs.master.start_sync import StartSync
from jobs.models import Assignment, EndReason
from jobs.repositories import assignments, jobs, workers
from jobs.repositories.jobs import Counts
from queues import repository
from queues.models import Queue
from queues.sqs import get_gateway
from queuesite.foundation.changes import ChangeWatcher
from queuesite.foundation.config import Config, get_config
from queuesite.foundation.databases import database_clock
from queuesite.foundation.documents import to_model
from queuesite.foundation.errors import StaleTransition
from queuesite.foundation.monitoring import OperationCounter

WORKERS, CAPACITY = 20, 5
#: Queues that are woken at once.
BURST = 1_000
#: Threads that end runs, each with three writes.
RELEASING = 8

_INSERTED = [{"$match": {"ns.coll": "assignments", "operationType": "insert"}}]

Progress = Callable[[int], None]
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Scale:
    """What the master needs at rest, and how it serves a burst. Times in seconds, memory in bytes."""

    queues: int
    first_sweep: float
    cpu_share: float
    resident: int
    turn_median: float
    turn_operations: float
    notified: float
    workers_filled: float
    refill_median: float
    all_served: float
    served_twice_before_all: int


def make_queues(count: int, progress: Progress) -> list[Queue]:
    """Define `count` queues, in SQS and in MongoDB."""
    gateway = get_gateway()
    prefix = get_config().queue_name_prefix

    def one(number: int) -> Queue:
        name = f"scale-{number:05}"
        queue = Queue(name=name, queue_url=gateway.create_queue(prefix + name, {}))
        repository.insert(queue)
        progress(1)
        return queue

    return in_parallel(one, range(count))


def in_parallel(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """The answers of `work` for each item, sixteen at a time."""
    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(work, items))


class Fleet:
    """Simulated workers: they take each assignment, hold it for a while and release it as drained."""

    def __init__(self, idle_seconds: float) -> None:
        self.names = [f"simulated-{n}" for n in range(WORKERS)]
        self.begun: list[tuple[float, ObjectId]] = []
        self.released: list[float] = []
        self._idle_seconds = idle_seconds
        self._stopping = threading.Event()
        self._held: PriorityQueue[tuple[float, ObjectId, Assignment]] = PriorityQueue()
        self._watcher = ChangeWatcher(_INSERTED, self._take, lambda: None)
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._run, self._beat)]

    def start(self) -> None:
        """Register them."""
        for name in self.names:
            workers.register(name, "simulated", 1, CAPACITY)
        self._watcher.start()
        until(lambda: self._watcher.live, "changes are reported")
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Take them out."""
        self._stopping.set()
        self._watcher.stop()
        for thread in self._threads:
            thread.join(10)
        for name in self.names:
            workers.unregister(name)

    def _beat(self) -> None:
        while not self._stopping.wait(1.0):
            for name in self.names:
                with suppress(StaleTransition):
                    workers.heartbeat(name, [])

    def _take(self, change: dict[str, Any]) -> None:
        assignment = to_model(Assignment, change["fullDocument"])
        now = time.monotonic()
        self.begun.append((now, assignment.queue_id))
        # A run lasts for as long as there is work, here up to as long again as a consumer then waits for more.
        ends = now + self._idle_seconds * random.uniform(1, 2)
        self._held.put((ends, assignment.id, assignment))

    def _run(self) -> None:
        with ThreadPoolExecutor(RELEASING) as pool:
            while not self._stopping.wait(0.005):
                while self._held.queue and self._held.queue[0][0] <= time.monotonic():
                    pool.submit(self._release, self._held.get()[-1])

    def _release(self, assignment: Assignment) -> None:
        repository.served(assignment.queue_id, database_clock.now())
        with suppress(StaleTransition):  # rescued: the database was too slow for the heartbeats
            jobs.complete(assignment.job_id, assignment.worker, Counts(), EndReason.DRAINED)
            assignments.release(assignment.id, assignment.worker)
        self.released.append(time.monotonic())


class TimedScheduler(Scheduler):
    """A master that notes what each turn costs, in CPU seconds of its thread and in operations of MongoDB."""

    def __init__(self, config: Config, operations: OperationCounter) -> None:
        # The queues are in SQS already.
        super().__init__(config, get_gateway(), start_sync=StartSync(lambda *_: None))
        self._operations = operations
        self.turns: list[tuple[float, int]] = []

    def turn(self) -> float:
        """As a master's, and measured."""
        self._operations.thread = threading.get_ident()
        began, before = time.thread_time(), self._operations.count
        pause = super().turn()
        self.turns.append((time.thread_time() - began, self._operations.count - before))
        return pause


def measure(config: Config, queues: list[Queue], operations: OperationCounter, say: Callable[[str], None]) -> Scale:
    """Run a master in this process over `queues`, at rest and then through a burst."""
    scheduler = TimedScheduler(config, operations)
    turns = scheduler.turns
    fleet = Fleet(config.idle_seconds)
    fleet.start()
    me = psutil.Process()
    loop = threading.Thread(target=scheduler.loop, daemon=True)
    began = time.monotonic()
    loop.start()
    try:
        say("first sweep of all queues")
        until(lambda: _swept(scheduler, len(queues)), "every queue was looked at", 0.1)
        first_sweep = time.monotonic() - began
        say(f"at rest for {2 * config.sweep_max_seconds:.0f} s")
        time.sleep(config.sweep_max_seconds)  # the intervals grow to their longest
        turns.clear()
        cpu, since = _cpu(me), time.monotonic()
        time.sleep(config.sweep_max_seconds)
        share = (_cpu(me) - cpu) / (time.monotonic() - since)
        resting = list(turns)
        resident = me.memory_info().rss
        say("one notified queue among them")
        notified = [_notify(fleet, queue) for queue in queues[:: max(1, len(queues) // 20)][:20]]
        until(lambda: not assignments.all_assignments(), "all are released", 0.01)
        say(f"{min(BURST, len(queues))} woken at once")
        burst = queues[: min(BURST, len(queues))]
        fleet.begun.clear()
        fleet.released.clear()
        woken = time.monotonic()
        repository.wake_many([queue.id for queue in burst])
        until(lambda: len(fleet.begun) >= min(WORKERS * CAPACITY, len(burst)), "all workers are full")
        filled = fleet.begun[min(WORKERS * CAPACITY, len(burst)) - 1][0] - woken
        until(lambda: len({queue_id for _, queue_id in fleet.begun}) >= len(burst), "every queue was served")
        all_served = time.monotonic() - woken
        served = Counter(queue_id for _, queue_id in fleet.begun)
        return Scale(
            queues=len(queues),
            first_sweep=first_sweep,
            cpu_share=share,
            resident=resident,
            turn_median=statistics.median(took for took, _ in resting),
            turn_operations=statistics.median(count for _, count in resting),
            notified=statistics.median(notified),
            workers_filled=filled,
            refill_median=_refill(fleet),
            all_served=all_served,
            served_twice_before_all=sum(count > 1 for count in served.values()),
        )
    finally:
        scheduler.stop()
        loop.join(10)
        scheduler.join(10)  # its sweep must not miss the queues that are removed next
        fleet.stop()


def _swept(scheduler: Scheduler, count: int) -> bool:
    backlog = list(scheduler.backlog)
    return len(backlog) >= count and all(entry.depth is not None for entry in backlog)


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _notify(fleet: Fleet, queue: Queue) -> float:
    before = len(fleet.begun)
    sent = time.monotonic()
    repository.wake(queue.id)
    until(lambda: any(queue_id == queue.id for _, queue_id in fleet.begun[before:]), "it is assigned", 0.002)
    return time.monotonic() - sent


def _refill(fleet: Fleet) -> float:
    """Median of the time from a release to the next assignment that was made after it."""
    begun = [at for at, _ in fleet.begun[WORKERS * CAPACITY :]]
    gaps = [start - end for end, start in zip(fleet.released, begun, strict=False)]
    return statistics.median(gaps) if gaps else 0.0
