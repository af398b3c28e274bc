"""Numbers of the whole system, as a dashboard shows them, and series of one queue."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId
from django.core.cache import cache

from jobs import histogram, reads
from jobs import services as processing
from jobs.repositories import failures, throughput
from jobs.shared import shared
from jobs.throughput_models import Throughput
from queues import observation, services, summaries
from queues.health.rules import PROBLEMS, Health
from queues.models import Queue
from queues.sqs import PURPOSES, Depth
from queues.state import State
from queuesite.foundation.config import get_config
from queuesite.foundation.databases import database_clock
from queuesite.foundation.errors import InvalidInput

MINUTE = timedelta(minutes=1)

#: The most points of a series: no screen shows more.
MAX_POINTS = 1_500
_UNITS = {"m": MINUTE, "h": timedelta(hours=1), "d": timedelta(days=1)}
DURATION_PATTERN = r"^[1-9][0-9]{0,4}[mhd]$"


@dataclass(frozen=True)
class Window:
    """What was done in a span of time. Durations are seconds; they are None if nothing was handled."""

    seconds: float
    processed: int
    failed: int
    rejected: int
    timed_out: int
    #: Attempts for which the handler asked for a retry: they are not among the failed ones.
    retried: int
    requests: int
    #: The requests by what they were made for (`queues.sqs.PURPOSES`), without zeros, and what they cost in USD.
    purposes: dict[str, int]
    cost: float
    mean: float | None
    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True)
class Point(Window):
    """What was done in a step of a series."""

    at: datetime


@dataclass(frozen=True)
class Waiting:
    """A queue whose messages nobody handles."""

    queue: str
    visible: int
    since: datetime | None


@dataclass(frozen=True)
class Statistics:
    """The numbers of a dashboard, as of `at` by the database's clock."""

    at: datetime
    queues: dict[State, int]
    #: Queues with a problem, and how many have each; a queue may have several.
    ill: int
    health: dict[Health, int]
    visible: int
    in_flight: int
    delayed: int
    dead_letters: int
    last_minute: Window
    last_hour: Window
    failures: int
    failures_last_hour: int
    workers: int
    workers_draining: int
    capacity: int
    capacity_used: int
    leader: str | None
    oldest_waiting: Waiting | None


def current() -> Statistics:
    """The numbers of this moment, with the throughput of the last whole minute and of the last sixty.

    What grows with the number of queues is shared by all viewers for a second, or longer if it took long.
    """
    assigned = reads.find_assignments()
    lease = reads.leader()
    present = processing.list_workers()
    context = reads.queue_context(assigned, present=present)
    now = context.now
    this_minute = now.replace(second=0, microsecond=0)
    hour = shared("hour", lambda: throughput.work_of_all(this_minute - 60 * MINUTE, this_minute, MINUTE))
    minute = [row for row in hour if row.minute == this_minute - MINUTE]
    kinds, kinds_last_hour = shared("failures", lambda: (failures.count(), failures.count(now - 60 * MINUTE)))
    sums, health = shared("counted", lambda: summaries.counted(context))
    waiting = shared("waiting", lambda: summaries.longest_waiting(context, 1))
    workers = [worker for worker in present if processing.is_alive(worker, now)]
    return Statistics(
        at=now,
        queues={state: sums[state].queues if state in sums else 0 for state in State},
        ill=health.ill,
        health={one: health.problems.get(one, 0) for one in PROBLEMS},
        visible=sum(of.visible for of in sums.values()),
        in_flight=sum(of.in_flight for of in sums.values()),
        delayed=sum(of.delayed for of in sums.values()),
        dead_letters=sum(of.dead_letters for of in sums.values()),
        last_minute=window(minute, MINUTE),
        last_hour=window(hour, 60 * MINUTE),
        failures=kinds,
        failures_last_hour=kinds_last_hour,
        workers=len(workers),
        workers_draining=sum(worker.draining for worker in workers),
        capacity=sum(worker.capacity for worker in workers if not worker.draining),
        capacity_used=len(assigned),
        leader=None if lease is None else lease.holder,
        oldest_waiting=next((Waiting(queue.name, queue.depth_visible, since) for queue, since in waiting), None),
    )


