"""Handlers as people see them: who has which version, what each version did, and the queues that use the handler."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from jobs import services
from jobs.placement import announced
from jobs.repositories import handlers
from queues import repository as queues
from queues.handlers import catalogue
from queues.handlers.catalogue import Known
from queues.models import Queue
from queuesite.foundation.databases import database_clock
from queuesite.foundation.errors import NotFound
from queuesite.foundation.home import PROGRAM

#: The span in which a version's work is counted.
SPAN = timedelta(hours=24)
#: Most queues of a handler that are named.
QUEUES_NAMED = 100


@dataclass(frozen=True)
class Version:
    """A version of a handler. Counts are those of the last 24 hours; the current hour has only begun."""

    version: str
    #: When a worker first announced it: the later, the newer. None: nobody recorded it.
    first_announced_at: datetime | None
    #: The live workers that have it.
    workers: Sequence[str]
    processed: int
    failed: int
    rejected: int
    timed_out: int
    retried: int
    #: Seconds that an attempt took on average; None if there was none.
    mean: float | None

    @property
    def failed_share(self) -> float | None:
        """The share of its attempts that failed; None if there was none."""
        attempts = self.processed + self.failed
        return self.failed / attempts if attempts else None


@dataclass(frozen=True)
class Row:
    """A handler in a list."""

    handler: Known
    queues: int


@dataclass(frozen=True)
class Report:
    """A handler with its versions, the newest first, and the queues that use it."""

    handler: Known
    versions: Sequence[Version]
    queues: Sequence[Queue]
    #: How many queues use it, those that are not named included.
    queue_count: int


def rows() -> list[Row]:
    """Every handler that is known or used, by name. Raises pymongo's errors."""
    known = catalogue.current()
    used = queues.count_by_handler()
    return [Row(known.named(name), used.get(name, 0)) for name in sorted({*known, *used})]


def report(name: str) -> Report:
    """A handler. Raises `NotFound` if nobody has it, had it lately, or uses it."""
    handler = catalogue.current().named(name)
    recorded = {one.version: one for one in handlers.versions(name)}
    using = queues.with_handler(name, QUEUES_NAMED + 1)
    if not handler.is_known and not recorded and not using:
        raise NotFound(f"there is no handler {name[:200]!r}; `{PROGRAM} sqs handlers` lists those that are known")
    now = database_clock.now()
    has: dict[str, list[str]] = {}
    for worker in services.list_workers():
        if services.is_alive(worker, now):
            for one in announced(worker):
                if one.name == name:
                    has.setdefault(one.version, []).append(worker.worker_id)
    work = handlers.hours(name, now - SPAN)
    found = []
    for version in {**recorded, **dict.fromkeys(has)}:
        done = [hour for hour in work if hour.version == version]
        attempts = sum(hour.processed + hour.failed for hour in done)
        found.append(
            Version(
                version,
                recorded[version].first_announced_at if version in recorded else None,
                has.get(version, ()),
                sum(hour.processed for hour in done),
                sum(hour.failed for hour in done),
                sum(hour.rejected for hour in done),
                sum(hour.timed_out for hour in done),
                sum(hour.retried for hour in done),
                sum(hour.duration_sum for hour in done) / attempts if attempts else None,
            )
        )
    count = len(using) if len(using) <= QUEUES_NAMED else queues.count_by_handler().get(name, len(using))
    return Report(handler, found, using[:QUEUES_NAMED], count)
