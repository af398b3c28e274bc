"""Compares rules about queues, as Python has them, with the same rules as expressions of MongoDB."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from bson import ObjectId

from queues.models import Queue
from queuesite.foundation.databases import database
from queuesite.foundation.documents import to_document

#: The document lacks the field.
MISSING = object()


def documents(**values: tuple[Any, ...]) -> Iterator[dict[str, Any]]:
    """A queue's document for each combination of these fields' values."""
    plain = to_document(Queue(name="", queue_url=""))
    for combination in itertools.product(*values.values()):
        key = ObjectId()
        fields = dict(zip(values, combination, strict=True))
        document = {**plain, "_id": key, "name": str(key), "queueUrl": f"http://sqs/{key}", **fields}
        yield {name: value for name, value in document.items() if value is not MISSING}


def answers(made: list[dict[str, Any]], questions: Mapping[str, Any]) -> dict[ObjectId, dict[str, Any]]:
    """MongoDB's answer to each of these expressions for each document."""
    plain = database()["plain"]  # without the indexes of queues, which take longer than the questions
    plain.insert_many(made)
    found = {row.pop("_id"): row for row in plain.aggregate([{"$project": dict(questions)}])}
    plain.drop()
    return found
