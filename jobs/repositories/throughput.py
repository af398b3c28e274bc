"""The collections `throughput`, a queue's work per minute and in total, and `throughputHours`.

Beside its minutes each queue has one document without a minute, with the sums since it was created: minutes are removed
after a week, and a counter that Prometheus reads must never decrease. `_id` carries queue and minute, so that it is
unique and each write is one look-up by `_id`.

Long spans are read by the hour: a week is 168 documents per queue instead of 10,080. Hours have a collection of their
own, so that reading the sums does not scan them. Minutes are still read for the time before hours were written.

Each minute and hour has one more document, without a queue, for all of them together: charts and numbers of the whole
system cost the same with any number of queues. What was recorded before there were such documents is added up.
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
from jobs.throughput_models import Throughput, ThroughputHour
from queues.health import recording
from queues.health.attempts import Attempts
from queues.sqs import PURPOSES
from queuesite.foundation.databases import Document, bulk_upsert, collection, database_clock
from queuesite.foundation.documents import step_of, to_model, to_models

#: How long minutes are kept, and the sums of a queue that nothing is done with any more.
MINUTES_KEPT = timedelta(days=7)
TOTALS_KEPT = timedelta(days=30)

INDEXES = (
    IndexModel([("queueId", ASCENDING), ("minute", ASCENDING)], name="queueId_minute"),
    IndexModel([("minute", ASCENDING)], name="minute"),
    IndexModel([("expiresAt", ASCENDING)], name="expiresAt_ttl", expireAfterSeconds=0),
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


def _throughput() -> Collection[Document]:
    return collection(Throughput)


def _hours() -> Collection[Document]:
    return collection(ThroughputHour)


def add(rows: Iterable[Row]) -> None:
    """Add work, in one bulk write per collection, that of the queues included (see `queues.health.recording`).

    A repetition after a lost answer counts twice; the counts are for people.
    """
    done = [(row, increments) for row in rows if (increments := row.increments())]
    together = _together(done)
    minutes = [write for row, increments in done for write in _writes(row, increments)]
    bulk_upsert(_throughput(), [*minutes, *(_minute(None, at, increments) for at, increments in together.items())])
    hours = [_hour(row, row.minute, increments) for row, increments in done]
    bulk_upsert(_hours(), [*hours, *(_hour(None, at, increments) for at, increments in together.items())])
    recording.note((row.queue_id, row.minute, Attempts(row.processed, row.failed, row.retried)) for row, _ in done)


def _together(done: Iterable[tuple[Row, Document]]) -> dict[datetime, Document]:
    """What is to be added for all queues together, by minute."""
    found: dict[datetime, Document] = {}
    for row, increments in done:
        sums = found.setdefault(row.minute.replace(second=0, microsecond=0), {})
        for name, value in increments.items():
            sums[name] = sums.get(name, 0) + value
    return found


def _of(row: Row | None) -> Document:
    """Whose work it is: a queue's, or that of all together."""
    return {"queueId": None, "queueName": ""} if row is None else {"queueId": row.queue_id, "queueName": row.queue_name}


def _key(row: Row | None) -> str:
    return "all" if row is None else str(row.queue_id)


def _writes(row: Row, increments: Document) -> tuple[UpdateOne, UpdateOne]:
    total = UpdateOne(
        {"_id": f"{_key(row)}-total"},
        {
            "$inc": increments,
            "$setOnInsert": {**_of(row), "minute": None},
            "$set": {"expiresAt": database_clock.now() + TOTALS_KEPT},
        },
        upsert=True,
    )
    return _minute(row, row.minute, increments), total


def _minute(row: Row | None, at: datetime, increments: Document) -> UpdateOne:
    minute = at.replace(second=0, microsecond=0)
    fixed = {**_of(row), "minute": minute, "expiresAt": minute + MINUTES_KEPT}
    return UpdateOne(
        {"_id": f"{_key(row)}-{minute:%Y%m%dT%H%M}"}, {"$inc": increments, "$setOnInsert": fixed}, upsert=True
    )


