"""Masters and workers as real processes with short intervals, and helpers for tests."""

from __future__ import annotations

import json
import signal
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from jobs.models import Job, Worker
from jobs.repositories import assignments, jobs, leases, workers
from queues import messages, services
from queues.models import Queue
from queues.sqs import OutgoingMessage
from tests.support import handlers_for_tests  # noqa: F401 (registers them here, so that queues may name them)
from tests.support.background import Background, running
from tests.support.ledger import Ledger
from tests.support.processes import ROOT
from tests.support.records import all_jobs
from tests.support.waiting import eventually

#: Most seconds that anything may take: far more than it needs, since CI's machine may be busy.
LONG = 45.0
#: Settings with which the dead are soon noticed. So are the living on a machine that gives them no CPU for as long: a
#: test with these settings cannot assert that a worker or the leader stays, or that no run is abandoned.
DEATHS_SHOW_SOON = {"worker_stalled_after": 2, "lease_seconds": 1.5}
#: A visibility timeout, in seconds, after which what a dead process held is soon handled by others. A process that gets
#: no CPU for as long loses its messages too: that they are received or handled once cannot be asserted.
SOON_VISIBLE = 2


class System:
    """The processes of a test, and the ledger of their handlers. `close` ends all of them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ledger = Ledger(directory)
        self.environment: dict[str, str] = {}
        self.processes: list[Background] = []
        self._stack = ExitStack()
        self.set(
            handler_modules="tests.support.handlers_for_tests",
            ledger_dir=directory,
            heartbeat_seconds=0.5,
            # Longer than a busy machine keeps CPU from anybody.
            worker_stalled_after=30,
            lease_seconds=12,
            idle_seconds=1,
            sweep_max_seconds=2,
        )

    def set(self, **settings: object) -> None:
        """Change settings for processes that are started from now on."""
        self.environment.update({name.upper(): str(value) for name, value in settings.items()})

    def start(self, command: str, *arguments: str, clone: str | Path = ROOT, **settings: object) -> Background:
        """Start a process, of the version of the code in `clone`. `settings` are only for it."""
        name = f"{command}-{len(self.processes) + 1}"
        own = {setting.upper(): str(value) for setting, value in settings.items()}
        process = Background(
            self.directory, name, command, *arguments, env={**self.environment, **own}, clone=Path(clone)
        )
        self.processes.append(process)
        self._stack.enter_context(running(process))
        return process

    def master(self) -> Background:
        """Start a master. It may not lead yet."""
        process = self.start("runmaster")
        process.says("master_started", LONG)
        return process

    def worker(self) -> Background:
        """Start a worker, and wait until it has registered."""
        process = self.start("runworker")
        eventually(lambda: worker_of(process), LONG, "the worker has registered")
        return process

    def both(self) -> tuple[Background, Background]:
        """Start a master and a worker at the same time."""
        master, worker = self.start("runmaster"), self.start("runworker")
        master.says("master_started", LONG)
        eventually(lambda: worker_of(worker), LONG, "the worker has registered")
        return master, worker

    def close(self) -> None:
        """End all processes at the same time, and show their output if the test failed."""
        for process in self.processes:
            if process.process.poll() is None:
                with suppress(ProcessLookupError):
                    process.send(signal.SIGCONT)
                    process.send(signal.SIGTERM)
        self._stack.close()
        for process in self.processes:
            print(f"--- {process.name} ---", process.output()[-4_000:], sep="\n")  # noqa: T201


def worker_of(process: Background) -> Worker | None:
    """The registration of a worker process."""
    return next((worker for worker in workers.all_workers() if worker.pid == process.pid), None)


def leader_is(process: Background) -> bool:
    """Whether a master process leads."""
    lease = leases.leader()
    return lease is not None and lease.holder is not None and f"-{process.pid}-" in lease.holder


def create(name: str = "orders", **settings: Any) -> Queue:
    """Create a queue whose handler writes to the ledger."""
    return services.create(name, settings={"handler": "recorder", **settings})


def do(**what: object) -> str:
    """A body with instructions for its handler (`tests.support.handlers_for_tests`)."""
    return json.dumps({"do": what})


def send(queue: Queue, *bodies: str, group: str | None = None) -> list[str]:
    """Send messages as the command does, which wakes the queue. Returns their ids."""
    report = messages.send(queue.name, [OutgoingMessage(body, group=group) for body in bodies])
    assert report.sent == len(bodies)
    return list(report.message_ids.values())


def ended_jobs(queue: Queue) -> list[Job]:
    """The queue's jobs that have ended."""
    return [job for job in all_jobs(queue) if job.ended_at is not None]


def all_handled(system: System, ids: list[str]) -> None:
    """Wait until each of these messages has been handled, and every run has been recorded."""
    eventually(lambda: set(ids) <= set(system.ledger.handled()), LONG, "all messages were handled")
    eventually(lambda: not assignments.all_assignments(), LONG, "no assignment is left")
    eventually(lambda: not jobs.unfinished(), LONG, "every job has ended")


def started(system: System, count: int, queue: Queue | None = None) -> None:
    """Wait until handling of this many messages (of one queue) has begun."""
    name = None if queue is None else queue.name
    eventually(lambda: len(system.ledger.events("start", name)) >= count, LONG, f"{count} messages have been begun")
