"""All that can be wrong with a queue, each declared once: its rule, its words, since when, and what helps.

As for states (`queues.state`), each rule is there twice, side by side: in Python for queues that have been read, and
for MongoDB, which decides for lists, counts and the order of what needs attention. A test compares the two for every
combination of the fields that a rule reads. Expressions only compare fields and never calculate with them: one
malformed document must not make a query fail that lists a thousand.

Several of them may be true of a queue. Its health is the first one in the order of `PROBLEMS`, the worst.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from queues.health import attempts, thresholds
from queues.health.figures import oldest_message
from queues.health.names import Health as Health
from queues.health.waiting import (
    handles_expression,
    handles_without_end,
    stuck_since,
    waiting_since,
    waits,
    waits_expression,
)
from queues.models import Queue
from queues.state import Context, Expression, State, state_expression, state_of, unserved_reason
from queuesite.foundation.quantities import duration, plural

#: In a filter: any problem.
UNHEALTHY = "unhealthy"


class Tone(StrEnum):
    """How bad it is; the value is the colour of its label."""

    DANGER = "danger"  #: messages are not processed as they should be
    WARNING = "warning"  #: somebody should look at it


@dataclass(frozen=True)
class Rule:
    """One thing that can be wrong with a queue."""

    #: The rule in words, for whoever reads its name in an answer of the API or in the documentation.
    meaning: str
    tone: Tone
    holds: Callable[[Queue, Context], bool]
    expression: Callable[[Context], Expression]
    #: What is wrong, in a sentence without its full stop, of a queue for which the rule holds.
    sentence: Callable[[Queue, Context], str]
    #: Since when, if that is known.
    since: Callable[[Queue, Context], datetime | None]
    #: What to do about it.
    remedy: str
    #: Of several such queues, those with the highest value come first.
    weight: Callable[[Context], Expression]


def _of_failing(queue: Queue, context: Context) -> str:
    found = attempts.recent(queue, context.now, context.limits)
    return f"{found.failed:,} of {plural(found.all, 'attempt')} failed in the last {_minutes(context)} minutes"


def _minutes(context: Context) -> str:
    return f"{context.limits.window.total_seconds() / 60:g}"


def _of_stuck(queue: Queue, context: Context) -> str:
    if handles_without_end(queue, context):
        return "a handler is working on a message, and no attempt has ended"
    if attempts.only_retried(queue, context.now, context.limits):
        often = plural(attempts.recent(queue, context.now, context.limits).retried, "time")
        return f"handlers asked {often} for a retry in the last {_minutes(context)} minutes, and no attempt completed"
    held = plural(queue.depth_visible, "message") if queue.depth_visible else "a wake-up"
    verb = "waits" if queue.depth_visible <= 1 else "wait"
    if not context.fleet.offers:
        return f"{held} {verb}, and no worker runs"
    return f"{held} {verb} although a worker has a place, so no master leads or it cannot see SQS"


def _of_starved(queue: Queue, context: Context) -> str:
    held = plural(queue.depth_visible, "message") if queue.depth_visible else "a wake-up"
    verb = "waits" if queue.depth_visible <= 1 else "wait"
    return f"{held} {verb}: every worker that can serve the queue is full"


def _of_too_old(queue: Queue, context: Context) -> str:
    oldest, limit = oldest_message(queue, context), thresholds.max_age(queue, context)
    age = 0.0 if oldest is None else (context.now - oldest.sent_at).total_seconds()
    words = "at least " if oldest is not None and oldest.at_least else ""
    return f"its oldest message is {words}{duration(age)} old, more than {duration(limit or 0)}"


def _held(context: Context) -> Expression:
    return {"$ifNull": ["$depthVisible", 0]}


#: The worst first.
PROBLEMS: Mapping[Health, Rule] = MappingProxyType(
    {
        Health.VANISHED: Rule(
            "SQS does not have it any more",
            Tone.DANGER,
            lambda queue, context: queue.vanished_at is not None,
            lambda context: {"$gt": ["$vanishedAt", None]},
            lambda queue, context: "SQS does not have the queue any more",
            lambda queue, context: queue.vanished_at,
            "Its owner may have deleted it: delete it here too, or have it created again.",
            _held,
        ),
        Health.UNSERVED: Rule(
            "no live worker has its handler and is in its pool",
            Tone.DANGER,
            lambda queue, context: state_of(queue, context) is State.UNSERVED,
            lambda context: {"$eq": [state_expression(context), State.UNSERVED.value]},
            lambda queue, context: unserved_reason(queue, context) or "",
            lambda queue, context: None,
            "Start a worker that has the handler and is in the pool, or choose another handler or pool.",
            _held,
        ),
        Health.CRASH_LOOPING: Rule(
            "at least HEALTH_CRASH_RUNS runs in a row failed",
            Tone.DANGER,
            lambda queue, context: queue.crash_count >= context.limits.crash_runs,
            lambda context: {"$gte": ["$crashCount", context.limits.crash_runs]},
            lambda queue, context: f"{plural(queue.crash_count, 'run')} in a row failed",
            lambda queue, context: queue.crashing_since,
            "Read the error of its newest job: the consumer itself fails. Pause the queue until the cause is fixed.",
            lambda context: {"$ifNull": ["$crashCount", 0]},
        ),
        Health.TRIPPED: Rule(
            "what its handler needs was down when last tried",
            Tone.DANGER,
            lambda queue, context: queue.trip_count > 0,
            lambda context: {"$gt": ["$tripCount", 0]},
            lambda queue, context: queue.trip_reason or "what its handler needs is down",
            lambda queue, context: queue.tripped_since,
            "Fix what the handler needs. The queue is tried again automatically; “try now” ends the wait.",
            _held,
        ),
        Health.FAILING: Rule(
            "at least `failingPercent` (or else HEALTH_FAILING_PERCENT) of its attempts within HEALTH_WINDOW_MINUTES "
            "failed; retries that handlers ask for are not failures",
            Tone.DANGER,
            lambda queue, context: attempts.are_failing(
                attempts.recent(queue, context.now, context.limits), attempts.share(queue, context.limits)
            ),
            lambda context: attempts.failing_expression(context.now, context.limits),
            _of_failing,
            lambda queue, context: queue.failing_since or attempts.since_when(queue, context.now, context.limits),
            "Read the traceback of its most frequent failure. Pause the queue before its messages become dead letters.",
            lambda context: attempts.failed_expression(context.now, context.limits),
        ),
        Health.STUCK: Rule(
            "no attempt has ended for HEALTH_STUCK_MINUTES, nor within the time limit, although a handler works on a "
            "message; or messages wait that long although a worker has a place; or handlers have asked for retries "
            "that long, again within HEALTH_WINDOW_MINUTES, and no attempt has completed",
            Tone.DANGER,
            lambda queue, context: (
                handles_without_end(queue, context)
                or attempts.only_retried(queue, context.now, context.limits)
                or waits(queue, context, full=False)
            ),
            lambda context: {
                "$or": [
                    handles_expression(context),
                    attempts.only_retried_expression(context.now, context.limits),
                    waits_expression(context, full=False),
                ]
            },
            _of_stuck,
            stuck_since,
            "Find out what its handler waits for, and give it a timeout; if nobody takes the queue, check the masters.",
            _held,
        ),
        Health.MESSAGE_TOO_OLD: Rule(
            "its oldest message is older than its `maxMessageAge` (or else HEALTH_MAX_MESSAGE_AGE_SECONDS) allows, and "
            "it is not paused",
            Tone.DANGER,
            thresholds.too_old,
            thresholds.too_old_expression,
            _of_too_old,
            lambda queue, context: None,
            "See whether one message fails again and again; if the queue is slower than its senders, raise its "
            "concurrency or start more workers.",
            _held,
        ),
        Health.BACKLOG_TOO_LARGE: Rule(
            "more messages are visible than its `maxBacklog` (or else HEALTH_MAX_BACKLOG) allows, and it is not paused",
            Tone.DANGER,
            thresholds.too_many_wait,
            thresholds.too_many_wait_expression,
            lambda queue, context: (
                f"{plural(queue.depth_visible, 'message')} wait, more than {thresholds.max_backlog(queue, context):,}"
            ),
            lambda queue, context: None,
            "Raise its concurrency or its number of consumers, or start more workers.",
            _held,
        ),
        Health.TOO_MANY_DEAD_LETTERS: Rule(
            "it has more dead letters than its `maxDeadLetters` (or else HEALTH_MAX_DEAD_LETTERS) allows",
            Tone.DANGER,
            thresholds.too_many_dead,
            thresholds.too_many_dead_expression,
            lambda queue, context: (
                f"{plural(queue.dead_letters, 'dead letter')}, more than "
                f"{thresholds.max_dead_letters(queue, context):,}"
            ),
            lambda queue, context: None,
            "Read why they failed; redrive them once the cause is fixed, or delete them.",
            lambda context: {"$ifNull": ["$deadLetters", 0]},
        ),
        Health.STARVED: Rule(
            "it has waited for HEALTH_STARVED_SECONDS, and every worker that can serve it is full",
            Tone.WARNING,
            lambda queue, context: waits(queue, context, full=True),
            lambda context: waits_expression(context, full=True),
            _of_starved,
            lambda queue, context: waiting_since(queue),
            "Raise the capacity of workers, or start more; a higher priority lets the queue go before others.",
            _held,
        ),
        Health.PAUSED_WITH_BACKLOG: Rule(
            "it is paused, and has visible messages",
            Tone.WARNING,
            lambda queue, context: queue.paused and queue.depth_visible > 0,
            lambda context: {"$and": [{"$eq": ["$paused", True]}, {"$gt": ["$depthVisible", 0]}]},
            lambda queue, context: f"{plural(queue.depth_visible, 'message')} in a paused queue",
            lambda queue, context: None,
            "Resume it when what it was paused for is done.",
            _held,
        ),
        Health.DEAD_LETTERS_GROWING: Rule(
            "its dead letters became more within HEALTH_DEAD_LETTER_MINUTES",
            Tone.WARNING,
            lambda queue, context: (
                queue.dead_letters > 0
                and queue.dead_letters_grown_at is not None
                and queue.dead_letters_grown_at >= context.now - context.limits.dead_letters
            ),
            lambda context: {
                "$and": [
                    {"$gt": ["$deadLetters", 0]},
                    {"$gte": ["$deadLettersGrownAt", context.now - context.limits.dead_letters]},
                ]
            },
            lambda queue, context: f"{plural(queue.dead_letters, 'dead letter')}, and they became more lately",
            lambda queue, context: queue.dead_letters_grown_at,
            "Read why they failed; redrive them once the cause is fixed.",
            lambda context: {"$ifNull": ["$deadLetters", 0]},
        ),
    }
)


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with a queue."""

    health: Health
    tone: Tone
    sentence: str
    since: datetime | None
    remedy: str


