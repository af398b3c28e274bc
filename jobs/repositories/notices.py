"""The collection `notices`: what was sent, and to whom."""

from __future__ import annotations

from bson import ObjectId
from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.cursor import Cursor

from jobs.alert_models import Notice
from queuesite.foundation.config import get_config
from queuesite.foundation.databases import Document, collection, database_clock
from queuesite.foundation.documents import read, to_document


def indexes() -> tuple[IndexModel, ...]:
    """The collection's index; a changed EVENT_RETENTION_DAYS changes how long notices are kept."""
    lifetime = get_config().event_retention_days * 86_400
    return (IndexModel([("at", ASCENDING)], name="at_ttl", expireAfterSeconds=lifetime),)


def insert(notice: Notice) -> None:
    """Insert a notice of this moment, by the database's clock."""
    notice.id, notice.at = ObjectId(), database_clock.now()
    collection(Notice).insert_one(to_document(notice))


def newest(filters: Document, limit: int) -> list[Notice]:
    """Up to `limit` matching notices, the latest first."""

    def some(skip: int, wanted: int) -> Cursor[Document]:
        order = [("at", DESCENDING), ("_id", DESCENDING)]
        return collection(Notice).find(filters).sort(order).skip(skip).limit(wanted)

    return read(Notice, some, limit)
