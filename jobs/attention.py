"""Queues that somebody should look at, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jobs import reads
from jobs.models import Assignment, Failure, Lease, Worker
from jobs.repositories import failures
from jobs.shared import shared
from queues import summaries
from queues.health.rules import Problem, problems_of
from queues.models import Queue
from queues.state import Context
from queuesite.foundation import documents
from queuesite.foundation.errors import MalformedDocument

#: Most malformed documents that are searched for.
MALFORMED_FOUND = 100


@dataclass(frozen=True)
class Attention:
    """A queue, and all that is wrong with it, the worst first."""

    queue: Queue
    problems: Sequence[Problem]
    #: The most frequent kind of failure that was seen within the window of the failing rule.
    failure: Failure | None = None


def malformed(limit: int = MALFORMED_FOUND) -> list[MalformedDocument]:
    """Up to `limit` malformed documents, which no process can use; a queue among them is not processed.

    Only the small collections are searched: MongoDB reads all of a collection for it. Raises `MongoUnavailable`.
    """
    found = [error for model in (Queue, Worker, Assignment, Lease) for error in documents.malformed(model, limit)]
    return found[:limit]


def shared_malformed() -> list[MalformedDocument]:
    """As `malformed`, with a slow result shared by all requests to this web process."""
    return shared("malformed", malformed)


def needed(limit: int, context: Context | None = None) -> list[Attention]:
    """Up to `limit` queues that need attention, the most urgent first.

    Two queries, however many queues there are; `context` is read unless it is given. Raises `MongoUnavailable`.
    """
    context = reads.queue_context() if context is None else context
    found = summaries.most_urgent(context, limit)
    top = failures.most_frequent(found, context.now - context.limits.window)
    judged = [Attention(queue, problems_of(queue, context), top.get(queue.id)) for queue in found]
    # Between the database's answer and Python's, a rule sees the same documents at the same moment.
    return [one for one in judged if one.problems]