def problems_of(queue: Queue, context: Context) -> list[Problem]:
    """All that is wrong with a queue, the worst first. Pure."""
    return [
        Problem(health, rule.tone, rule.sentence(queue, context), rule.since(queue, context), rule.remedy)
        for health, rule in PROBLEMS.items()
        if rule.holds(queue, context)
    ]


def health_of(queue: Queue, context: Context) -> Health:
    """A queue's health: the worst of what is wrong with it. Pure."""
    return next((health for health, rule in PROBLEMS.items() if rule.holds(queue, context)), Health.HEALTHY)


def health_expression(context: Context) -> Expression:
    """`health_of` a document of the queues' collection."""
    branches = [{"case": rule.expression(context), "then": health.value} for health, rule in PROBLEMS.items()]
    return {"$switch": {"branches": branches, "default": Health.HEALTHY.value}}


def matching(health: Health | None, context: Context) -> Expression:
    """A filter for the queues of which this is true, whatever else is; None: of which anything is."""
    if health not in (None, Health.HEALTHY):
        return {"$expr": PROBLEMS[health].expression(context)}
    known = replace(context, state_at="$$state")
    ill = {"$or": [rule.expression(known) for rule in PROBLEMS.values()]}
    found = ill if health is None else {"$not": [ill]}
    return {"$expr": {"$let": {"vars": {"state": state_expression(context)}, "in": found}}}


@dataclass(frozen=True)
class HealthSelection:
    """The queues of which something is true, of all; None: of which anything is."""

    health: Health | None
    context: Context

    @property
    def filter(self) -> Expression:
        """As MongoDB takes it."""
        return matching(self.health, self.context)
