"""Django's tasks under one name: `django.tasks` from Django 6.0, before that its backport, `django_tasks`.

The two have the same classes in the same modules. Only the names of two exceptions differ, and only the backport's
classes are generic.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django_tasks.backends.base import BaseTaskBackend as BaseTaskBackend
    from django_tasks.base import Task as Task
    from django_tasks.base import TaskContext as TaskContext
    from django_tasks.base import TaskError as TaskError
    from django_tasks.base import TaskResult as TaskResult
    from django_tasks.base import TaskResultStatus as TaskResultStatus
    from django_tasks.exceptions import InvalidTaskBackendError, InvalidTaskError
    from django_tasks.exceptions import TaskResultDoesNotExist as TaskResultDoesNotExist
    from django_tasks.signals import task_enqueued as task_enqueued
    from django_tasks.signals import task_finished as task_finished
    from django_tasks.signals import task_started as task_started
    from django_tasks.utils import normalize_json as normalize_json

    InvalidTask, InvalidTaskBackend = InvalidTaskError, InvalidTaskBackendError
    AnyTask = Task[Any, Any]
    ResultOfAny = TaskResult[Any]
else:
    PACKAGE = "django.tasks" if find_spec("django.tasks") is not None else "django_tasks"

    def _module(name: str) -> Any:
        return import_module(f"{PACKAGE}.{name}")

    def _either(module: Any, *names: str) -> Any:
        return next(getattr(module, name) for name in names if hasattr(module, name))

    BaseTaskBackend = _module("backends.base").BaseTaskBackend
    Task, TaskContext, TaskError, TaskResult, TaskResultStatus = (
        getattr(_module("base"), name)
        for name in ("Task", "TaskContext", "TaskError", "TaskResult", "TaskResultStatus")
    )
    # Django's own are not generic.
    AnyTask, ResultOfAny = Task, TaskResult
    InvalidTask = _either(_module("exceptions"), "InvalidTask", "InvalidTaskError")
    InvalidTaskBackend = _either(_module("exceptions"), "InvalidTaskBackend", "InvalidTaskBackendError")
    TaskResultDoesNotExist = _module("exceptions").TaskResultDoesNotExist
    task_enqueued, task_finished, task_started = (
        getattr(_module("signals"), name) for name in ("task_enqueued", "task_finished", "task_started")
    )
    if PACKAGE == "django.tasks":
        normalize_json = import_module("django.utils.json").normalize_json
    else:
        normalize_json = _module("utils").normalize_json
