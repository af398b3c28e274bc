"""The resource of background tasks, to which the 202 of a long operation links."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from ninja import Query as Parameters
from ninja import Router
from pydantic import Field

from queuesite import tasks
from queuesite.api.auth import caller, needs
from queuesite.api.openapi import link
from queuesite.api.schemas import DEFAULT_PAGE, MAX_PAGE, Out, Query, Timestamp
from queuesite.models import BackgroundTask

if TYPE_CHECKING:
    from django.contrib.auth.models import User

router = Router(tags=["tasks"], by_alias=True)

SEE_ALL = "queuesite.view_backgroundtask"


#: The link from an operation that answers 202 to its task.
LINKS = {202: {"task": link("read_task", "id", "task_id")}}


class TaskOut(Out):
    """A long operation that runs in the background."""

    id: str = Field(examples=["5f3a9e0c1b7d4f6a8c2e9b0d4a7f6c31"])
    kind: str = Field(examples=["redrive"])
    owner: str = Field(description="name of the user who started it; empty if the user was deleted", examples=["ada"])
    state: str = Field(description="queued, running, completed or failed", examples=["running"])
    done: int = Field(description="number of items done", examples=[120])
    total: int | None = Field(description="number of items to do, if known", examples=[500])
    result: dict[str, Any] | None = Field(description="result of a completed task", examples=[{"moved": 500}])
    error: str | None = Field(description="why a failed task failed", examples=[None])
    created_at: Timestamp
    started_at: Timestamp | None
    ended_at: Timestamp | None

    @classmethod
    def of(cls, task: BackgroundTask) -> TaskOut:
        """The answer for a task."""
        return cls(**{name: getattr(task, "owner_name" if name == "owner" else name) for name in cls.model_fields})


class TaskList(Out):
    """The newest tasks."""

    items: list[TaskOut]


class TaskQuery(Query):
    """How many tasks to list."""

    limit: int = Field(DEFAULT_PAGE, ge=1, le=MAX_PAGE, description="largest number of items")


def accepted(request: HttpRequest, task: BackgroundTask, response: HttpResponse) -> TaskOut:
    """The body of a 202, with the task's address in `Location`."""
    response["Location"] = task_address(task.id)
    return TaskOut.of(task)


def task_address(task_id: str) -> str:
    """The address of a task."""
    return reverse("api:read_task", args=[task_id])


def _visible(request: HttpRequest) -> User | None:
    found = caller(request)
    return None if found.may(SEE_ALL) else found.user


@router.get("/tasks", response=TaskList, auth=needs(), url_name="list_tasks")
def list_tasks(request: HttpRequest, query: Parameters[TaskQuery]) -> TaskList:
    """List your newest tasks, or everybody's if you have the permission `queuesite.view_backgroundtask`."""
    return TaskList(items=[TaskOut.of(task) for task in tasks.newest(_visible(request), query.limit)])


@router.get("/tasks/{task_id}", response=TaskOut, auth=needs(), url_name="read_task")
def read_task(request: HttpRequest, task_id: str) -> TaskOut:
    """Get a task with its state, progress and result. Tasks are kept for seven days after their end."""
    return TaskOut.of(tasks.get(task_id, _visible(request)))
