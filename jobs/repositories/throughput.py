"""The collections `throughput`, a queue's work per minute and in total, and `throughputHours`.

Beside its minutes each queue has one document without a minute, with the sums since it was created: minutes are removed
after a week, and a counter that Prometheus reads must never decrease. `_id` carries queue and minute, so that it is
unique and each write is one look-up by `_id`.

Long spans are read by the hour: a week is 168 documents per queue instead of 10,080. Hours have a collection of their
own, so that reading the sums does not scan them. Minutes are still read for the time before hours were written.

What all queues did together is in two further collections, so charts of the whole system cost the same with any number
of queues. They are separate because releases before them add up whatever the others hold. What was recorded before
they existed is added up from the queues'.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId
from pymongo import ASCENDING, IndexModel, UpdateOne
from pymongo.collection import Collection

from jobs import histogram
from jobs.throughput_models import Throughput, ThroughputHour, ThroughputHourOfAll, ThroughputOfAll, WorkDone
from queues.health import recording
from queues.health.attempts import Attempts
from queues.sqs import PURPOSES
from queuesite.foundation.databases import Document, bulk_upsert, collection, database_clock
from queuesite.foundation.documents import step_of, to_model, to_models

#: How long minutes are kept, and the sums of a queue that nothing is done with any more.
MINUTES_KEPT = timedelta(days=7)
TOTALS_KEPT = timedelta(days=30)

INDEXES_OF_ALL = (
    IndexModel([("minute", ASCENDING)], name="minute"),
    IndexModel([("expiresAt", ASCENDING)], name="expiresAt_ttl", expireAfterSeconds=0),
)
INDEXES = (
    IndexModel([("queueId", ASCENDING), ("minute", ASCENDING)], name="queueId_minute"),
    *INDEXES_OF_ALL,
)
HOUR = timedelta(hours=1)
#: A day longer than minutes: the first step of a chart begins before its span does.
HOURS_KEPT = MINUTES_KEPT + timedelta(days=1)

COUNTS = ("processed", "failed", "rejected", "timedOut", "retried", "requests")


@dataclass(frozen=True)
class Row:
    """A queue's work in one minute, to be added to what is recorded.

    `minute` is its beginning by the database's clock; `durations` are `histogram.counts` of handler times,
    `duration_sum` is their sum in seconds; `requests` are those made to SQS, of which
    `purposes` says what they were made for (`queues.sqs.PURPOSES`); `waits` are counts by `histogram.WAIT_BOUNDS` of
    how long messages waited for their first handling, `wait_sum` is their sum in seconds. `failed` includes what was
    rejected and timed out, and not the attempts for which the handler asked for a retry (`retried`).
    """

    queue_id: ObjectId
    queue_name: str
    minute: datetime
    processed: int = 0
    failed: int = 0
    rejected: int = 0
    timed_out: int = 0
    retried: int = 0
    requests: int = 0
    durations: Sequence[int] = ()
    duration_sum: float = 0.0
    purposes: Mapping[str, int] = field(default_factory=dict)
    waits: Sequence[int] = ()
    wait_sum: float = 0.0

    def increments(self) -> Document:
        """The amounts to add, by MongoDB's names, without zeros."""
        values = (self.processed, self.failed, self.rejected, self.timed_out, self.retried, self.requests)
        counts: dict[str, Any] = dict(zip(COUNTS, values, strict=True))
        counts["durationSum"] = float(self.duration_sum)
        counts["waitSum"] = float(self.wait_sum)
        counts.update((f"durations.{name}", n) for name, n in histogram.as_document(self.durations).items())
        counts.update((f"waits.{name}", n) for name, n in histogram.as_document(self.waits).items())
        counts.update((f"purposes.{name}", n) for name, n in self.purposes.items())
        return {name: value for name, value in counts.items() if value}


@dataclass(frozen=True)
class _Record:
    """Where work is recorded, by the minute and by the hour."""

    by_minute: type[WorkDone]
    by_hour: type[WorkDone]

    @property
    def minutes(self) -> Collection[Document]:
        return collection(self.by_minute)

    @property
    def hours(self) -> Collection[Document]:
        return collection(self.by_hour)


