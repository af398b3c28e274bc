"""A backend for Django's tasks: they are enqueued to a queue of SQS, and workers run them by the handler `task`.

    TASKS = {"default": {"BACKEND": "queues.django_tasks.SqsBackend", "QUEUES": ["emails", "reports"]}}

`queue_name` is the name of a queue whose handler is `task`. A project that enqueues needs this package, SQS's address
and the permission to send; with MongoDB's address (MONGODB_URI) it can read results too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from django.core import checks
from django.utils.crypto import get_random_string

from queues import declared_tasks, task_objects, task_results, task_sending
from queues.naming import is_fifo, validate_name
from queues.sqs import MAX_DELAY_SECONDS, MAX_MESSAGE_BYTES
from queues.task_calls import Call
from queues.task_library import (
    AnyTask,
    BaseTaskBackend,
    InvalidTask,
    InvalidTaskBackend,
    ResultOfAny,
    TaskResultDoesNotExist,
    normalize_json,
    task_enqueued,
)
from queuesite.foundation.config import get_config
from queuesite.foundation.errors import InvalidInput


class SqsBackend(BaseTaskBackend):
    """Django's backend: `QUEUES` are names of queues (empty: any); it has no OPTIONS."""

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    # SQS gives out messages in no order of importance. Queues have priorities: use one for what is urgent.
    supports_priority = False

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, params)
        if self.options:
            raise InvalidTaskBackend(
                f"TASKS[{alias!r}]: OPTIONS has {', '.join(map(repr, self.options))}, but SqsBackend has no options"
            )

    def validate_task(self, task: AnyTask) -> None:
        """Raise `InvalidTask` for one that cannot be enqueued; note it as declared otherwise."""
        if task.priority:
            raise InvalidTask(
                f"Backend does not support setting priority of tasks. SQS has no priorities for messages: enqueue task "
                f"{task.module_path} to a queue of its own with using(queue_name=…), and give that queue a priority."
            )
        super().validate_task(task)
        if task.run_after is not None and is_fifo(task.queue_name):
            raise InvalidTask(
                f"run_after of task {task.module_path}: {task.queue_name!r} is a FIFO queue, and SQS delays no single "
                "messages of those; use a standard queue"
            )
        declared_tasks.declare(task)

    def enqueue(self, task: AnyTask, args: Sequence[Any], kwargs: Mapping[str, Any]) -> ResultOfAny:
        """Send a call of the task. The result's status can be read as long as its record is kept.

        Raises `InvalidTask`, `TypeError` for arguments that JSON does not have, `NotFound` if SQS has no such queue,
        and `ServerError` if SQS fails; then, if its answer was lost, the task may run.
        """
        self.validate_task(task)
        now = datetime.now(UTC)
        delay = _delay(task)
        call = Call.of(
            get_random_string(32),
            task.module_path,
            task.queue_name,
            self.alias,
            normalize_json(list(args)),
            normalize_json(dict(kwargs)),
            now,
        )
        if len(call.body) > MAX_MESSAGE_BYTES:
            raise InvalidTask(
                f"task {task.module_path} with these arguments is a message of {len(call.body):,} bytes, and SQS takes "
                f"{MAX_MESSAGE_BYTES:,} (1 MiB); pass a key of what is stored elsewhere"
            )
        result = task_objects.result(task, call, "READY")
        task_sending.deliver(call, delay)
        task_sending.record(call)
        task_enqueued.send(type(self), task_result=result)
        return result

    def get_result(self, result_id: str) -> ResultOfAny:
        """The result with this id.

        Raises `TaskResultDoesNotExist` if there is none (any more), or if its task is not declared in this process, and
        `MongoUnavailable` if MongoDB cannot be asked.
        """
        document = task_results.find(result_id)
        if document is None:
            raise TaskResultDoesNotExist(
                f"{result_id}: there is no such result; they are kept {get_config().task_result_days} days"
            )
        task = declared_tasks.find(document["task"])
        if task is None:
            raise TaskResultDoesNotExist(f"{result_id}: {declared_tasks.why_not(document['task'])}")
        return task_results.as_result(task, document)

    def check(self, **kwargs: Any) -> Iterable[checks.CheckMessage]:
        """Check the names of the queues; no server is asked."""
        for name in sorted(self.queues):
            try:
                validate_name(name, prefix=get_config().queue_name_prefix)
            except InvalidInput as error:
                yield checks.Error(f"TASKS[{self.alias!r}]: {error}", id="queues.E001")


def _delay(task: AnyTask) -> int | None:
    """Seconds until the task may run. Raises `InvalidTask` if SQS cannot delay it for so long."""
    if task.run_after is None:
        return None
    seconds = (task.run_after - datetime.now(task.run_after.tzinfo)).total_seconds()
    if seconds > MAX_DELAY_SECONDS:
        raise InvalidTask(
            f"run_after of task {task.module_path} is {seconds:,.0f} s from now, and SQS delays a message for at most "
            f"{MAX_DELAY_SECONDS} s (15 min); enqueue it later, from a scheduler"
        )
    return max(0, math.ceil(seconds))
