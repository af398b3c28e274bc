"""The question that `manage.py sqs` asks before it deletes a queue."""

from __future__ import annotations

from queues import services
from queues.models import Queue
from queuesite.foundation.errors import QueueMissing


def delete_question(queue: Queue) -> str:
    """What deleting this queue would delete, as a question. Asks SQS for the numbers."""
    if not queue.managed:
        return (
            f"Forget queue {queue.name!r} and its records here? It stays in SQS with its messages, since others own it."
        )
    try:
        size = services.size(queue.name)
    except QueueMissing:
        return f"Delete queue {queue.name!r}, which SQS does not have any more?"
    return f"Delete queue {queue.name!r} with {size.depth.total} messages and {size.dead_letters} dead letters?"
