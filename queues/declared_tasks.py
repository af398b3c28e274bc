"""The tasks that were declared in this process: only these can be run, whatever a message names."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

from django.apps import apps

from queuesite.foundation import home
from queuesite.foundation.config import get_config

if TYPE_CHECKING:
    from queues.task_library import AnyTask

#: Apps whose tasks.py is not about Django's tasks.
_OTHERS = frozenset({"queuesite", "queues", "jobs", "django_q"})

_tasks: dict[str, AnyTask] = {}
_lock = threading.Lock()


def declare(task: AnyTask) -> None:
    """Note a task. Its variants (`task.using(…)`) are the same task."""
    with _lock:
        known = _tasks.get(task.module_path)
        if known is None or known.func is not task.func:  # the module was loaded again
            _tasks[task.module_path] = task


def find(path: str) -> AnyTask | None:
    """The task with this path, or None."""
    return _tasks.get(path)


def why_not(path: str) -> str:
    """Why there is no such task, with the names that come closest."""
    close = difflib.get_close_matches(path, _tasks, n=3, cutoff=0.6)
    known = f"did you mean {' or '.join(close)}?" if close else f"{len(_tasks)} others are"
    return (
        f"task {path[:200]!r} is not declared here; {known} (Tasks are declared by @task in the tasks.py of installed "
        "apps and in TASK_MODULES; a renamed one must keep its old name until its messages are handled.)"
    )


def modules() -> Iterator[tuple[str, str]]:
    """The modules that may declare tasks, each with why it is one of them."""
    for config in apps.get_app_configs():
        if config.name not in _OTHERS and find_spec(f"{config.name}.tasks") is not None:
            yield f"{config.name}.tasks", "an installed app's"
    if home.own_module("tasks"):
        yield "tasks", f"in {home.home()}"
    for module in get_config().task_modules:
        yield module, "named in TASK_MODULES"
