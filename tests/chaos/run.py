"""The chaos run: two masters, three workers, fifteen queues, steady sends, and a fault every few seconds."""

from __future__ import annotations

import contextlib
import io
import itertools
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
from pymongo.errors import PyMongoError

from jobs.repositories import assignments
from queues import services
from queues.models import Queue
from queues.sqs import get_gateway
from queuesite.foundation.errors import QueuesiteError
from tests.chaos import faults
from tests.chaos.faults import Begin, Injected
from tests.chaos.traffic import Traffic, Watch
from tests.chaos.verdict import Ending, Fault, Record, Verdict, judge
from tests.support.background import Background
from tests.support.cluster import Cluster, unfinished
from tests.support.living import lives
from tests.support.records import all_jobs
from tests.support.system import LONG, create, worker_of
from tests.support.waiting import eventually

MASTERS, WORKERS = 2, 3
STANDARD, POISONED, FIFO = 10, 2, 3
#: Of a handler, in seconds, where a queue has one.
TIME_LIMIT = 2
#: Seconds between two faults, and how many there are at once at the most.
PAUSES = (1.0, 2.5)
AT_ONCE = 3
#: Seconds that the system gets, when all is quiet, to be done with everything.
SETTLING = 180.0
#: Seconds between two lines of progress, and between two turns.
PROGRESS, TURN = 10.0, 0.1

Say = Callable[[str], None]


