"""The runs that a worker carries out: those that take up its capacity, and those that only finish."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bson import ObjectId

from jobs.consumer.report import RunReport
from jobs.consumer.settings import QueueSettings
from jobs.models import Assignment, EndReason
from jobs.repositories.jobs import Counts
from jobs.worker.consumer import ConsumerProcess
from queues.models import Queue


@dataclass(eq=False)
class ActiveRun:
    """An assignment that this worker carries out, or did until only its handlers in flight were left."""

    assignment: Assignment
    queue: Queue
    settings: QueueSettings
    consumer: ConsumerProcess | None
    #: The id under which the worker took it: a worker that was pruned since has another one.
    worker_id: str
    #: When its counts are next written to its job (monotonic clock).
    counts_due: float
    ending: bool = False
    #: What its consumer reported when only handlers in flight were left, and whether MongoDB has recorded that.
    finishing_report: RunReport | None = None
    capacity_freed: bool = False
    #: The run's end, which MongoDB has not recorded yet.
    report: RunReport | None = None

    def end(self, reason: EndReason) -> None:
        """Have it end; the first reason stands."""
        if not self.ending and self.consumer is not None:
            self.ending = True
            self.consumer.end(reason)

    @property
    def takes_messages(self) -> bool:
        """Whether its consumer may be handed what a listener has received, as far as is known."""
        return self.consumer is not None and not self.ending and self.report is None and self.finishing_report is None

    def counts(self) -> Counts | None:
        """What it has done so far, as its consumer last reported; None before it did."""
        if self.consumer is None or not self.consumer.counts:
            return None
        return Counts.of_entry(self.consumer.counts)

    def as_document(self, *, finishing: bool) -> dict[str, Any]:
        """Its entry in the worker's heartbeat."""
        assert self.consumer is not None
        return {
            "pid": str(self.consumer.pid),
            "queueName": self.queue.name,
            "jobId": self.assignment.job_id,
            "memory": self.consumer.memory,
            "processed": 0,
            "failed": 0,
            "inFlight": 0,
            "buffered": 0,
            **self.consumer.counts,
            "finishing": finishing,
        }


class Runs:
    """Every run of a worker. A finishing one has only handlers in flight left, and takes up no capacity."""

    def __init__(self) -> None:
        #: By their assignments' ids; replaced, never changed, since another thread looks into them.
        self.active: dict[ObjectId, ActiveRun] = {}
        self.finishing: list[ActiveRun] = []

    def __iter__(self) -> Iterator[ActiveRun]:
        return iter([*self.active.values(), *self.finishing])

    def __len__(self) -> int:
        return len(self.active) + len(self.finishing)

    def of_job(self, job_id: ObjectId) -> ActiveRun | None:
        """The run of this job, if there is one."""
        return next((run for run in self if run.assignment.job_id == job_id), None)

    def add(self, run: ActiveRun) -> None:
        """Add a run that takes up capacity."""
        self.active = {**self.active, run.assignment.id: run}

    def only_finish(self, run: ActiveRun) -> None:
        """Free a run's capacity."""
        self.remove(run)
        self.finishing.append(run)

    def remove(self, run: ActiveRun) -> None:
        """Drop a run that is recorded."""
        self.active = {key: other for key, other in self.active.items() if other is not run}
        self.finishing = [other for other in self.finishing if other is not run]

    def as_documents(self) -> list[dict[str, Any]]:
        """The entries of a heartbeat."""
        return [
            run.as_document(finishing=finishing)
            for finishing, runs in ((False, self.active.values()), (True, self.finishing))
            for run in runs
            if run.consumer is not None
        ]