def window(rows: Sequence[Throughput], span: timedelta) -> Window:
    """Rows added up. Pure."""
    return Window(**_sums(rows, span))


def _sums(rows: Sequence[Throughput], span: timedelta) -> dict[str, Any]:
    buckets = histogram.added(*(row.buckets for row in rows))
    handled = sum(buckets)
    sums = {
        name: sum(getattr(row, name) for row in rows)
        for name in ("processed", "failed", "rejected", "timed_out", "retried", "requests")
    }
    counted = {purpose: sum(row.purposes.get(purpose, 0) for row in rows) for purpose in PURPOSES}
    return {
        **sums,
        "purposes": {purpose: count for purpose, count in counted.items() if count},
        "cost": sums["requests"] * get_config().sqs_price_per_million / 1e6,
        "seconds": span.total_seconds(),
        "mean": sum(row.duration_sum for row in rows) / handled if handled else None,
        **{f"p{share}": histogram.quantile(buckets, share / 100) for share in (50, 95, 99)},
    }


def monthly_cost(of: Window) -> float:
    """What a month of thirty days costs, in USD, if it goes on like this."""
    return of.cost * timedelta(days=30).total_seconds() / of.seconds


def last_day(queue_id: ObjectId) -> Window:
    """What was done with a queue in the last 24 hours."""
    until = database_clock.now().replace(minute=0, second=0, microsecond=0) + throughput.HOUR
    span = 24 * throughput.HOUR
    return window(throughput.work(queue_id, until - span, until, throughput.HOUR), span)


def parse_duration(text: str, field: str) -> timedelta:
    """Parse a span such as `15m`, `6h` or `7d`. Raises `InvalidInput`."""
    if not re.fullmatch(DURATION_PATTERN, text):
        raise InvalidInput(
            f"{field} {text[:20]!r}: expected a number with m, h or d, such as 15m, 6h or 7d", field=field
        )
    return int(text[:-1]) * _UNITS[text[-1]]


def series(queue_name: str, span: timedelta, step: timedelta) -> list[Point]:
    """What was done with a queue, one point for each `step`; the last is not over yet.

    Raises `NotFound`, and `InvalidInput` if the window is longer than minutes are kept, shorter than a step, or has
    more than 1,500 points.
    """
    if span > throughput.MINUTES_KEPT:
        kept = f"{throughput.MINUTES_KEPT.days}d"
        raise InvalidInput(f"window is longer than throughput is kept: expected {kept} at most", field="window")
    if step > span:
        raise InvalidInput("step is longer than the window: choose a shorter one", field="step")
    if span / step > MAX_POINTS:
        raise InvalidInput(
            f"window and step make {span / step:,.0f} points: expected {MAX_POINTS:,} at most, by a longer step",
            field="step",
        )
    queue = services.get(queue_name)
    now = database_clock.now()
    end = stepped(now, step) + step
    begin = stepped(now - span, step) + step
    rows = throughput.work(queue.id, begin, end, step)
    return points(rows, begin, end, step)


#: Whole minutes that `figures` are about.
FIGURES_MINUTES = 5


@dataclass(frozen=True)
class Figures:
    """What a list says of a queue's last five whole minutes."""

    #: Messages a minute.
    rate: float = 0.0
    #: The share of attempts that failed, and the 95th percentile of the handler's seconds; None: there was no attempt.
    failed: float | None = None
    p95: float | None = None


def _figures(rows: Sequence[Throughput]) -> Figures:
    processed, failed = sum(row.processed for row in rows), sum(row.failed for row in rows)
    attempts = processed + failed + sum(row.retried for row in rows)
    buckets = histogram.added(*(row.buckets for row in rows))
    return Figures(
        processed / FIGURES_MINUTES,
        failed / attempts if attempts else None,
        histogram.quantile(buckets, 0.95),
    )


def _last_minutes() -> tuple[datetime, datetime]:
    until = database_clock.now().replace(second=0, microsecond=0)
    return until - FIGURES_MINUTES * MINUTE, until


def figures(queues: Sequence[Queue]) -> dict[ObjectId, Figures]:
    """The figures of each of these queues."""
    rows: dict[ObjectId, list[Throughput]] = {queue.id: [] for queue in queues}
    for row in throughput.minutes_of(list(rows), *_last_minutes(), ("processed", "failed", "retried", "durations")):
        rows[row.queue_id].append(row)
    return {queue_id: _figures(found) for queue_id, found in rows.items()}


