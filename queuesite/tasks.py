"""Background tasks: long operations that somebody asked for, with an owner, progress and a result.

django-q2 (`manage.py qcluster`) runs them, and runs a task again if its process died. So a task's function must be safe
to run twice, or go on from `progress.done`.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django_q.models import Schedule
from django_q.tasks import async_task

from queuesite.foundation.actor import acting
from queuesite.foundation.databases import database_errors, mongodb_errors
from queuesite.foundation.errors import NotFound, QueuesiteError
from queuesite.foundation.logs import get_logger
from queuesite.foundation.public import public_text
from queuesite.models import BackgroundTask, TaskState

if TYPE_CHECKING:
    from django.contrib.auth.models import User

log = get_logger(__name__)

#: Shortest time between two writes of a task's progress, in seconds.
PROGRESS_SECONDS = 0.5
#: How long a task can be read after its end.
KEPT = timedelta(days=7)

#: How late the system's own schedules may be. django-q2 checks every 30 s.
OVERDUE = timedelta(minutes=2)

_FINAL = (TaskState.COMPLETED, TaskState.FAILED)


class Progress:
    """A task's progress. Its function reports it, and it is written at most every PROGRESS_SECONDS."""

    def __init__(self, task: BackgroundTask) -> None:
        self._task = task
        self._written = time.monotonic()
        self.done = task.done

    def set_total(self, total: int) -> None:
        """Set how much there is to do."""
        self._task.total = total
        self._save()

    def advance(self, count: int) -> None:
        """Count `count` more as done."""
        self.done += count
        if time.monotonic() - self._written >= PROGRESS_SECONDS:
            self._save()

    def save(self) -> None:
        """Write the progress now, for what must not be done again."""
        self._save()

    def _save(self) -> None:
        self._task.done = self.done
        self._task.save(update_fields=["done", "total"])
        self._written = time.monotonic()


class Runner(Protocol):
    """What django-q2 calls, by its path, with the task's id."""

    kind: str
    __module__: str
    __qualname__: str

    def __call__(self, task_id: str) -> None:
        """Run the task."""


def background(kind: str, *, resumes: bool = False) -> Callable[[Callable[..., dict[str, Any]]], Runner]:
    """Make a task of a function, which gets its progress and its arguments and returns its result (JSON).

    With `resumes`, a task that is run again goes on from `progress.done`; otherwise it starts from the beginning.
    """

    def decorate(function: Callable[..., dict[str, Any]]) -> Runner:
        @functools.wraps(function)
        def run(task_id: str) -> None:
            _run(function, task_id, resumes)

        run.kind = kind  # type: ignore[attr-defined]
        return run  # type: ignore[return-value]

    return decorate


def _run(function: Callable[..., dict[str, Any]], task_id: str, resumes: bool) -> None:
    task = BackgroundTask.objects.filter(pk=task_id).exclude(state__in=_FINAL).first()
    if task is None:
        return
    task.state, task.started_at = TaskState.RUNNING, timezone.now()
    if not resumes:
        task.done = 0
    task.save(update_fields=["state", "started_at", "done"])
    progress = Progress(task)
    try:
        with mongodb_errors(), acting(lambda: "" if task.owner is None else task.owner.get_username()):
            task.result = function(progress, **task.arguments)
        task.state = TaskState.COMPLETED
    except QueuesiteError as error:
        task.state, task.error = TaskState.FAILED, public_text(error)
    except Exception as error:
        log.exception("task_failed", task=task_id, kind=task.kind)
        task.state, task.error = TaskState.FAILED, f"Queuesite failed ({type(error).__name__}) and has logged the error"
    task.done, task.ended_at = progress.done, timezone.now()
    task.arguments = {}  # which may be megabytes
    task.save()
    log.info("task_ended", task=task_id, kind=task.kind, state=task.state)


def start(runner: Runner, owner: User, *, total: int | None = None, **arguments: Any) -> BackgroundTask:
    """Queue a task for `owner`. Raises `DatabaseUnavailable`."""
    with database_errors(), transaction.atomic():
        BackgroundTask.objects.filter(ended_at__lt=timezone.now() - KEPT).delete()
        task = BackgroundTask.objects.create(kind=runner.kind, owner=owner, total=total, arguments=arguments)
        async_task(f"{runner.__module__}.{runner.__qualname__}", task.id, task_name=f"{runner.kind} {task.id}")
    return task


def get(task_id: str, owner: User | None) -> BackgroundTask:
    """The task of this id, if it is `owner`'s (None: anybody's). Raises `NotFound`."""
    with database_errors():
        task = _of(owner).filter(pk=task_id).first() if task_id.isalnum() else None
    if task is None:
        raise NotFound(f"you have no task {task_id[:64]!r}; tasks are kept for {KEPT.days} days")
    return task


def newest(owner: User | None, limit: int) -> list[BackgroundTask]:
    """The newest tasks of `owner` (None: of everybody)."""
    with database_errors():
        return list(_of(owner).defer("arguments")[:limit])


def are_run() -> bool:
    """Whether some process runs background tasks (`manage.py qcluster`), judged by overdue schedules."""
    with database_errors():
        return not Schedule.objects.filter(next_run__lt=timezone.now() - OVERDUE).exclude(repeats=0).exists()


def _of(owner: User | None) -> QuerySet[BackgroundTask]:
    found = BackgroundTask.objects.select_related("owner")
    return found if owner is None else found.filter(owner=owner)
