"""The collections `handlerVersions`, when which version of a handler was announced, and `handlerHours`, its work.

A version is newer than another if it was first announced later. Its date survives its workers, so that a version whose
last worker is replaced does not become the newest by that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta

from pymongo import ASCENDING, IndexModel, UpdateOne
from pymongo.collection import Collection

from jobs import histogram
from jobs.handler_models import HandlerHour, HandlerVersion
from queues.events import EventKind, record
from queuesite.foundation.config import get_config
from queuesite.foundation.databases import Document, bulk_upsert, collection, database_clock
from queuesite.foundation.documents import to_models

#: How long hours are kept.
HOURS_KEPT = timedelta(days=8)

HOUR_INDEXES = (
    IndexModel([("name", ASCENDING), ("hour", ASCENDING)], name="name_hour"),
    IndexModel([("hour", ASCENDING)], name="hour"),
    IndexModel([("expiresAt", ASCENDING)], name="expiresAt_ttl", expireAfterSeconds=0),
)


def version_indexes() -> tuple[IndexModel, ...]:
    """The indexes of `handlerVersions`."""
    return (
        IndexModel([("name", ASCENDING)], name="name"),
        IndexModel(
            [("announcedAt", ASCENDING)], name="announcedAt_ttl", expireAfterSeconds=get_config().job_retention_seconds
        ),
    )


def _versions() -> Collection[Document]:
    return collection(HandlerVersion)


def announce(versions: Mapping[str, str]) -> None:
    """Record that a worker has these versions of handlers. One that is new is an event."""
    now = database_clock.now()
    keys = [f"{version} {name}" for name, version in versions.items()]
    known = {one["_id"] for one in _versions().find({"_id": {"$in": keys}}, {"_id": 1})}
    bulk_upsert(
        _versions(),
        [
            UpdateOne(
                {"_id": f"{version} {name}"},  # no version has a space
                {
                    "$setOnInsert": {"name": name, "version": version, "firstAnnouncedAt": now},
                    "$currentDate": {"announcedAt": True},
                },
                upsert=True,
            )
            for name, version in versions.items()
        ],
    )
    for name, version in versions.items():
        if f"{version} {name}" not in known:
            record(EventKind.VERSION_DEPLOYED, subject=name, more=version)


def versions(name: str | None = None) -> list[HandlerVersion]:
    """The known versions of one handler, or of all, the newest first."""
    found = to_models(HandlerVersion, _versions().find({} if name is None else {"name": name}))
    return sorted(found, key=lambda one: (one.first_announced_at, one.version), reverse=True)


@dataclass(frozen=True)
class Done:
    """Work to be added to a version of a handler. `hour` is any moment in it, by the database's clock."""

    name: str
    version: str
    hour: datetime
    processed: int = 0
    failed: int = 0
    rejected: int = 0
    timed_out: int = 0
    retried: int = 0
    duration_sum: float = 0.0
    #: Counts by `jobs.histogram` of the seconds in the handler, and of those from a message's sending to its start.
    durations: Sequence[int] = ()
    waits: Sequence[int] = ()


_COUNTS = {
    str(HandlerHour._meta.get_field(one.name).column): one.name  # type: ignore[union-attr]
    for one in fields(Done)
    if one.name not in ("name", "version", "hour", "durations", "waits")
}


def add(done: Iterable[Done]) -> None:
    """Add work, in one bulk write. A repetition after a lost answer counts twice; the counts are for people."""
    writes = []
    for one in done:
        counts = {column: value for column, name in _COUNTS.items() if (value := getattr(one, name))}
        for field in ("durations", "waits"):
            counts |= {f"{field}.{name}": n for name, n in histogram.as_document(getattr(one, field)).items()}
        if counts:
            hour = one.hour.replace(minute=0, second=0, microsecond=0)
            fixed = {"name": one.name, "version": one.version, "hour": hour, "expiresAt": hour + HOURS_KEPT}
            key = f"{hour:%Y%m%dT%H} {one.version} {one.name}"
            writes.append(UpdateOne({"_id": key}, {"$inc": counts, "$setOnInsert": fixed}, upsert=True))
    bulk_upsert(collection(HandlerHour), writes)


def hours(name: str | None, since: datetime) -> list[HandlerHour]:
    """The hours of all versions of a handler (None: of all handlers) that began at `since` or later.

    Of all handlers there is one for each version that was at work in that hour.
    """
    of = {} if name is None else {"name": name}
    return to_models(HandlerHour, collection(HandlerHour).find({**of, "hour": {"$gte": since}}))
