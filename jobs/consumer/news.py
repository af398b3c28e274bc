"""What a consumer reports of its work, each thing once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jobs.attempts import AttemptReport
from jobs.consumer.meter import NONE, WorkCounts
from jobs.failures import FailureGroup
from queues.task_calls import Change


@dataclass(frozen=True)
class News:
    """What has come up in a run since its last report."""

    failures: tuple[FailureGroup, ...] = ()
    work: WorkCounts = NONE
    #: What SQS was found to hold of a queue that others own.
    followed: dict[str, Any] | None = None
    #: Attempts at Django's tasks.
    tasks: tuple[Change, ...] = ()
    #: URLs of queues that handlers have sent to, whichever run they belong to.
    sent_to: tuple[str, ...] = ()
    #: Attempts to be recorded, and how many were dropped because there were too many.
    attempts: tuple[AttemptReport, ...] = ()
    attempts_dropped: int = 0
