"""Queues added up, counted and ranked by the database: one pass over the collection for each answer.

Functions raise pymongo's errors as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from bson import ObjectId
from pymongo import ASCENDING, DESCENDING
from pymongo.collection import Collection

from queues.health.rules import PROBLEMS, Health, health_expression
from queues.health.waiting import WAITING_SINCE
from queues.models import Queue
from queues.state import Context, State, matching, state_expression
from queuesite.foundation.databases import Document, collection
from queuesite.foundation.documents import to_models


def _queues() -> Collection[Document]:
    return collection(Queue)


@dataclass(frozen=True)
class Sums:
    """Queues of one state: how many, and what they hold together."""

    queues: int
    visible: int
    in_flight: int
    delayed: int
    dead_letters: int


@dataclass(frozen=True)
class HealthCounts:
    """How many queues there are, how many have a problem, and how many have each; a queue may have several."""

    queues: int
    ill: int
    problems: dict[Health, int]


_HELD = {
    "visible": "depthVisible",
    "inFlight": "depthInFlight",
    "delayed": "depthDelayed",
    "deadLetters": "deadLetters",
}


def counted(context: Context, filters: Document | None = None) -> tuple[dict[State, Sums], HealthCounts]:
    """The queues (that match) added up by their state, and counted by what is wrong with them.

    A state that no queue is in is left out.
    """
    names, known = [health.name for health in PROBLEMS], replace(context, state_at="$state")
    pipeline: list[Document] = [
        {"$match": filters or {}},
        {"$set": {"state": state_expression(context)}},
        {
            "$project": {
                "_id": 0,
                "state": 1,
                **dict.fromkeys(_HELD.values(), 1),
                **{health.name: rule.expression(known) for health, rule in PROBLEMS.items()},
            }
        },
        {
            "$group": {
                "_id": "$state",
                "queues": {"$sum": 1},
                **{name: {"$sum": f"${field}"} for name, field in _HELD.items()},
                "ill": {"$sum": {"$cond": [{"$or": [f"${name}" for name in names]}, 1, 0]}},
                **{name: {"$sum": {"$cond": [f"${name}", 1, 0]}} for name in names},
            }
        },
    ]
    rows = list(_queues().aggregate(pipeline))
    sums = {State(row["_id"]): Sums(row["queues"], *(row[name] for name in _HELD)) for row in rows}
    problems = {health: sum(row[health.name] for row in rows) for health in PROBLEMS}
    counts = HealthCounts(
        sum(row["queues"] for row in rows),
        sum(row["ill"] for row in rows),
        {health: count for health, count in problems.items() if count},
    )
    return sums, counts


def most_urgent(context: Context, limit: int) -> list[Queue]:
    """Up to `limit` queues that have a problem: by the worst that each has, then those that it concerns most."""
    order = [health.value for health in PROBLEMS]
    weights = [
        {"case": {"$eq": ["$is", health.value]}, "then": rule.weight(context)} for health, rule in PROBLEMS.items()
    ]
    pipeline: list[Document] = [
        {"$set": {"state": state_expression(context)}},
        {"$set": {"is": health_expression(replace(context, state_at="$state"))}},
        {"$match": {"is": {"$ne": Health.HEALTHY.value}}},
        {
            "$set": {
                "rank": {"$indexOfArray": [order, "$is"]},
                "weight": {"$switch": {"branches": weights, "default": 0}},
            }
        },
        {"$sort": {"rank": ASCENDING, "weight": DESCENDING, "name": ASCENDING}},
        {"$limit": limit},
    ]
    return to_models(Queue, _queues().aggregate(pipeline), bounded=False)


def longest_waiting(context: Context, limit: int) -> list[tuple[Queue, datetime | None]]:
    """Queues that wait for a worker, each with the moment since when it does, the earliest first."""
    pipeline: list[Document] = [
        {"$match": matching(State.WAITING, context)},
        {"$set": {"since": WAITING_SINCE}},
        {"$set": {"undated": {"$eq": [{"$ifNull": ["$since", None]}, None]}}},
        {"$sort": {"undated": ASCENDING, "since": ASCENDING, "name": ASCENDING}},
        {"$limit": limit},
    ]
    since = {}

    def dated() -> Iterator[Document]:
        for document in _queues().aggregate(pipeline):
            since[document["_id"]] = document.get("since")
            yield document

    return [(queue, since[queue.id]) for queue in to_models(Queue, dated(), bounded=False)]


@dataclass(frozen=True)
class Named:
    """A queue, for orders that need nothing else of it."""

    id: ObjectId
    name: str
    #: Since when its messages have waited; None: none is visible, or nobody knows (`queues.health.waiting`).
    waiting_since: datetime | None


def named(filters: Document) -> list[Named]:
    """All queues that match, by name."""
    since = {"$cond": [{"$gt": ["$depthVisible", 0]}, WAITING_SINCE, None]}
    pipeline: list[Document] = [
        {"$match": filters},
        {"$project": {"name": 1, "since": since}},
        {"$sort": {"name": ASCENDING}},
    ]
    rows = _queues().aggregate(pipeline)
    return [Named(row["_id"], row["name"], row.get("since")) for row in rows if isinstance(row.get("name"), str)]
