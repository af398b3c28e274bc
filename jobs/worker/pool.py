"""The pool of consumer processes: forked on demand, reused, replaced, and never outliving their worker."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from bson import ObjectId

from jobs.consumer.meter import NONE, Work
from jobs.consumer.process import Apply, End, Exit, Live, Start
from jobs.consumer.process import main as consumer_main
from jobs.consumer.run import Report
from jobs.consumer.settings import QueueSettings, RunLimits
from jobs.failures import Failure
from jobs.models import EndReason
from queuesite.config import BASE_DIR, Config
from queuesite.logs import get_logger

log = get_logger(__name__)


@dataclass(eq=False)
class ConsumerProcess:
    """A consumer, as its worker sees it."""

    process: BaseProcess
    connection: Connection
    #: Assignments that it has been given.
    used: int = 0
    #: The job that it runs; None while it is idle.
    job_id: ObjectId | None = None
    #: Its counts and its memory (bytes), as it last told them.
    counts: dict[str, Any] = field(default_factory=dict)
    memory: int = 0
    #: When it last said anything (monotonic clock).
    heard_at: float = field(default_factory=time.monotonic)
    #: Why its worker killed it, in words; None where it did not.
    killed_for: str | None = None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid or 0

    def start(self, job_id: ObjectId, settings: QueueSettings) -> None:
        """Have it run a queue."""
        self.job_id = job_id
        self.used += 1
        self.counts = {}
        self.heard_at = time.monotonic()
        self._tell(Start(str(job_id), settings))

    def apply(self, settings: QueueSettings) -> None:
        """Have its run follow changed settings."""
        self._tell(Apply(settings))

    def end(self, reason: EndReason) -> None:
        """Have its run end."""
        self._tell(End(reason))

    def exit(self) -> None:
        """Have the process end when it is idle."""
        self._tell(Exit())

    def kill(self, reason: str) -> None:
        """End it at once. What it holds becomes visible again when its visibility runs out."""
        self.killed_for = self.killed_for or reason
        self.process.kill()

    def cause_of_death(self) -> str:
        """How the process ended, in words."""
        self.process.join(timeout=1)
        if self.killed_for is not None:
            return f"the consumer process {self.pid} was killed by its worker: {self.killed_for}"
        code = self.process.exitcode
        if code is not None and code < 0:
            try:
                name = signal.Signals(-code).name
            except ValueError:
                name = "unknown"
            return f"the consumer process {self.pid} was killed by signal {-code} ({name})"
        return f"the consumer process {self.pid} ended with exit code {code}"

    def _tell(self, order: object) -> None:
        with suppress(OSError):  # it has died, which its sentinel tells
            self.connection.send(order)


@dataclass(frozen=True)
class News:
    """What a consumer told of its work on a job since it last did."""

    job_id: ObjectId
    failures: tuple[Failure, ...]
    work: Work


class Pool:
    """Consumer processes of one worker: those at work, and idle ones that wait to be used again."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._limits = RunLimits.of(config)
        #: The worker's present id, for the logs of its consumers.
        self.worker_id = ""
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["jobs.worker.preload"])
        self.consumers: list[ConsumerProcess] = []
        #: What the consumers told of their work since it was last taken.
        self._news: list[News] = []
        self._looked_at = time.monotonic()

    def begin(self) -> None:
        """Start the fork server without waiting for its imports, which take it most of a second."""
        # The fork server is a new interpreter, which finds our packages by the path alone.
        paths = os.environ.get("PYTHONPATH", "")
        if str(BASE_DIR) not in paths.split(os.pathsep):
            os.environ["PYTHONPATH"] = str(BASE_DIR) + (os.pathsep + paths if paths else "")
        forkserver.ensure_running()

    def warm_up(self) -> None:
        """Have a first consumer, so that the first assignment does not wait for the fork server's imports."""
        self.begin()
        self._spawn()

    def obtain(self) -> ConsumerProcess:
        """An idle consumer, the most used first so that others may rest; a new one where there is none."""
        idle = [c for c in self.consumers if c.job_id is None and c.process.is_alive()]
        return max(idle, key=lambda c: c.used) if idle else self._spawn()

    def sources(self) -> list[Any]:
        """What to wait on for news of the consumers: their pipes, and their ends."""
        return [source for c in self.consumers for source in (c.connection, c.process.sentinel)]

    def ended(self) -> list[tuple[ObjectId, Report]]:
        """Read what the consumers say; answers the runs that have ended since, by their jobs' ids.

        A consumer that died has not ended its run itself: its report has the counts that it last told, and the cause.
        """
        found: list[tuple[ObjectId, Report]] = []
        for consumer in list(self.consumers):
            found += self._read(consumer)
            if consumer in self.consumers and not consumer.process.is_alive():
                found += self._read(consumer)  # its last words may have come between
                found += self._bury(consumer)
        return found

    def _read(self, consumer: ConsumerProcess) -> list[tuple[ObjectId, Report]]:
        found: list[tuple[ObjectId, Report]] = []
        try:
            while consumer in self.consumers and consumer.connection.poll():
                message = consumer.connection.recv()
                if consumer.job_id is None or message.job_id != str(consumer.job_id):
                    continue  # of an earlier run
                consumer.memory = message.memory
                consumer.heard_at = time.monotonic()
                if message.failures or message.work:
                    self._news.append(News(consumer.job_id, message.failures, message.work))
                if isinstance(message, Live):
                    consumer.counts = message.counts
                else:
                    found.append((consumer.job_id, message.report))
                    self._give_back(consumer, tainted=message.report.tainted)
        except (EOFError, OSError):
            pass  # dead or dying: its sentinel tells
        return found

    def _bury(self, consumer: ConsumerProcess) -> list[tuple[ObjectId, Report]]:
        self.consumers.remove(consumer)
        consumer.connection.close()
        if consumer.job_id is None:
            return []
        cause = consumer.cause_of_death()
        log.error("consumer_crashed", pid=consumer.pid, cause=cause, job_id=str(consumer.job_id))
        counts = consumer.counts
        report = Report(
            EndReason.CRASHED,
            processed=counts.get("processed", 0),
            failed=counts.get("failed", 0),
            timed_out=counts.get("timedOut", 0),
            last_error=cause,
        )
        now = time.monotonic()
        crash = Failure("ConsumerCrashed", "the consumer process", cause, "", first_at=now, last_at=now)
        self._news.append(News(consumer.job_id, (crash,), NONE))
        return [(consumer.job_id, report)]

    def news(self) -> list[News]:
        """What the consumers told of their work since the last call."""
        taken, self._news = self._news, []
        return taken

    def kill_silent(self, patience: float) -> None:
        """Kill the consumers at work that have said nothing for `patience` seconds: they hang, and their queues too.

        Silence is counted while this worker itself was running: one that was frozen has heard nobody.
        """
        now = time.monotonic()
        gap, self._looked_at = now - self._looked_at, now
        for consumer in self.consumers:
            if gap > patience / 2:
                consumer.heard_at += gap
            if consumer.job_id is not None and now - consumer.heard_at > patience and consumer.killed_for is None:
                log.error("consumer_silent", pid=consumer.pid, job_id=str(consumer.job_id), seconds=patience)
                consumer.kill(f"it gave no sign of life for {patience:g} s (a handler may hold the interpreter)")

    def _give_back(self, consumer: ConsumerProcess, *, tainted: bool = False) -> None:
        """The consumer's run has ended: it is free again, or replaced where it is worn out or has grown too large.

        A tainted one still runs a handler, which only the end of the process ends.
        """
        consumer.job_id = None
        if tainted:
            self.consumers.remove(consumer)
            consumer.kill("a handler of it did not end")
            consumer.connection.close()
            log.warning("consumer_replaced", pid=consumer.pid, reason=consumer.killed_for)
            return
        too_large = consumer.memory > self._config.consumer_memory_mb * 1_048_576
        if consumer.used >= self._config.consumer_usage_limit or too_large:
            log.debug("consumer_retired", pid=consumer.pid, used=consumer.used, memory=consumer.memory)
            self.consumers.remove(consumer)
            consumer.exit()
            consumer.connection.close()

    def close(self, timeout: float) -> None:
        """End all consumers, which are idle by now; one that does not end within `timeout` seconds is killed."""
        for consumer in self.consumers:
            consumer.exit()
        for consumer in self.consumers:
            consumer.process.join(timeout)
            if consumer.process.is_alive():
                consumer.kill("it did not end when it was told to")
                consumer.process.join()
            consumer.connection.close()
        self.consumers.clear()

    def _spawn(self) -> ConsumerProcess:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=consumer_main,
            args=(theirs, self.worker_id, self._limits, self._config.heartbeat_seconds / 2),
            name="consumer",
            # Not daemonic: a handler may start processes of its own. `close` and the pipe see to their end.
            daemon=False,
        )
        process.start()
        theirs.close()
        consumer = ConsumerProcess(process, ours)
        self.consumers.append(consumer)
        log.debug("consumer_started", pid=consumer.pid)
        return consumer
