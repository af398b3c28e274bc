"""A queue's state and what is wrong with it: each rule once in Python and once, beside it, for MongoDB.

MongoDB decides for lists, sums and the overview; Python decides for queues that have been read. A test compares the two
for every combination of the fields that a rule reads. A field that a document lacks counts as its default.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from bson import ObjectId

from queues.fleet import Fleet
from queues.models import Queue

#: An expression of MongoDB's aggregation, or a filter.
Expression = Any


class State(StrEnum):
    """What a queue is doing. The value is the word in the API, in metrics and on the command line."""

    ACTIVE = "active"  #: a worker has it
    UNSERVED = "unserved"  #: no live worker has its handler and is in its pool
    WAITING = "waiting"  #: it has messages, or somebody asked to have it looked at, and no worker has it
    BACKING_OFF = "backing-off"  #: it waits after failed runs
    PAUSED = "paused"
    IDLE = "idle"

    @property
    def label(self) -> str:
        """The word as pages show it."""
        return self.value.replace("-", " ")


class Condition(StrEnum):
    """What can be wrong with a queue, in whatever state it is."""

    VANISHED = "not in SQS any more"
    CRASH_LOOPING = "crash-looping"
    TRIPPED = "tripped"  #: what its handler needs was down when last tried
    FAILING = "failing"
    PAUSED_WITH_BACKLOG = "paused with backlog"
    DEAD_LETTERS = "dead letters"

    @property
    def label(self) -> str:
        """The word as pages show it."""
        return self.value


@dataclass(frozen=True)
class Context:
    """What the rules read beside the queue's own fields."""

    now: datetime
    #: Queues that a worker has.
    assigned: frozenset[ObjectId]
    #: Queues whose share of failed attempts is `attempts_are_failing`: failed and processed attempts of each. Counting
    #: them is costly, so that they are None where no rule asks for them.
    failing: Mapping[ObjectId, tuple[int, int]] | None = None
    #: What the live workers can do.
    fleet: Fleet = field(default_factory=Fleet)

    def failing_queues(self) -> Mapping[ObjectId, tuple[int, int]]:
        """Raises `ValueError` if nobody counted them."""
        if self.failing is None:
            raise ValueError("this context was made without the failing queues: ask for them when it is made")
        return self.failing


@dataclass(frozen=True)
class Rule:
    """A question about a queue that is answered with yes or no, by Python and by MongoDB alike."""

    holds: Callable[[Queue, Context], bool]
    expression: Callable[[Context], Expression]


#: `Queue.wake_pending`. A date is greater than null; without `$ifNull`, a missing field would be less than it.
WAKE_PENDING: Expression = {"$gt": [{"$ifNull": ["$wakeRequestedAt", None]}, {"$ifNull": ["$servedUntil", None]}]}

_HANDLER = Queue._meta.get_field("handler").get_default()

#: The first rule that holds gives the state.
STATES: Mapping[State, Rule] = MappingProxyType(
    {
        State.PAUSED: Rule(
            lambda queue, context: queue.paused,
            lambda context: {"$eq": ["$paused", True]},
        ),
        State.ACTIVE: Rule(
            lambda queue, context: queue.id in context.assigned,
            lambda context: {"$in": ["$_id", list(context.assigned)]},
        ),
        State.UNSERVED: Rule(
            lambda queue, context: context.fleet.reason(queue.handler, queue.pool) is not None,
            lambda context: context.fleet.unserved({"$ifNull": ["$handler", _HANDLER]}, {"$ifNull": ["$pool", None]}),
        ),
        State.BACKING_OFF: Rule(
            lambda queue, context: queue.not_before is not None and queue.not_before > context.now,
            lambda context: {"$gt": ["$notBefore", context.now]},
        ),
        State.WAITING: Rule(
            lambda queue, context: queue.depth_visible > 0 or queue.wake_pending,
            lambda context: {"$or": [{"$gt": ["$depthVisible", 0]}, WAKE_PENDING]},
        ),
        State.IDLE: Rule(
            lambda queue, context: True,
            lambda context: True,
        ),
    }
)

#: A queue is failing if at least this share of its attempts within `FAILING_WITHIN_MINUTES` failed.
FAILING_SHARE = 0.1
FAILING_WITHIN_MINUTES = 15


def attempts_are_failing(failed: int, processed: int) -> bool:
    """Whether so many failed attempts among so many in all make a queue a failing one."""
    return failed > 0 and failed >= FAILING_SHARE * (failed + processed)


#: The same of a document with the sums `failed` and `processed`.
ATTEMPTS_ARE_FAILING: Expression = {
    "$and": [
        {"$gt": ["$failed", 0]},
        {"$gte": ["$failed", {"$multiply": [FAILING_SHARE, {"$add": ["$failed", "$processed"]}]}]},
    ]
}

#: Failed runs in a row from which on a queue is crash-looping: a single one may be an accident.
CRASH_LOOP = 2

CONDITIONS: Mapping[Condition, Rule] = MappingProxyType(
    {
        Condition.VANISHED: Rule(
            lambda queue, context: queue.vanished_at is not None,
            lambda context: {"$gt": ["$vanishedAt", None]},
        ),
        Condition.CRASH_LOOPING: Rule(
            lambda queue, context: queue.crash_count >= CRASH_LOOP,
            lambda context: {"$gte": ["$crashCount", CRASH_LOOP]},
        ),
        Condition.TRIPPED: Rule(
            lambda queue, context: queue.trip_count > 0,
            lambda context: {"$gt": ["$tripCount", 0]},
        ),
        Condition.FAILING: Rule(
            lambda queue, context: queue.id in context.failing_queues(),
            lambda context: {"$in": ["$_id", list(context.failing_queues())]},
        ),
        Condition.PAUSED_WITH_BACKLOG: Rule(
            lambda queue, context: queue.paused and queue.depth_visible > 0,
            lambda context: {"$and": [{"$eq": ["$paused", True]}, {"$gt": ["$depthVisible", 0]}]},
        ),
        Condition.DEAD_LETTERS: Rule(
            lambda queue, context: queue.dead_letters > 0,
            lambda context: {"$gt": ["$deadLetters", 0]},
        ),
    }
)


def state_of(queue: Queue, context: Context) -> State:
    """The state of a queue."""
    return next(state for state, rule in STATES.items() if rule.holds(queue, context))


def unserved_reason(queue: Queue, context: Context) -> str | None:
    """Why no live worker can serve a queue; None unless that is its state."""
    unserved = state_of(queue, context) is State.UNSERVED
    return context.fleet.reason(queue.handler, queue.pool) if unserved else None


def state_expression(context: Context) -> Expression:
    """The state of a document of the queues' collection."""
    branches = [{"case": rule.expression(context), "then": state.value} for state, rule in STATES.items()]
    return {"$switch": {"branches": branches}}


def conditions_of(queue: Queue, context: Context) -> list[Condition]:
    """All that is wrong with a queue."""
    return [condition for condition, rule in CONDITIONS.items() if rule.holds(queue, context)]


def matching(what: State | Condition, context: Context) -> Expression:
    """A filter for the queues in a state or condition."""
    if isinstance(what, Condition):
        return {"$expr": CONDITIONS[what].expression(context)}
    return {"$expr": {"$eq": [state_expression(context), what.value]}}


@dataclass(frozen=True)
class Selection:
    """The queues in a state or condition, of all."""

    what: State | Condition
    context: Context

    @property
    def filter(self) -> Expression:
        """As MongoDB takes it."""
        return matching(self.what, self.context)