_OF_QUEUES = _Record(Throughput, ThroughputHour)
_OF_ALL = _Record(ThroughputOfAll, ThroughputHourOfAll)


def add(rows: Iterable[Row]) -> None:
    """Add work, in one bulk write per collection, that of the queues included (see `queues.health.recording`).

    A repetition after a lost answer counts twice; the counts are for people.
    """
    done = [(row, increments) for row in rows if (increments := row.increments())]
    bulk_upsert(_OF_QUEUES.minutes, [write for row, increments in done for write in _writes(row, increments)])
    bulk_upsert(_OF_QUEUES.hours, [_hour(row, row.minute, increments) for row, increments in done])
    together = _together(done)
    bulk_upsert(_OF_ALL.minutes, [_minute(None, minute, increments) for minute, increments in together.items()])
    bulk_upsert(_OF_ALL.hours, [_hour(None, minute, increments) for minute, increments in together.items()])
    recording.note((row.queue_id, row.minute, Attempts(row.processed, row.failed, row.retried)) for row, _ in done)


def _together(done: Iterable[tuple[Row, Document]]) -> dict[datetime, Document]:
    """What is to be added for all queues together, by minute."""
    found: dict[datetime, Document] = {}
    for row, increments in done:
        sums = found.setdefault(row.minute.replace(second=0, microsecond=0), {})
        for name, value in increments.items():
            sums[name] = sums.get(name, 0) + value
    return found


def _writes(row: Row, increments: Document) -> tuple[UpdateOne, UpdateOne]:
    total = UpdateOne(
        {"_id": f"{row.queue_id}-total"},
        {
            "$inc": increments,
            "$setOnInsert": {**_whose(row), "minute": None},
            "$set": {"expiresAt": database_clock.now() + TOTALS_KEPT},
        },
        upsert=True,
    )
    return _minute(row, row.minute, increments), total


def _minute(row: Row | None, moment: datetime, increments: Document) -> UpdateOne:
    minute = moment.replace(second=0, microsecond=0)
    return _step(row, f"{minute:%Y%m%dT%H%M}", minute, minute + MINUTES_KEPT, increments)


def _hour(row: Row | None, moment: datetime, increments: Document) -> UpdateOne:
    hour = moment.replace(minute=0, second=0, microsecond=0)
    return _step(row, f"{hour:%Y%m%dT%H}", hour, hour + HOURS_KEPT, increments)


def _step(row: Row | None, name: str, begin: datetime, expires_at: datetime, increments: Document) -> UpdateOne:
    key = name if row is None else f"{row.queue_id}-{name}"
    fixed = {**_whose(row), "minute": begin, "expiresAt": expires_at}
    return UpdateOne({"_id": key}, {"$inc": increments, "$setOnInsert": fixed}, upsert=True)


def _whose(row: Row | None) -> Document:
    return {} if row is None else {"queueId": row.queue_id, "queueName": row.queue_name}


def forget(queue_id: ObjectId) -> None:
    """Remove the record of all work on a queue, its total included."""
    for work in (_OF_QUEUES.minutes, _OF_QUEUES.hours):
        work.delete_many({"queueId": queue_id})


def totals() -> list[Throughput]:
    """The sums of every queue since it was created, or since it last had 30 days without work."""
    return to_models(Throughput, _OF_QUEUES.minutes.find({"minute": None}))


def work_of_all(since: datetime, until: datetime, step: timedelta) -> list[Throughput]:
    """The work on all queues together from `since` to before `until`, in rows that are not longer than `step`.

    Rows are in order; times without work are missing.
    """
    found = _work(_OF_ALL, {}, since, until, step)
    begun = next((row.minute for row in found if row.minute is not None), until)
    # Before: what workers of earlier releases recorded, by queues alone.
    return [*(sums_by_step(since, begun, step) if begun > since else ()), *found]


def work(queue_id: ObjectId, since: datetime, until: datetime, step: timedelta) -> list[Throughput]:
    """A queue's work from `since` to before `until`, in rows that are not longer than `step`.

    Rows are in order; times without work are missing.
    """
    return _work(_OF_QUEUES, {"queueId": queue_id}, since, until, step)


