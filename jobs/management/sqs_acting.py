"""Before `manage.py sqs` acts: the question that it asks, and who acts and why."""

from __future__ import annotations

import getpass
import os

from queues import services
from queues.models import Queue
from queues.pausing import Note
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


def note(reason: str) -> Note:
    """Who is at the command line, and why."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        name = f"user {os.getuid()}"
    return Note(f"{name} (command line)", reason)
