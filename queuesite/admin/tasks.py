"""Pages of background tasks with their progress, and of django-q2's own records, in the admin's theme."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from django_q import admin as django_q_admin
from django_q.models import Failure, OrmQ, Schedule, Success
from unfold.decorators import display

from queuesite import tasks
from queuesite.admin.forms import FormsAdmin, at
from queuesite.admin.records import RecordsAdmin, address
from queuesite.admin.tables import Column, Listing
from queuesite.foundation import markup
from queuesite.foundation.errors import NotFound
from queuesite.foundation.quantities import plural
from queuesite.groups import Grants
from queuesite.models import BackgroundTask, TaskState
from queuesite.navigation import Place, Section
from queuesite.templatetags.cells import cut, link
from queuesite.templatetags.moments import moment
from queuesite.templatetags.quantities import duration

SHOWN = 100
#: How long a task may stay queued until the page warns that no qcluster runs.
PATIENCE = timedelta(seconds=15)

_VARIANTS = {
    TaskState.QUEUED: "default",
    TaskState.RUNNING: "info",
    TaskState.COMPLETED: "success",
    TaskState.FAILED: "danger",
}


@admin.register(BackgroundTask)
class BackgroundTaskAdmin(RecordsAdmin):
    """Long operations. They can be viewed, but not changed."""

    at = "tasks"
    place = Place(Section.PROCESSES, 3, "Background tasks", "pending_actions")
    grants = Grants(viewers=("view_backgroundtask",))

    def has_change_permission(self, request: HttpRequest, obj: BackgroundTask | None = None) -> bool:
        return False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, str] | None = None) -> HttpResponse:
        """List the newest tasks of all users."""
        self.require_view(request)
        found = tasks.newest(None, SHOWN)
        late = timezone.now() - PATIENCE
        return self.page(
            request,
            "queuesite/_tasks.html",
            "Background tasks",
            table=TASKS.table(request, [_row(task) for task in found], total=_total(found)),
            kept=tasks.KEPT.days,
            nobody_runs=any(task.state == TaskState.QUEUED and task.created_at < late for task in found),
            poll=True,
        )

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show a task with its result or error."""
        self.require_view(request)
        try:
            task = tasks.get(object_id, None)
        except NotFound as error:
            raise Http404(str(error)) from None
        return self.page(
            request,
            "queuesite/_task.html",
            task.kind,
            original=task,
            row=_row(task),
            result=None if task.result is None else markup.body(json.dumps(task.result, indent=2)),
            poll=task.ended_at is None,
        )


TASKS = Listing(
    "tasks",
    "Background tasks",
    (
        Column("task", "Task", lambda row: link(row["name"], row["address"], f"task-{row['id']}"), "medium"),
        Column("state", "State", "queuesite/cells/task_state.html", "medium"),
        Column("progress", "Progress", "queuesite/cells/progress.html", "name"),
        Column("owner", "Owner", lambda row: cut(row["task"].owner_name), "medium"),
        Column("created", "Created", lambda row: moment(row["task"].created_at), "time"),
        Column("duration", "Duration", lambda row: duration(row["seconds"]), "span"),
    ),
)


def _total(found: Sequence[BackgroundTask]) -> str:
    running = sum(task.state == TaskState.RUNNING for task in found)
    queued = sum(task.state == TaskState.QUEUED for task in found)
    newest = "the newest " if len(found) == SHOWN else ""
    return f"{newest}{plural(len(found), 'task')}: {running} running, {queued} queued"


def _row(task: BackgroundTask) -> dict[str, Any]:
    return {
        "id": task.id,
        "name": task.kind,
        "task": task,
        "variant": _VARIANTS[TaskState(task.state)],
        "address": address("queuesite_backgroundtask_change", task.id),
        "seconds": None
        if task.started_at is None
        else ((task.ended_at or timezone.now()) - task.started_at).total_seconds(),
    }


for model in (Schedule, Success, Failure, OrmQ):
    admin.site.unregister(model)


