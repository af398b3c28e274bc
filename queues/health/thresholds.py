"""What a queue may hold: a limit of its own, or else that of the configuration. Pure.

As everywhere in the model, each rule is there for Python and for MongoDB. A paused queue has no age and no backlog that
would be too much: that it is paused is a problem of its own.
"""

from __future__ import annotations

from datetime import timedelta

from queues.health.figures import oldest_message
from queues.health.waiting import WAITING_SINCE
from queues.models import Queue
from queues.state import Context, Expression


def _own(field: str, default: int | None) -> Expression:
    return {"$ifNull": [f"${field}", default]}


def max_age(queue: Queue, context: Context) -> int | None:
    """How old its oldest message may be, in seconds; None: as old as it likes."""
    return context.limits.max_message_age if queue.max_message_age is None else queue.max_message_age


def max_backlog(queue: Queue, context: Context) -> int | None:
    """How many visible messages it may hold; None: any number."""
    return context.limits.max_backlog if queue.max_backlog is None else queue.max_backlog


def max_dead_letters(queue: Queue, context: Context) -> int | None:
    """How many dead letters it may have; None: any number."""
    return context.limits.max_dead_letters if queue.max_dead_letters is None else queue.max_dead_letters


def too_old(queue: Queue, context: Context) -> bool:
    """Whether the oldest message that is known of is older than it may be."""
    limit, oldest = max_age(queue, context), oldest_message(queue, context)
    return (
        limit is not None
        and not queue.paused
        and oldest is not None
        and oldest.sent_at < context.now - timedelta(seconds=limit)
    )


def too_old_expression(context: Context) -> Expression:
    """`too_old` of a document of the queues' collection."""
    limit = _own("maxMessageAge", context.limits.max_message_age)
    held = dict(context.oldest)
    names = {"$literal": list(held)}
    waits = {
        "$and": [{"$gt": ["$depthVisible", 0]}, {"$gt": [WAITING_SINCE, None]}, {"$lt": [WAITING_SINCE, "$$since"]}]
    }
    holds = {
        "$cond": [
            {"$in": ["$name", names]},
            {
                "$lt": [
                    {"$arrayElemAt": [{"$literal": list(held.values())}, {"$indexOfArray": [names, "$name"]}]},
                    "$$since",
                ]
            },
            False,
        ]
    }
    return {
        "$and": [
            # Nothing is calculated with what is not a number, which would make the whole query fail.
            {"$isNumber": limit},
            {"$ne": ["$paused", True]},
            {
                "$let": {
                    "vars": {
                        "since": {
                            "$subtract": [
                                context.now,
                                {"$multiply": [{"$cond": [{"$isNumber": limit}, limit, 0]}, 1_000]},
                            ]
                        }
                    },
                    "in": {"$or": [waits, holds]},
                }
            },
        ]
    }


def too_many_wait(queue: Queue, context: Context) -> bool:
    """Whether more messages are visible than may be."""
    limit = max_backlog(queue, context)
    return limit is not None and not queue.paused and queue.depth_visible > limit


def too_many_wait_expression(context: Context) -> Expression:
    """`too_many_wait` of a document of the queues' collection."""
    limit = _own("maxBacklog", context.limits.max_backlog)
    return {"$and": [{"$isNumber": limit}, {"$ne": ["$paused", True]}, {"$gt": ["$depthVisible", limit]}]}


def too_many_dead(queue: Queue, context: Context) -> bool:
    """Whether there are more dead letters than may be."""
    limit = max_dead_letters(queue, context)
    return limit is not None and queue.dead_letters > limit


def too_many_dead_expression(context: Context) -> Expression:
    """`too_many_dead` of a document of the queues' collection."""
    limit = _own("maxDeadLetters", context.limits.max_dead_letters)
    return {"$and": [{"$isNumber": limit}, {"$gt": ["$deadLetters", limit]}]}
