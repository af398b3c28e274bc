"""Reads and writes of the `events` collection."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from bson import ObjectId
from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.collection import Collection
from pymongo.cursor import Cursor

from queues.event_model import Event
from queuesite.foundation.config import get_config
from queuesite.foundation.databases import Document, collection, database_clock
from queuesite.foundation.documents import read, to_document, to_models


def indexes() -> tuple[IndexModel, ...]:
    """The collection's indexes; a changed EVENT_RETENTION_DAYS changes how long events are kept."""
    return (
        IndexModel([("queueName", ASCENDING), ("at", DESCENDING)], name="queueName_at"),
        IndexModel([("kind", ASCENDING), ("at", DESCENDING)], name="kind_at"),
        IndexModel([("at", ASCENDING)], name="at_ttl", expireAfterSeconds=get_config().event_retention_days * 86_400),
    )


def _events() -> Collection[Document]:
    return collection(Event)


def insert(event: Event) -> None:
    """Insert an event of this moment, by the database's clock."""
    event.id, event.at = ObjectId(), database_clock.now()
    _events().insert_one(to_document(event))


def newest(filters: Document, limit: int) -> list[Event]:
    """Up to `limit` matching events, the latest first."""

    def some(skip: int, wanted: int) -> Cursor[Document]:
        return _events().find(filters).sort([("at", DESCENDING), ("_id", DESCENDING)]).skip(skip).limit(wanted)

    return read(Event, some, limit)


def count(filters: Document, most: int) -> int:
    """How many events match, counted up to `most`."""
    return _events().count_documents(filters, limit=most)


def between(since: datetime, until: datetime, queue: str | None, kinds: Sequence[str], limit: int) -> list[Event]:
    """The latest `limit` events in a span, of a queue or of these kinds, in their order."""
    which: Document = {"kind": {"$in": list(kinds)}} if queue is None else {"queueName": queue}
    found = _events().find({**which, "at": {"$gte": since, "$lt": until}}).sort("at", DESCENDING).limit(limit)
    return to_models(Event, found)[::-1]