class Chaos:
    """A run. `execute` blocks until its verdict."""

    def __init__(self, directory: Path, seconds: float, seed: int, say: Say) -> None:
        self.cluster = Cluster(directory)
        self.cluster.set(
            worker_stalled_after=3,
            lease_seconds=2,
            max_load=4,
            listen_queues=50,
            shutdown_grace_seconds=8,
            time_slice_seconds=3,
            consumer_memory_mb=128,
        )
        self.rng = random.Random(seed)
        self.seed, self.seconds, self.say = seed, seconds, say
        self.queues: list[Queue] = []
        self.told: dict[str, int] = {}
        self.doomed: dict[psutil.Process, str] = {}
        self.faults: list[Fault] = []
        self._under_way: list[Injected] = []
        self._endings: dict[str, Ending] = {}
        self._began = time.monotonic()
        self._number = 0
        self._deck: Iterator[Begin] = faults.deck(seed)

    def execute(self) -> Verdict:
        """Run it, and judge."""
        with self.cluster.connected():
            try:
                return self._execute()
            finally:
                for injected in self._under_way:
                    with contextlib.suppress(PyMongoError, QueuesiteError):
                        injected.undo()
                with contextlib.redirect_stdout(io.StringIO()):  # each process's last lines: their files have all
                    self.cluster.close()

    def _execute(self) -> Verdict:
        self._make_queues()
        self.cluster.ensure(masters=MASTERS, workers=WORKERS)
        self._began = time.monotonic()
        traffic, watch = Traffic(self.cluster, self.queues, self.seed), Watch(self.cluster)
        traffic.start()
        watch.start()
        try:
            self._disturb(traffic)
            traffic.stop()
            self.say(f"{self._age():5.0f} s  quiet")
            leftovers = self._settle()
        finally:
            traffic.stop()
            watch.stop()
        leftovers += self._end()
        verdict = judge(
            Record(
                sent=self.cluster.ledger.sent(),
                events=self.cluster.ledger.events(),
                dead=self.cluster.dead_letters(self.queues),
                few_receives={queue.name for queue in self.queues if queue.max_receive_count < AT_ONCE + 2},
                faults=self.faults,
                workers=_workers(),
                endings=list(self._endings.values()),
                leftovers=leftovers,
                stale=watch.stale,
            )
        )
        verdict.counts |= {"faults": len(self.faults), "terms": watch.terms, "jobs": len(all_jobs())}
        return verdict

    def _make_queues(self) -> None:
        options = {"visibility_timeout": 4}  # and a default maxReceiveCount: no message may die unseen of that
        for number in range(STANDARD):
            settings = {
                "handler": "async_recorder" if number % 3 == 2 else "recorder",
                "concurrency": 1 + number % 5,
                "priority": number % 2,
                "timeout": TIME_LIMIT if number in {1, 2} else None,
            }
            self.queues.append(create(f"q{number}", **settings, **options))
        for number in range(POISONED):
            # Few receives, or its messages that kill their consumers would keep it in backoff for longer than the run.
            self.queues.append(create(f"poison{number}", concurrency=2, visibility_timeout=2, max_receive_count=3))
        for number in range(FIFO):
            self.queues.append(create(f"f{number}.fifo", concurrency=3, **options))

    # --- the disturbance ---

    def _disturb(self, traffic: Traffic) -> None:
        end = self._began + self.seconds
        next_fault = self._began + PAUSES[1]
        next_progress = self._began + PROGRESS
        while (now := time.monotonic()) < end:
            traffic.harmless = now > end - self.seconds / 2
            self._undo(now)
            self._revive()
            if now >= next_fault:
                self._begin()
                next_fault = now + self.rng.uniform(*PAUSES)
            if now >= next_progress:
                next_progress += PROGRESS
                self.say(self._progress())
            time.sleep(TURN)
        eventually(self._all_undone, LONG, "all faults are undone")

    def awake(self, command: str) -> list[Background]:
        """Processes that run, are not frozen and have not been told to end."""
        busy = {injected.target for injected in self._under_way}
        return [p for p in self.cluster.living(command) if p.name not in busy and p.name not in self.told]

    def _begin(self) -> None:
        self._number += 1
        # Of its own for each fault: the next ones are the same however many processes this one had to choose from.
        self.rng = random.Random(f"{self.seed}/{self._number}")
        busy = {injected.target for injected in self._under_way}
        if len(busy) >= AT_ONCE:
            return
        begin = next(self._deck)
        if faults.TARGETS.get(begin) in busy:  # its turn comes when its target is well again
            self._deck = itertools.chain([next(self._deck), begin], self._deck)
            return
        injected = begin(self)
        if injected is None:
            return
        if injected.seconds:
            self._under_way.append(injected)
        else:
            self.faults.append(injected.ended())
        self.say(f"{self._age():5.0f} s  {injected.kind} {injected.what} {injected.seconds:.1f} s")

    def _undo(self, now: float) -> None:
        over = [injected for injected in self._under_way if now >= injected.began + injected.seconds]
        for injected in over:
            try:
                injected.undo()
            except (PyMongoError, QueuesiteError):
                continue  # its server is away by another fault: at the next turn
            self._under_way.remove(injected)
            self.faults.append(injected.ended())

    def _all_undone(self) -> bool:
        self._undo(float("inf"))
        return not self._under_way

    def _revive(self) -> None:
        """Start what has died anew, as a supervisor would."""
        for process in self.cluster.processes:
            code = process.process.poll()
            if code is not None and process.name not in self._endings:
                self._endings[process.name] = self._ending(process, code)
                if process.name not in self.told:
                    self.say(f"{self._age():5.0f} s  {process.name} ended with {code}, which nobody asked for")
        for command, wanted in (("runmaster", MASTERS), ("runworker", WORKERS)):
            staying = [p for p in self.cluster.living(command) if p.name not in self.told]
            for _ in range(wanted - len(staying)):
                self.cluster.start(command)

    def _ending(self, process: Background, code: int) -> Ending:
        started = any(event in process.output() for event in ("master_started", "worker_registered"))
        return Ending(process.name, code, self.told.get(process.name), started)

    # --- quiet ---

    def _settle(self) -> list[str]:
        """No more faults: wait until all is done; what is not, in words."""
        self.cluster.heal()
        self._revive()
        for queue in self.queues:
            eventually(lambda queue=queue: _resumed(queue), LONG, f"{queue.name} goes on")  # type: ignore[misc]
        deadline = time.monotonic() + SETTLING
        next_progress = 0.0
        while (found := self._unsettled()) and time.monotonic() < deadline:
            self._revive()
            if time.monotonic() >= next_progress:
                next_progress = time.monotonic() + PROGRESS
                self.say(f"{self._progress()}  waiting for {'; '.join(found)[:150]}")
            time.sleep(0.5)
        return found

    def _unsettled(self) -> list[str]:
        gateway = get_gateway()
        found = [
            f"{queue.name} holds {depth}" for queue in self.queues if (depth := gateway.depth(queue.queue_url)).total
        ]
        found += [
            f"assignment of {a.queue_url.rpartition('/')[2]} on {a.worker}" for a in assignments.all_assignments()
        ]
        found += [f"job {job['_id']} {job['status']}" for job in unfinished()]
        for command, wanted in (("runmaster", MASTERS), ("runworker", WORKERS)):
            running = self.awake(command)
            if len(running) != wanted:
                found.append(f"{len(running)} of {wanted} {command} run")
        found += [f"{w.name} is not registered" for w in self.awake("runworker") if worker_of(w) is None]
        found += [f"consumer {consumer.pid} lives ({why})" for consumer, why in self.doomed.items() if lives(consumer)]
        return found

    def _end(self) -> list[str]:
        """End all processes in order; what outlives them, in words."""
        consumers = [c for worker in self.cluster.living("runworker") for c in worker.descendants()]
        for process in self.cluster.living("run"):
            self.told.setdefault(process.name, signal.SIGTERM)
            process.send(signal.SIGTERM)
        for process in self.cluster.processes:
            try:
                code = process.process.wait(LONG)
            except Exception:
                return [f"{process.name} does not end"]
            self._endings.setdefault(process.name, self._ending(process, code))
        _, alive = psutil.wait_procs(consumers, 5)
        return [f"process {process.pid} outlives its worker" for process in alive]

    # --- words ---

    def _age(self) -> float:
        return time.monotonic() - self._began

    def _progress(self) -> str:
        now = [injected.kind for injected in self._under_way]
        counts = f"sent {len(self.cluster.ledger.sent())}, handled {len(self.cluster.handled())}"
        return f"{self._age():5.0f} s  {counts}  {', '.join(now)}"


def table(verdict: Verdict, faulty: list[Fault]) -> str:
    """The numbers of a run, in markdown."""
    lines = ["| | |", "|---|---:|"]
    lines += [f"| {name} | {number} |" for name, number in verdict.counts.items()]
    lines += [f"| handled twice because of: {kind} | {number} |" for kind, number in sorted(verdict.repeated.items())]
    kinds = Counter(fault.kind for fault in faulty)
    lines.append(f"\nfaults: {', '.join(f'{kind} ({number})' for kind, number in sorted(kinds.items()))}")
    return "\n".join(lines)


def _resumed(queue: Queue) -> bool:
    try:
        services.set_paused(queue.name, False)
    except (QueuesiteError, PyMongoError):
        return False
    return True


def _workers() -> dict[int, int]:
    """The worker of each consumer, by pids, as the jobs tell it."""
    return {
        int(job.processor["consumerPid"]): int(job.processor["workerPid"])
        for job in all_jobs()
        if job.processor.get("consumerPid")
    }
