"""Reads and writes of the `queues` collection that only queues of other owners need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bson import ObjectId

from queues.models import DepthSample, Queue
from queuesite.foundation.databases import Document, collection
from queuesite.foundation.documents import columns


def holder(queue_url: str, arn: str | None = None) -> tuple[str, str] | None:
    """The name of the queue here that has this queue in SQS, and as what: `queue` or `dead-letter queue`.

    `arn` finds one that was adopted when the server gave its URLs another form.
    """
    as_queue: list[Document] = [{"queueUrl": queue_url}, *([{"queueArn": arn}] if arn else [])]
    for role, wanted in (("queue", as_queue), ("dead-letter queue", [{"dlqUrl": queue_url}])):
        found = collection(Queue).find_one({"$or": wanted}, {"name": 1})
        if found is not None:
            return str(found["name"]), role
    return None


def known_urls() -> set[str]:
    """The URLs of all queues and dead-letter queues that are defined here."""
    found = collection(Queue).find({}, {"queueUrl": 1, "dlqUrl": 1})
    return {url for one in found for url in (one.get("queueUrl"), one.get("dlqUrl")) if url}


def with_dlq(dlq_url: str) -> list[str]:
    """The names of the queues here that have this dead-letter queue."""
    return sorted(str(one["name"]) for one in collection(Queue).find({"dlqUrl": dlq_url}, {"name": 1}))


def followed(queue_id: ObjectId, found: Mapping[str, Any]) -> bool:
    """Record attributes (by Python names) that SQS was found to hold, if any of them differs; whether one did."""
    values = columns(Queue, dict(found))
    differs = [{name: {"$ne": value}} for name, value in values.items()]
    done = collection(Queue).update_one(
        {"_id": queue_id, "managed": False, "$or": differs},
        {"$set": values, "$currentDate": {"updatedAt": True, "syncedAt": True}},
    )
    return bool(done.modified_count)


def forget_depths(queue_id: ObjectId) -> None:
    """Remove the record of what a queue held."""
    collection(DepthSample).delete_many({"queueId": queue_id})


def vanished(queue_id: ObjectId) -> None:
    """Record that SQS does not have the queue any more; the date of the first time stands."""
    dated: Document = {"$currentDate": {"vanishedAt": True}}
    collection(Queue).update_one({"_id": queue_id, "vanishedAt": None}, dated)


def seen(queue_id: ObjectId) -> None:
    """Record that SQS has a queue again that had vanished, and have it looked at."""
    collection(Queue).update_one(
        {"_id": queue_id}, {"$set": {"vanishedAt": None}, "$currentDate": {"wakeRequestedAt": True}}
    )