def _work(record: _Record, whose: Document, since: datetime, until: datetime, step: timedelta) -> list[Throughput]:
    return [
        row
        for source, begin, end in _sources(record, since, until, step)
        for row in to_models(
            Throughput, source.find({**whose, "minute": {"$gte": begin, "$lt": end}}).sort("minute", ASCENDING)
        )
    ]


def _sources(
    record: _Record, since: datetime, until: datetime, step: timedelta
) -> list[tuple[Collection[Document], datetime, datetime]]:
    """The collections to read for a span, part by part: hours if `step` consists of whole hours, minutes otherwise.

    The first hour ever written may be incomplete, so its minutes are read.
    """
    if step % HOUR:
        return [(record.minutes, since, until)]
    first = next(iter(record.hours.find({}, {"minute": 1}).sort("minute", ASCENDING).limit(1)), None)
    end = until.replace(minute=0, second=0, microsecond=0)
    begin = end if first is None else min(end, max(_next_hour(since), first["minute"] + HOUR))
    if begin >= end:
        return [(record.minutes, since, until)]
    parts = [(record.minutes, since, begin), (record.hours, begin, end), (record.minutes, end, until)]
    return [part for part in parts if part[1] < part[2]]


def _next_hour(moment: datetime) -> datetime:
    """The first full hour at or after a moment."""
    hour = moment.replace(minute=0, second=0, microsecond=0)
    return hour if hour == moment else hour + HOUR


def minutes_of(
    queue_ids: Sequence[ObjectId], since: datetime, until: datetime, fields: Sequence[str] = ("processed",)
) -> list[Throughput]:
    """The minutes of these queues from `since` to before `until`, with only these fields (by MongoDB's names)."""
    if not queue_ids:
        return []
    found = _OF_QUEUES.minutes.find(
        {"queueId": {"$in": list(queue_ids)}, "minute": {"$gte": since, "$lt": until}},
        dict.fromkeys(("queueId", "minute", *fields), 1),
    )
    return to_models(Throughput, found)


def by_queue(since: datetime, until: datetime) -> dict[ObjectId, Throughput]:
    """Each queue's minutes from `since` to before `until`, added up by the database."""
    rows = _OF_QUEUES.minutes.aggregate([_between(since, until), {"$group": _added("$queueId")}])
    return {row["_id"]: _sum(since, row) for row in rows}


def sums_by_step(since: datetime, until: datetime, step: timedelta) -> list[Throughput]:
    """The queues' work added up in each step that has any, in order; steps count from midnight of the epoch."""
    sums: dict[datetime, Document] = {}
    for source, begin, end in _sources(_OF_QUEUES, since, until, step):
        for row in source.aggregate([_between(begin, end), {"$group": _added(step_of("minute", step))}]):
            known = sums.setdefault(row.pop("_id"), {})
            for name, value in row.items():
                known[name] = known.get(name, 0) + value
    return [_sum(at, row) for at, row in sorted(sums.items())]


_SUMS = (*COUNTS, "durationSum")
_BUCKETS = [f"b{place}" for place in range(histogram.BUCKETS)]


def _between(since: datetime, until: datetime) -> Document:
    return {"$match": {"minute": {"$gte": since, "$lt": until}}}


def _added(key: Document | str | None) -> Document:
    added: Document = {"_id": key, **{name: {"$sum": f"${name}"} for name in _SUMS}}
    added.update((bucket, {"$sum": f"$durations.{bucket}"}) for bucket in _BUCKETS)
    added.update((f"for_{purpose}", {"$sum": f"$purposes.{purpose}"}) for purpose in PURPOSES)
    return added


def _sum(minute: datetime, row: Document) -> Throughput:
    found: Document = {name: row.get(name, 0) for name in _SUMS}
    found["durations"] = {bucket: row.get(bucket, 0) for bucket in _BUCKETS}
    found["purposes"] = {purpose: row.get(f"for_{purpose}", 0) for purpose in PURPOSES}
    return to_model(Throughput, {"_id": "sum", "minute": minute, **found})
