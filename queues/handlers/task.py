"""The `task` handler: runs Django's tasks that were enqueued with `queues.django_tasks.SqsBackend`.

A message names a task, and only a task that was declared in this process is run: nothing is imported by a message's
words. What the function raises is judged as what any handler raises.
"""

from __future__ import annotations

import json
from typing import Any

from queues import declared_tasks
from queues.handlers.contract import Message, Reject, is_outcome
from queues.task_calls import Call, Change, NoCall
from queues.task_reports import reports

#: The handler's name.
TASK_HANDLER = "task"
#: Longest return value, in bytes of JSON: MongoDB's documents may have 16 MiB, and arguments and errors count too.
MAX_RETURNED_BYTES = 1_048_576


def run_task(message: Message) -> Any:
    """Run a declared task of Django's."""
    try:
        call = Call.parse(message.body, message.queue)
    except NoCall as error:
        raise Reject(f"no task: {error}") from None
    attempt = reports.begin(call, message.id)
    task = declared_tasks.find(call.task)
    if task is None:
        raise Reject(declared_tasks.why_not(call.task))
    # Imported with the first task: other processes need neither these objects nor Django's.
    from queues import task_library as library
    from queues import task_objects

    result = task_objects.running(task, call, attempt, message.receive_count, message.sent_at)
    backend = type(task.get_backend())
    library.task_started.send(sender=backend, task_result=result)
    context = (library.TaskContext(task_result=result),) if task.takes_context else ()
    returned = task.call(*context, *result.args, **result.kwargs)
    if is_outcome(returned):
        return returned
    try:
        text = json.dumps(library.normalize_json(returned))
    except (TypeError, ValueError, RecursionError) as error:
        # A further attempt would do the work again and return the same.
        raise Reject(f"the task's return value cannot be stored as JSON: {error}") from error
    if len(text) > MAX_RETURNED_BYTES:
        raise Reject(
            f"the task's return value has {len(text):,} bytes of JSON; at most {MAX_RETURNED_BYTES:,} are kept"
        )
    reports.returned(message.id, text)
    return None


def finished(change: Change) -> None:
    """Send Django's signal `task_finished`, if the task is not going to be tried again."""
    attempt = change.attempt
    task = declared_tasks.find(change.call.task)
    if attempt is None or task is None or attempt.status == "READY":
        return
    from queues import task_library as library
    from queues import task_objects

    library.task_finished.send(sender=type(task.get_backend()), task_result=task_objects.finished(task, change))
