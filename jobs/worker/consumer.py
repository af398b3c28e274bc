"""A consumer process, as its worker sees it."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from typing import Any

from bson import ObjectId

from jobs.consumer.held import Batch
from jobs.consumer.in_hand import Board
from jobs.consumer.process import Apply, End, Exit, Give, Start
from jobs.consumer.settings import QueueSettings
from jobs.models import EndReason
from queuesite.foundation.pipes import Channel


@dataclass(eq=False)
class ConsumerProcess:
    """A consumer. Sending to it never waits for it to read."""

    process: BaseProcess
    channel: Channel
    #: What its slots have in hand.
    board: Board
    #: Assignments that it has been given.
    used: int = 0
    #: The job that it runs; None while it is idle. And the settings that it was given for it.
    job_id: ObjectId | None = None
    settings: QueueSettings | None = None
    #: Its counts and its memory (bytes), as it last reported them.
    counts: dict[str, Any] = field(default_factory=dict)
    memory: int = 0
    #: When it last sent anything (monotonic clock).
    heard_at: float = field(default_factory=time.monotonic)
    #: Why its worker killed it, in words; None if it did not.
    killed_for: str | None = None
    #: When it is killed if it has not ended by itself (monotonic clock).
    exit_by: float = float("inf")

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid or 0

    def start(self, job_id: ObjectId, settings: QueueSettings, first: tuple[Batch, ...] = ()) -> None:
        """Have it run a queue, beginning with what a listener has received."""
        self.job_id, self.settings = job_id, settings
        self.used += 1
        self.counts = {}
        self.heard_at = time.monotonic()
        self.channel.send(Start(str(job_id), settings, first))

    def give(self, batch: Batch) -> None:
        """Hand over what a listener has received for its run."""
        self.channel.send(Give(str(self.job_id), batch), replace=False)

    def apply(self, settings: QueueSettings) -> None:
        """Have its run follow changed settings."""
        self.settings = settings
        self.channel.send(Apply(settings))

    def end(self, reason: EndReason) -> None:
        """Have its run end."""
        self.channel.send(End(reason))

    def exit(self, grace: float) -> None:
        """Have the process end when it is idle; its worker kills it after `grace` seconds."""
        self.exit_by = time.monotonic() + grace
        self.channel.send(Exit())

    def kill(self, reason: str) -> None:
        """End it at once. What it holds becomes visible again when its visibility runs out."""
        self.killed_for = self.killed_for or reason
        self.process.kill()

    def close(self) -> None:
        """Give back what this process has of it, once it has ended."""
        self.channel.close()
        self.board.close()

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
