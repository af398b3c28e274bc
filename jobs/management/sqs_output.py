"""What `manage.py sqs` prints of queues and handlers, and of any record as JSON.

JSON is that of the API's schemas, which are imported only where they are used: they take 0.2 s of CPU.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

from queues.handlers import catalogue
from queues.health.rules import Health, health_of, problems_of
from queues.models import Queue
from queues.state import Context, State, state_of, unserved_reason


def state_words(queue: Queue, context: Context) -> str:
    """The state, how long a backoff lasts, and what is wrong with the queue."""
    state, reason = state_of(queue, context), unserved_reason(queue, context)
    left = 0 if queue.not_before is None else math.ceil((queue.not_before - context.now).total_seconds())
    problems = [one for one in problems_of(queue, context) if one.health is not Health.UNSERVED]
    return ", ".join(
        [
            state.value + (f" ({reason})" if reason else ""),
            *([f"next try in {left} s"] if state is State.BACKING_OFF else []),
            *(f"{one.health.label} ({one.sentence})" for one in problems),
        ]
    )


def as_api(items: Iterable[BaseModel]) -> list[dict[str, Any]]:
    """Records for programs, as the API returns them."""
    return [item.model_dump(mode="json", by_alias=True) for item in items]


def handler_as_json(handler: catalogue.Known) -> dict[str, Any]:
    """A handler for programs, as the API returns it, with the place of its code."""
    from jobs.api.handlers import HandlerSummary

    [found] = as_api([HandlerSummary(**HandlerSummary.values(handler))])
    return {**found, "path": None if handler.local is None else handler.local.path}


def queue_as_json(queue: Queue, handlers: catalogue.Catalogue, context: Context) -> dict[str, Any]:
    """A queue for programs, as the API returns it, with its secrets masked; and what is said of its processing."""
    from queues.api.schemas import QueueFields

    [found] = as_api([QueueFields(**QueueFields.values(queue, handlers))])
    return {
        **found,
        "state": state_of(queue, context),
        "unserved": unserved_reason(queue, context),
        "health": health_of(queue, context),
        "problems": [one.health for one in problems_of(queue, context)],
    }
