"""Pages of documents by a date, the newest first."""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar

from bson import ObjectId
from django.db import models
from pymongo import DESCENDING
from pymongo.cursor import Cursor

from queuesite.foundation.databases import Document, collection, database_clock
from queuesite.foundation.documents import read
from queuesite.foundation.workarounds import from_then, slices

M = TypeVar("M", bound=models.Model)


def between(date: str, since: datetime | None, until: datetime | None) -> Document:
    """The condition that a date is `since` or later, and before `until`; without either, none."""
    bounds: Document = {**({} if since is None else from_then(since)), **({} if until is None else {"$lt": until})}
    return {date: bounds} if bounds else {}


def newest(
    model: type[M],
    date: str,
    filters: Document,
    limit: int,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    behind: tuple[datetime, ObjectId] | None = None,
) -> list[M]:
    """Up to `limit` matching documents sorted by (`date`, `_id`), the newest first; an index should begin with them.

    `since` and `until` (before which) bound the date; `behind` is the `(date, _id)` of the last document that is not
    wanted any more, because it and those before it have been read. Raises pymongo's errors.
    """
    found: list[M] = []

    def take(dated: Document | datetime, **more: Document) -> None:
        query: Document = {**filters, **more, **({date: dated} if dated else {})}

        def some(skip: int, wanted: int) -> Cursor[Document]:
            order = [(date, DESCENDING), ("_id", DESCENDING)]
            return collection(model).find(query).sort(order).skip(skip).limit(wanted)

        found.extend(read(model, some, limit - len(found)))

    if behind is not None:
        take(behind[0], _id={"$lt": behind[1]})  # those of the same moment as the last one
        until = behind[0] if until is None else min(until, behind[0])
    for span in slices(since, until, database_clock.now()):
        if len(found) >= limit:
            break
        take(span)
    return found
