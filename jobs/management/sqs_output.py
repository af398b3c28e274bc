"""What `manage.py sqs` prints of queues and handlers."""

from __future__ import annotations

import math
from typing import Any

from queues.handlers import catalogue
from queues.health.rules import Health, health_of, problems_of
from queues.models import Queue
from queues.settings import SETTINGS
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


def handler_as_json(handler: catalogue.Known) -> dict[str, Any]:
    """A handler, for programs."""
    return {
        "name": handler.name,
        "versions": [one.version for one in handler.announced],
        "path": None if handler.local is None else handler.local.path,
        "kind": handler.kind or None,
        "timeout": handler.timeout,
        "batch": handler.batch or None,
        "retry": list(handler.retry),
        "breaker": None if handler.breaker is None else vars(handler.breaker),
        "description": handler.summary,
        "options": handler.schema,
    }


def queue_as_json(queue: Queue, handlers: catalogue.Catalogue, context: Context) -> dict[str, Any]:
    """A queue, for programs, with its secrets masked."""
    return {
        "id": queue.id,
        "name": queue.name,
        "queueUrl": queue.queue_url,
        "dlqUrl": queue.dlq_url,
        "managed": queue.managed,
        "queueArn": queue.queue_arn,
        "retentionSeconds": queue.retention_seconds,
        "maxMessageBytes": queue.max_message_bytes,
        "vanishedAt": queue.vanished_at,
        **{setting.field_name: getattr(queue, name) for name, setting in SETTINGS.items()},
        "handlerOptions": handlers.named(queue.handler).masked_options(queue.handler_options),
        "state": state_of(queue, context),
        "unserved": unserved_reason(queue, context),
        "health": health_of(queue, context),
        "problems": [one.health for one in problems_of(queue, context)],
        "crashCount": queue.crash_count,
        "tripCount": queue.trip_count,
        "tripReason": queue.trip_reason,
        "notBefore": queue.not_before,
        "depth": {
            "visible": queue.depth_visible,
            "inFlight": queue.depth_in_flight,
            "delayed": queue.depth_delayed,
            "observedAt": queue.depth_observed_at,
        },
        "createdAt": queue.created_at,
        "updatedAt": queue.updated_at,
        "syncedAt": queue.synced_at,
    }
