"""Queues as `manage.py sqs` shows them."""

from __future__ import annotations

from typing import Any

from queues.handlers import registry
from queues.models import Queue
from queues.settings import SETTINGS
from queues.state import Condition, Context, conditions_of, state_of


def state_words(queue: Queue, context: Context) -> str:
    """The state, and whether the queue's runs or attempts fail."""
    wrong = conditions_of(queue, context)
    return ", ".join(
        [
            state_of(queue, context).value,
            *([f"crash-looping ({queue.crash_count} runs)"] if Condition.CRASH_LOOPING in wrong else []),
            *(["failing"] if Condition.FAILING in wrong else []),
            *([Condition.VANISHED.value] if Condition.VANISHED in wrong else []),
        ]
    )


def as_json(queue: Queue) -> dict[str, Any]:
    """A queue under MongoDB's names of its fields; secret options are masked."""
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
        "handlerOptions": registry.masked_options(queue.handler, queue.handler_options),
        "crashCount": queue.crash_count,
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
