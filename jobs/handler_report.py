"""Handlers as people see them: who has which version, what each version did, and the queues that use the handler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any

from jobs import histogram, services
from jobs.attempt_model import Attempt
from jobs.handler_models import HandlerHour
from jobs.placement import announced
from jobs.repositories import attempts, handlers
from queues import repository as queues
from queues.handlers import catalogue
from queues.handlers.catalogue import Known
from queues.models import Queue
from queuesite.foundation.databases import database_clock
from queuesite.foundation.errors import InvalidInput, NotFound
from queuesite.foundation.home import PROGRAM

#: The span in which a version's work is counted.
SPAN = timedelta(hours=24)
#: Most queues of a handler that are named.
QUEUES_NAMED = 100


@dataclass(frozen=True)
class Work:
    """What was done in the last 24 hours; the current hour has only begun. Durations are seconds; None: no attempt.

    `failed` does not include the attempts for which the handler asked for a retry (`retried`). Waiting is from a
    message's sending to the start of an attempt. The highest quantile that is shown is the last bound of
    `jobs.histogram`.
    """

    processed: int
    failed: int
    rejected: int
    timed_out: int
    retried: int
    #: Attempts per minute in the last hour or two.
    rate: float
    mean: float | None
    p50: float | None
    p95: float | None
    p99: float | None
    waited_p50: float | None
    waited_p95: float | None
    waited_p99: float | None

    @property
    def attempts(self) -> int:
        """All attempts."""
        return self.processed + self.failed + self.retried

    @property
    def failed_share(self) -> float | None:
        """The share of the attempts that failed; None if there was none."""
        return self.failed / self.attempts if self.attempts else None

    @property
    def retried_share(self) -> float | None:
        """The share of the attempts for which a retry was asked; None if there was none."""
        return self.retried / self.attempts if self.attempts else None


@dataclass(frozen=True)
class Version(Work):
    """A version of a handler."""

    version: str
    #: When a worker first announced it: the later, the newer. None: nobody recorded it.
    first_announced_at: datetime | None
    #: The live workers that have it.
    workers: Sequence[str]


@dataclass(frozen=True)
class Row:
    """A handler in a list."""

    handler: Known
    queues: int
    work: Work


#: What a list of handlers may be sorted by; the highest comes first, but names are in their order.
SORTS: dict[str, Callable[[Row], Any]] = {
    "name": lambda row: row.handler.name,
    "queues": lambda row: row.queues,
    "attempts": lambda row: row.work.attempts,
    "rate": lambda row: row.work.rate,
    "failed": lambda row: row.work.failed_share,
    "retried": lambda row: row.work.retried_share,
    **{name: attrgetter(f"work.{name}") for name in ("p50", "p95", "p99", "waited_p50", "waited_p95", "waited_p99")},
}


@dataclass(frozen=True)
class Report:
    """A handler with its versions, the newest first, and the queues that use it."""

    handler: Known
    versions: Sequence[Version]
    #: All of them together.
    work: Work
    queues: Sequence[Queue]
    #: How many queues use it, those that are not named included.
    queue_count: int


def rows(sort: str = "name") -> list[Row]:
    """Every handler that is known or used, by name or another of `SORTS`.

    Raises `InvalidInput` for any other sort, and pymongo's errors.
    """
    if sort not in SORTS:
        raise InvalidInput(f"sort {sort!r}: expected one of {', '.join(SORTS)}", field="sort")
    known = catalogue.current()
    used = queues.count_by_handler()
    now = database_clock.now()
    work: dict[str, list[HandlerHour]] = {}
    for hour in handlers.hours(None, now - SPAN):
        work.setdefault(hour.name, []).append(hour)
    found = [
        Row(known.named(name), used.get(name, 0), Work(**_work(work.get(name, []), now)))
        for name in sorted({*known, *used})
    ]
    if sort == "name":
        return found
    return sorted(found, key=lambda row: -1.0 if (value := SORTS[sort](row)) is None else value, reverse=True)


def _work(hours: Sequence[HandlerHour], now: datetime) -> dict[str, Any]:
    """The hours added up, as the fields of `Work`. Pure."""
    counts = {
        name: sum(getattr(hour, name) for hour in hours)
        for name in ("processed", "failed", "rejected", "timed_out", "retried")
    }
    attempts = counts["processed"] + counts["failed"] + counts["retried"]
    took = histogram.added(*(histogram.from_document(hour.durations) for hour in hours))
    bounds = histogram.WAIT_BOUNDS
    waited = histogram.added(*(histogram.from_document(hour.waits, bounds) for hour in hours))
    lately = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    recent = sum(hour.processed + hour.failed + hour.retried for hour in hours if hour.hour >= lately)
    return {
        **counts,
        "rate": 60 * recent / (now - lately).total_seconds(),
        "mean": sum(hour.duration_sum for hour in hours) / attempts if attempts else None,
        **{f"p{share}": histogram.quantile(took, share / 100) for share in (50, 95, 99)},
        **{f"waited_p{share}": histogram.quantile(waited, share / 100, bounds) for share in (50, 95, 99)},
    }


def slowest(name: str, limit: int = 10) -> list[Attempt]:
    """The handler's recorded attempts of the last 24 hours that took longest."""
    return attempts.slowest(name, database_clock.now() - SPAN, limit)


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
    found = [
        Version(
            **_work([hour for hour in work if hour.version == version], now),
            version=version,
            first_announced_at=recorded[version].first_announced_at if version in recorded else None,
            workers=has.get(version, ()),
        )
        for version in {**recorded, **dict.fromkeys(has)}
    ]
    count = len(using) if len(using) <= QUEUES_NAMED else queues.count_by_handler().get(name, len(using))
    return Report(handler, found, Work(**_work(work, now)), using[:QUEUES_NAMED], count)
