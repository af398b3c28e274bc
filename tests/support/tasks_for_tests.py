"""Tasks of Django's, declared for TASKS["default"]; those of the backport's own tests, and some more."""

from __future__ import annotations

import threading
from typing import Any

from django_tasks import TaskContext, task

from queues.handlers import Reject, Retry, Unavailable

#: What ran, by its first argument.
ran: list[Any] = []
may_end = threading.Event()


@task()
def noop_task(*args: Any, **kwargs: Any) -> None:
    return None


@task
def noop_task_from_bare_decorator(*args: Any, **kwargs: Any) -> None:
    return None


@task()
async def noop_task_async(*args: Any, **kwargs: Any) -> None:
    return None


@task()
def calculate_meaning_of_life() -> int:
    return 42


@task()
async def calculate_meaning_of_life_async() -> int:
    return 42


@task()
def failing_task_value_error() -> None:
    raise ValueError("This task failed due to ValueError")


@task()
def failing_task_system_exit() -> None:
    raise SystemExit("This task failed due to SystemExit")


@task()
def failing_task_keyboard_interrupt() -> None:
    raise KeyboardInterrupt("This task failed due to KeyboardInterrupt")


@task()
def complex_exception() -> None:
    raise ValueError(ValueError("This task failed"))


@task()
def complex_return_value() -> Any:
    return lambda: True


@task(takes_context=True)
def get_task_id(context: TaskContext) -> str:
    return context.task_result.id


@task(takes_context=True)
def attempts(context: TaskContext, fails: int) -> list[Any]:
    """Fail so many times; then return the number of the attempt."""
    if context.attempt <= fails:
        raise ConnectionError("not yet")
    return [context.attempt, context.task_result.status, {"$set": "a.b"}]


@task()
def note(what: str) -> str:
    ran.append(what)
    return what


@task()
def asks_for_a_retry() -> None:
    raise Retry("later", delay=0)


@task()
def rejects() -> Any:
    return Reject("no use")


@task()
def depends() -> None:
    raise Unavailable("stripe")


@task()
def waits_until_told() -> None:
    assert may_end.wait(30)


@task()
def enqueues_another(what: str) -> str:
    return note.enqueue(what).id