class _Shown(FormsAdmin):
    """django-q2's records, which can only be viewed: resubmitting one would run a task again that has ended.

    Arguments and results are pickles, with which anybody who can write to the database could run code here, so they
    are never read. The result of a task of ours is on its own page, and the log says why one failed.
    """

    actions = ()
    fields: tuple[str, ...] = ("id", "name", "group", "func", "cluster", "started", "stopped", "attempt_count")

    def get_queryset(self, request: HttpRequest) -> Any:
        """Leave out the pickles, which would be unpickled as soon as a row is read."""
        return super().get_queryset(request).defer("args", "kwargs", "result")

    @admin.display(description="Task", ordering="group")
    def task(self, run: Any) -> str:
        """What ran: a schedule by its name, a background task by its kind and id."""
        return str(run.group or run.name)

    @admin.display(description="Took")
    def took(self, run: Any) -> str:
        """How long it ran."""
        return duration(run.time_taken())

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Make every field that is shown read-only."""
        return self.fields

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Deny it: Q_CLUSTER's save_limit says how many are kept."""
        return False


@admin.register(Success)
class SuccessAdmin(_Shown, django_q_admin.TaskAdmin):
    """Tasks that succeeded."""

    place = Place(Section.DJANGO_Q, 2, "Succeeded", "check_circle")
    grants = Grants(administrators=("view_success",))

    list_display = ("task", "func", at("started", "Started"), "took")
    list_filter = ("group",)


@admin.register(Failure)
class FailureAdmin(_Shown, django_q_admin.FailAdmin):
    """Tasks that raised an exception."""

    place = Place(Section.DJANGO_Q, 3, "Failed", "cancel")
    grants = Grants(administrators=("view_failure",))

    list_display = ("task", "func", at("started", "Started"), "took", "attempt_count")
    list_filter = ("group",)


@admin.register(OrmQ)
class QueuedAdmin(_Shown, django_q_admin.QueueAdmin):
    """Tasks that wait for a qcluster. A payload is read only if its signature is ours."""

    place = Place(Section.DJANGO_Q, 1, "Queued", "hourglass")
    grants = Grants(administrators=("view_ormq",))

    list_display = ("id", "key", "name", "func", "lock", "task_id")
    fields = ("key", "lock", "task_id", "name", "func")

    def get_queryset(self, request: HttpRequest) -> Any:
        """Defer nothing: these rows have no pickles."""
        return django_q_admin.QueueAdmin.get_queryset(self, request)


@admin.register(Schedule)
class ScheduleAdmin(FormsAdmin, django_q_admin.ScheduleAdmin):
    """When the system's own tasks run.

    The function that a schedule runs cannot be changed, or else an administrator could run any code.
    """

    place = Place(Section.PROCESSES, 4, "Schedules", "schedule")
    #: No `add_schedule`: a schedule names a function to run, and whoever can name one can do anything.
    grants = Grants(administrators=("view_schedule", "change_schedule"))

    fields = ("name", "func", "schedule_type", "minutes", "repeats", "next_run")
    readonly_fields = ("name", "func")
    list_display = ("name", "func", "interval", at("next_run", "Next run"), "last")
    list_display_links = ("name",)
    list_filter = ()
    actions = ("run_now",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Deny it: schedules come with the system."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Schedule | None = None) -> bool:
        """Deny it: the next `migrate` would create it again."""
        return False

    @admin.display(description="Interval", ordering="schedule_type")
    def interval(self, schedule: Schedule) -> str:
        """How often it runs."""
        if schedule.schedule_type == Schedule.MINUTES:
            return "every minute" if schedule.minutes == 1 else f"every {schedule.minutes} minutes"
        return str(schedule.get_schedule_type_display()).lower()

    @display(description="Last run", label={"succeeded": "success", "failed": "danger", "not yet": "default"})
    def last(self, schedule: Any) -> str:
        """How it ended when it last ran."""
        if schedule.task_success is None:
            return "not yet"
        return "succeeded" if schedule.task_success else "failed"

    @admin.action(description="Run now", permissions=["change"])
    def run_now(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> None:
        """Make the selected schedules due. django-q2 checks every 30 seconds."""
        chosen = list(queryset)
        queryset.update(next_run=timezone.now())
        for schedule in chosen:
            self.log_change(request, schedule, "Made due.")
        self.message_user(request, f"{len(chosen)} due: they run within half a minute.", messages.SUCCESS)
