"""A queue's activity, its state: each rule once in Python and beside it once for MongoDB.

MongoDB decides for lists, sums and the overview; Python decides for queues that have been read. A test compares the two
for every combination of the fields that a rule reads. A field that a document lacks counts as its default. Whether
something is wrong with it is a question of its own: `queues.health.rules`.
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
from queues.health.limits import Limits, configured
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


@dataclass(frozen=True)
class Context:
    """What the rules read besides the queue's own fields."""

    now: datetime
    #: Queues that a worker has.
    assigned: frozenset[ObjectId]
    #: What the live workers can do, and those of them that have a place left.
    fleet: Fleet = field(default_factory=Fleet)
    room: Fleet = field(default_factory=Fleet)
    #: By the names of queues whose messages consumers hold, as of the last heartbeats: since when the oldest of those
    #: in slots has been held, and when the oldest of all was sent.
    handling: Mapping[str, datetime] = field(default_factory=dict)
    oldest: Mapping[str, datetime] = field(default_factory=dict)
    limits: Limits = field(default_factory=configured)
    #: Where a query has the state, if it has found it out before: several rules of health ask for it.
    state_at: Expression | None = None

    def is_full(self, handler: str, pool: str | None) -> bool:
        """Whether workers run, and none that can serve such a queue has a place left."""
        return bool(self.fleet.offers) and (not self.room.offers or self.room.reason(handler, pool) is not None)

    def full_expression(self) -> Expression:
        """`is_full` of a document of the queues' collection."""
        if not self.fleet.offers or not self.room.offers:
            return {"$literal": bool(self.fleet.offers)}
        return self.room.unserved({"$ifNull": ["$handler", _HANDLER]}, {"$ifNull": ["$pool", None]})


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


def state_of(queue: Queue, context: Context) -> State:
    """The state of a queue."""
    return next(state for state, rule in STATES.items() if rule.holds(queue, context))


def unserved_reason(queue: Queue, context: Context) -> str | None:
    """Why no live worker can serve a queue; None unless that is its state."""
    unserved = state_of(queue, context) is State.UNSERVED
    return context.fleet.reason(queue.handler, queue.pool) if unserved else None


def state_expression(context: Context) -> Expression:
    """The state of a document of the queues' collection."""
    if context.state_at is not None:
        return context.state_at
    branches = [{"case": rule.expression(context), "then": state.value} for state, rule in STATES.items()]
    return {"$switch": {"branches": branches}}


def matching(what: State, context: Context) -> Expression:
    """A filter for the queues in a state."""
    return {"$expr": {"$eq": [state_expression(context), what.value]}}


@dataclass(frozen=True)
class Selection:
    """The queues in a state, of all."""

    what: State
    context: Context

    @property
    def filter(self) -> Expression:
        """As MongoDB takes it."""
        return matching(self.what, self.context)