def _hour(row: Row | None, at: datetime, increments: Document) -> UpdateOne:
    hour = at.replace(minute=0, second=0, microsecond=0)
    fixed = {**_of(row), "minute": hour, "expiresAt": hour + HOURS_KEPT}
    return UpdateOne({"_id": f"{_key(row)}-{hour:%Y%m%dT%H}"}, {"$inc": increments, "$setOnInsert": fixed}, upsert=True)


def forget(queue_id: ObjectId) -> None:
    """Remove the record of all work on a queue, its total included."""
    for work in (_throughput(), _hours()):
        work.delete_many({"queueId": queue_id})


def totals() -> list[Throughput]:
    """The sums of every queue since it was created, or since it last had 30 days without work."""
    return to_models(Throughput, _throughput().find({"minute": None}))


def work_of_all(since: datetime, until: datetime, step: timedelta) -> list[Throughput]:
    """The work on all queues together from `since` to before `until`, in rows that are not longer than `step`.

    Rows are in order; times without work are missing.
    """
    found = work(None, since, until, step)
    begun = next((row.minute for row in found if row.minute is not None), until)
    # Before: what workers of earlier releases recorded, by queues alone.
    return [*(sums_by_step(since, begun, step) if begun > since else ()), *found]


def work(queue_id: ObjectId | None, since: datetime, until: datetime, step: timedelta) -> list[Throughput]:
    """A queue's work from `since` to before `until`, in rows that are not longer than `step`.

    Rows are in order; times without work are missing. Without a queue: what is recorded of all together.
    """
    which = {"queueId": None} if queue_id is None else {}
    return [
        row
        for source, begin, end in _sources(since, until, step, which)
        for row in to_models(
            Throughput,
            source.find({"queueId": queue_id, "minute": {"$gte": begin, "$lt": end}}).sort("minute", ASCENDING),
        )
    ]


def _sources(
    since: datetime, until: datetime, step: timedelta, which: Document
) -> list[tuple[Collection[Document], datetime, datetime]]:
    """The collections to read for a span, part by part: hours if `step` consists of whole hours, minutes otherwise.

    The first hour ever written (of those that match) may be incomplete, so its minutes are read.
    """
    if step % HOUR:
        return [(_throughput(), since, until)]
    first = next(iter(_hours().find(which, {"minute": 1}).sort("minute", ASCENDING).limit(1)), None)
    end = until.replace(minute=0, second=0, microsecond=0)
    begin = end if first is None else min(end, max(_next_hour(since), first["minute"] + HOUR))
    if begin >= end:
        return [(_throughput(), since, until)]
    parts = [(_throughput(), since, begin), (_hours(), begin, end), (_throughput(), end, until)]
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
    found = _throughput().find(
        {"queueId": {"$in": list(queue_ids)}, "minute": {"$gte": since, "$lt": until}},
        dict.fromkeys(("queueId", "minute", *fields), 1),
    )
    return to_models(Throughput, found)


def by_queue(since: datetime, until: datetime) -> dict[ObjectId, Throughput]:
    """Each queue's minutes from `since` to before `until`, added up by the database."""
    rows = _throughput().aggregate([_between(since, until), {"$group": _added("$queueId")}])
    return {row["_id"]: _sum(since, row) for row in rows}


def sums(since: datetime, until: datetime) -> Throughput:
    """All queues' minutes from `since` to before `until`, added up by the database."""
    document = next(iter(_throughput().aggregate([_between(since, until), {"$group": _added(None)}])), {})
    return _sum(since, document)


def sums_by_step(since: datetime, until: datetime, step: timedelta) -> list[Throughput]:
    """The queues' work added up in each step that has any, in order; steps count from midnight of the epoch."""
    sums: dict[datetime, Document] = {}
    for source, begin, end in _sources(since, until, step, {}):
        for row in source.aggregate([_between(begin, end), {"$group": _added(step_of("minute", step))}]):
            known = sums.setdefault(row.pop("_id"), {})
            for name, value in row.items():
                known[name] = known.get(name, 0) + value
    return [_sum(at, row) for at, row in sorted(sums.items())]


_SUMS = (*COUNTS, "durationSum")
_BUCKETS = [f"b{place}" for place in range(histogram.BUCKETS)]


def _between(since: datetime, until: datetime) -> Document:
    return {"$match": {"minute": {"$gte": since, "$lt": until}, "queueId": {"$ne": None}}}


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
