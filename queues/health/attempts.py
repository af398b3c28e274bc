"""The attempts of the last minutes, which each queue's document has in four slots that are used in turn.

    recentAttempts: {"0": {"at": the slot's beginning, "processed": 90, "failed": 10, "retried": 0}, "1": …}

A slot is a third of the window (HEALTH_WINDOW_MINUTES): the present one and two or three before it are within the
window. So lists, sums and filters need nothing but the queues themselves to say which are failing, however many minutes
of however many queues are on record. The worker that reports attempts counts them here with its record of throughput.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bson.int64 import Int64

from queues.health.limits import Limits
from queues.models import Queue
from queues.state import Expression

SLOTS = 4
FIELD = "recentAttempts"
COUNTS = ("processed", "failed", "retried")
_NUMBERS = (int, float, Int64)


@dataclass(frozen=True)
class Attempts:
    """Attempts that ended: handled, failed, or with a retry that the handler asked for, which is not a failure."""

    processed: int = 0
    failed: int = 0
    retried: int = 0

    @property
    def all(self) -> int:
        """How many there were."""
        return self.processed + self.failed + self.retried


def recent(queue: Queue, now: datetime, limits: Limits) -> Attempts:
    """The attempts of the slots that began within the window before `now`. A malformed slot counts as empty."""
    since = now - limits.window
    slots = [one for one in map(queue.attempts.get, map(str, range(SLOTS))) if _is_slot(one) and one["at"] > since]
    return Attempts(*(sum(one[name] for one in slots) for name in COUNTS))


def since_when(queue: Queue, now: datetime, limits: Limits) -> datetime | None:
    """The beginning of the earliest slot within the window that has attempts; None if there is none."""
    since = now - limits.window
    slots = [one for one in map(queue.attempts.get, map(str, range(SLOTS))) if _is_slot(one) and one["at"] > since]
    return min((one["at"] for one in slots), default=None)


def _is_slot(slot: Any) -> bool:
    return (
        isinstance(slot, dict)
        and isinstance(slot.get("at"), datetime)
        and all(type(slot.get(name)) in _NUMBERS for name in COUNTS)
    )


def share(queue: Queue, limits: Limits) -> float:
    """The share of failed attempts, from 0 to 1, from which on the queue is failing."""
    return limits.failing_share if queue.failing_percent is None else queue.failing_percent / 100


def are_failing(attempts: Attempts, share: float) -> bool:
    """Whether this many failed attempts of this many are too many."""
    return attempts.failed > 0 and attempts.failed >= share * attempts.all


def only_retried(queue: Queue, now: datetime, limits: Limits) -> bool:
    """Whether handlers have been asking for retries for too long, and no attempt has completed."""
    since = queue.retrying_since
    return since is not None and since <= now - limits.stuck and recent(queue, now, limits).retried > 0


def only_retried_expression(now: datetime, limits: Limits) -> Expression:
    """`only_retried` of a document of the queues' collection."""
    return {
        "$and": [
            {"$gt": ["$retryingSince", None]},
            {"$lte": ["$retryingSince", now - limits.stuck]},
            {"$gt": [_sum("retried", now, limits), 0]},
        ]
    }


def are_numbers(slot: str) -> list[Expression]:
    """Whether a slot (its path) has counts: a sum with anything else would make the whole query fail."""
    return [{"$isNumber": f"${slot}.{name}"} for name in COUNTS]


def _sum(name: str, now: datetime, limits: Limits) -> Expression:
    since = now - limits.window
    slots = [f"{FIELD}.{place}" for place in range(SLOTS)]
    dated = [{"$and": [{"$eq": [{"$type": f"${s}.at"}, "date"]}, {"$gt": [f"${s}.at", since]}]} for s in slots]
    counts = [
        {"$cond": [{"$and": [within, *are_numbers(slot)]}, f"${slot}.{name}", 0]}
        for slot, within in zip(slots, dated, strict=True)
    ]
    return {"$add": counts}


def failed_expression(now: datetime, limits: Limits) -> Expression:
    """`recent(…).failed` of a document of the queues' collection."""
    return _sum("failed", now, limits)


def _share_expression(limits: Limits) -> Expression:
    own = {"$divide": ["$failingPercent", 100]}
    return {"$cond": [{"$isNumber": "$failingPercent"}, own, limits.failing_share]}


def failing_expression(now: datetime, limits: Limits) -> Expression:
    """`are_failing(recent(…))` of a document of the queues' collection."""
    share = {"$multiply": [_share_expression(limits), {"$add": [f"$${name}" for name in COUNTS]}]}
    too_many = {"$and": [{"$gt": ["$$failed", 0]}, {"$gte": ["$$failed", share]}]}
    return {
        "$and": [
            # Nothing is added up for the many queues without any failed attempt: lists ask this of every queue.
            {"$or": [{"$gt": [f"${FIELD}.{place}.failed", 0]} for place in range(SLOTS)]},
            {"$let": {"vars": {name: _sum(name, now, limits) for name in COUNTS}, "in": too_many}},
        ]
    }
