"""Sends the calls of tasks, and records that they were enqueued, with or without MongoDB."""

from __future__ import annotations

from contextlib import suppress

import queues
from queues import task_results
from queues.naming import is_fifo
from queues.sending.outgoing import Options
from queues.task_calls import Call, Change
from queues.task_reports import reports
from queuesite.foundation.errors import MongoUnavailable

#: FIFO queues are in order as a whole: all calls are one message group.
GROUP = "django-tasks"


def deliver(call: Call, delay: int | None) -> None:
    """Send a call to its queue. Raises `NotFound` if there is no such queue, and `ServerError` if SQS fails."""
    options: Options = {"delay": delay}
    if is_fifo(call.queue):
        options |= {"group": GROUP, "deduplication_id": call.id}
    queues.send(call.queue, call.body, **options)


def record(call: Call) -> None:
    """Record that a call was enqueued. It has been sent by now, so a MongoDB that is away is only logged."""
    if reports.worker:  # a consumer's worker does it
        reports.add(Change(call))
        return
    with suppress(MongoUnavailable):  # it has been logged
        task_results.enqueued(call)
