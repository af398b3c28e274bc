"""The collection `silences`. MongoDB removes those that are over within a minute or two."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from pymongo import ASCENDING, IndexModel, UpdateOne
from pymongo.collection import Collection

from jobs.alert_models import Silence
from queuesite.foundation.databases import Document, bulk_upsert, collection
from queuesite.foundation.documents import to_document, to_models

INDEXES = (IndexModel([("until", ASCENDING)], name="until_ttl", expireAfterSeconds=0),)


def _silences() -> Collection[Document]:
    return collection(Silence)


def begin(silences: Iterable[Silence]) -> None:
    """Write these silences; each replaces the one of its queue, or of everything."""
    bulk_upsert(_silences(), [UpdateOne({"_id": one.id}, {"$set": _fields(one)}, upsert=True) for one in silences])


def _fields(silence: Silence) -> Document:
    return {name: value for name, value in to_document(silence).items() if name != "_id"}


def end(key: str, now: datetime) -> Silence | None:
    """End a silence; the one that held, if any did."""
    found = _silences().find_one_and_delete({"_id": key, "until": {"$gt": now}})
    return None if found is None else next(iter(to_models(Silence, [found])), None)


def holding(now: datetime, keys: Sequence[str] | None = None) -> list[Silence]:
    """Those (of these keys) that hold, the first to end first."""
    which: Document = {} if keys is None else {"_id": {"$in": list(keys)}}
    return to_models(Silence, _silences().find({"until": {"$gt": now}, **which}).sort("until", ASCENDING))