def all_figures() -> dict[ObjectId, Figures]:
    """The figures of every queue that anything was done with; a slow answer is shared by all requests."""
    return shared(
        "figures", lambda: {key: _figures([row]) for key, row in throughput.by_queue(*_last_minutes()).items()}
    )


#: The span of `recent`, and its step.
RECENT, RECENT_STEP = 60 * MINUTE, 5 * MINUTE


def recent(queues: Sequence[Queue]) -> dict[ObjectId, list[int]]:
    """How many messages of each queue were processed in each five minutes of the last hour, the current ones last."""
    end = stepped(database_clock.now(), RECENT_STEP) + RECENT_STEP
    begin = end - RECENT
    rows = throughput.minutes_of([queue.id for queue in queues], begin, end)
    counts = {queue.id: [0] * (RECENT // RECENT_STEP) for queue in queues}
    for row in rows:
        if row.minute is not None:
            counts[row.queue_id][(row.minute - begin) // RECENT_STEP] += row.processed
    return counts


def stepped(moment: datetime, step: timedelta) -> datetime:
    """The beginning of the step that a moment lies in; steps are counted from midnight of the epoch. Pure."""
    seconds = step.total_seconds()
    return datetime.fromtimestamp(moment.timestamp() // seconds * seconds, moment.tzinfo)


def points(rows: Sequence[Throughput], begin: datetime, end: datetime, step: timedelta) -> list[Point]:
    """Rows of minutes or hours as points; steps in which nothing was done have one too. Pure."""
    by_step = _by_step(rows, step)
    found = []
    at = begin
    while at < end:
        found.append(Point(at=at, **_sums(by_step.get(at, ()), step)))
        at += step
    return found


def _by_step(rows: Sequence[Throughput], step: timedelta) -> dict[datetime, list[Throughput]]:
    found: dict[datetime, list[Throughput]] = {}
    for row in rows:
        if row.minute is not None:
            found.setdefault(stepped(row.minute, step), []).append(row)
    return found


@dataclass(frozen=True)
class Span:
    """A window of the whole system's charts: its length, its step, and how long an answer counts as fresh.

    The backlog is added up from a document for each queue and minute. So the longer the window, the longer its answer
    is kept.
    """

    length: timedelta
    step: timedelta
    fresh: timedelta


#: By the admin's names for them.
SPANS = {
    "15m": Span(15 * MINUTE, MINUTE, MINUTE),
    "1h": Span(60 * MINUTE, MINUTE, MINUTE),
    "24h": Span(timedelta(days=1), 15 * MINUTE, 5 * MINUTE),
    "7d": Span(timedelta(days=7), timedelta(hours=2), 30 * MINUTE),
}

#: Workers report their counts with their heartbeats: a minute is complete this long after its end.
_REPORTED_AFTER = timedelta(seconds=10)


@dataclass(frozen=True)
class Overall:
    """Series of the whole system: what was done in each step, and what was waiting (None: nobody recorded it)."""

    points: Sequence[Point]
    depths: Sequence[Depth | None]


def overall(span: Span) -> Overall:
    """The whole system over a span of time, up to the last whole minute. A web process asks once in `span.fresh`."""
    until = stepped(database_clock.now() - _REPORTED_AFTER, span.fresh)
    span_key = f"{span.length.total_seconds():.0f}-{span.step.total_seconds():.0f}"
    key = f"overall:{get_config().mongodb_name}:{span_key}:{until:%Y%m%dT%H%M}"
    known: Overall | None = cache.get(key)
    if known is None:
        known = _overall(span, until)
        cache.set(key, known, span.fresh.total_seconds())
    return known


def _overall(span: Span, until: datetime) -> Overall:
    begin = stepped(until - span.length, span.step)
    by_step = _by_step(throughput.work_of_all(begin, until, span.step), span.step)
    waiting = observation.depths(None, begin, until, span.step)
    found = [Point(at=at, **_sums(by_step.get(at, ()), min(span.step, until - at))) for at in waiting]
    return Overall(found, list(waiting.values()))
