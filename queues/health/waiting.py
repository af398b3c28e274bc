"""How long a queue has been waiting, for a place or for a handler to end. Pure."""

from __future__ import annotations

from datetime import datetime

from queues.health.attempts import only_retried
from queues.models import Queue
from queues.state import WAKE_PENDING, Context, Expression, State, state_expression, state_of


def waiting_since(queue: Queue) -> datetime | None:
    """Since when a queue's messages, or a wake-up, have waited without anybody working at them, as far as is known."""
    woken = queue.wake_requested_at if queue.wake_pending else None
    begun = queue.visible_since if queue.depth_visible > 0 else woken
    if begun is None:
        return None
    return max(moment for moment in (begun, queue.last_attempt_at, queue.served_until, queue.not_before) if moment)


#: The same of a document of the queues' collection.
WAITING_SINCE: Expression = {
    "$let": {
        "vars": {
            "begun": {
                "$cond": [
                    {"$gt": ["$depthVisible", 0]},
                    {"$ifNull": ["$visibleSince", None]},
                    {"$cond": [WAKE_PENDING, "$wakeRequestedAt", None]},
                ]
            }
        },
        "in": {
            "$cond": [
                {"$gt": ["$$begun", None]},
                {"$max": ["$$begun", "$lastAttemptAt", "$servedUntil", "$notBefore"]},
                None,
            ]
        },
    }
}


def waits(queue: Queue, context: Context, *, full: bool) -> bool:
    """Whether it has been waiting for too long while the workers that can serve it are all full, or are not."""
    if state_of(queue, context) is not State.WAITING or context.is_full(queue.handler, queue.pool) is not full:
        return False
    since = waiting_since(queue)
    return since is not None and since <= context.now - (context.limits.starved if full else context.limits.stuck)


def waits_expression(context: Context, *, full: bool) -> Expression:
    """`waits` of a document of the queues' collection."""
    is_full = context.full_expression()
    longest = context.now - (context.limits.starved if full else context.limits.stuck)
    too_long = {"$and": [{"$gt": ["$$since", None]}, {"$lte": ["$$since", longest]}]}
    return {
        "$and": [
            {"$eq": [state_expression(context), State.WAITING.value]},
            {"$let": {"vars": {"since": WAITING_SINCE}, "in": too_long}},
            is_full if full else {"$not": [is_full]},
        ]
    }


def handles_without_end(queue: Queue, context: Context) -> bool:
    """Whether a handler has been at a message for too long, and no other attempt at the queue's messages ended."""
    begun = context.handling.get(queue.name)
    since = context.now - context.limits.stuck
    if begun is None or begun > since:
        return False
    allowed = queue.timeout or 0
    return (context.now - begun).total_seconds() >= allowed and (
        queue.last_attempt_at is None or queue.last_attempt_at <= since
    )


def handles_expression(context: Context) -> Expression:
    """`handles_without_end` of a document of the queues' collection."""
    since = context.now - context.limits.stuck
    long = {name: begun for name, begun in context.handling.items() if begun <= since}
    return {
        "$and": [
            {"$in": ["$name", list(long)]},
            {"$lte": [{"$ifNull": ["$lastAttemptAt", None]}, since]},
            {
                "$or": [
                    {
                        "$and": [
                            {"$eq": ["$name", name]},
                            {"$lte": [{"$ifNull": ["$timeout", 0]}, (context.now - begun).total_seconds()]},
                        ]
                    }
                    for name, begun in long.items()
                ]
            },
        ]
    }


def stuck_since(queue: Queue, context: Context) -> datetime | None:
    """Since when a stuck queue has been so, if that is known."""
    if handles_without_end(queue, context):
        begun = context.handling[queue.name]
        return begun if queue.last_attempt_at is None else max(begun, queue.last_attempt_at)
    if only_retried(queue, context.now, context.limits):
        return queue.retrying_since
    return waiting_since(queue)
