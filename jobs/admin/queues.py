"""Queues: a list with what is done to many, and for each its live page and its settings.

All is read and changed by the services that the command line and the API use.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.http import url_has_allowed_host_and_scheme
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from jobs import reads, statistics
from jobs.admin import queue_actions
from jobs.admin.failures import Sparkline
from jobs.admin.pages import STATUS_VARIANTS
from jobs.admin.queue_form import QueueForm, fieldsets
from jobs.admin.queue_messages import AT_ONCE, SendForm, curl
from jobs.models import JobStatus
from queues import codec, observation, peek, search, services, tasks
from queues import messages as sending
from queues.api.message_schemas import DeadLetterOut, MessageOut
from queues.handlers import registry
from queues.models import Queue
from queues.settings import ASKED, HANDLER_PERMISSION
from queues.sqs import MAX_BATCH
from queuesite import markup
from queuesite.admin.records import RecordsAdmin, address
from queuesite.config import get_config
from queuesite.databases import database_clock, mongodb_errors
from queuesite.errors import Conflict, InvalidInput, QueuesiteError
from queuesite.public import public_text
from queuesite.tasks import start

PAGE = 50
#: How a queue's state is coloured; the word stands there too.
STATE_VARIANTS = {"active": "info", "waiting": "warning", "delayed": "danger", "paused": "default", "idle": "success"}
#: What a list may be filtered by beside the states, and MongoDB's filter for it.
_CONDITIONS: dict[str, dict[str, Any]] = {
    "failing": {"crashCount": {"$gt": 0}},
    "dead letters": {"deadLetters": {"$gt": 0}},
}
#: Columns of the list: the heading, what it is sorted by, whether it is a number (first sorted downwards).
_COLUMNS = (
    ("Name", "name", False), ("State", None, False), ("Visible", "visible", True), ("In flight", None, True),
    ("Observed", None, True), ("Dead letters", "deadLetters", True), ("Last hour", None, False),
    ("Concurrency", "concurrency", False), ("Handler", None, False), ("Priority", "priority", True),
    ("Worker", None, False),
)  # fmt: skip
_PAGE_JOBS = 10
#: Characters of a body that are shown.
SHOWN = 16_384

_KNOWN = ("queue_url", "dlq_url", "created_at", "updated_at", "synced_at")


class QueueFilters(forms.Form):
    """Which queues; what is left empty is no condition."""

    q = forms.CharField(
        label="Name contains", required=False, max_length=80, strip=True, widget=UnfoldAdminTextInputWidget
    )
    state = forms.ChoiceField(
        required=False,
        choices=[("", "any"), *((one, one) for one in (*statistics.STATES, *_CONDITIONS))],
        widget=UnfoldAdminSelectWidget,
    )
    handler = forms.ChoiceField(required=False, widget=UnfoldAdminSelectWidget)
    sort = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["handler"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [("", "any"), *((name, name) for name in registry.all_handlers())]

    def found(self, cursor: str | None, assigned: Sequence[Any], now: datetime) -> tuple[list[Queue], str | None]:
        """A page of the queues that match. Raises `InvalidInput`."""
        state = self.cleaned_data["state"]
        where = _CONDITIONS.get(state) or (statistics.state_filter(state, assigned, now) if state else None)
        return search.find_queues(
            containing=self.cleaned_data["q"] or None,
            handler=self.cleaned_data["handler"] or None,
            where=where,
            sort=self.cleaned_data["sort"] or "name",
            cursor=cursor,
            limit=PAGE,
        )

    def query(self, **changes: Any) -> dict[str, Any]:
        """The filters as an address has them, some of them changed."""
        given = {**self.cleaned_data, **changes} if self.is_valid() else changes
        return {name: value for name, value in given.items() if value not in (None, "")}


@admin.register(Queue)
class QueueAdmin(RecordsAdmin):
    """Definitions of queues; saving one creates or changes it in SQS too."""

    form = QueueForm
    change_form_outer_before_template = "jobs/_queue_tabs.html"

    class Media:
        js = ("queuesite/queues.js",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """As the API asks."""
        return self.may(request, "add")

    def get_urls(self) -> list[URLPattern]:
        """Those of Django, what is done to several, and the pages of each."""

        def page(route: str, view: Callable[..., HttpResponse], name: str) -> URLPattern:
            pattern: URLPattern = path(route, self.admin_site.admin_view(view), name=f"queues_queue_{name}")
            return pattern

        return [
            page("act/", self.act_view, "act"),
            page("<str:object_id>/settings/", self.settings_view, "settings"),
            page("<str:object_id>/messages/", self.messages_view, "messages"),
            page("<str:object_id>/dead-letters/", self.dead_letters_view, "dead_letters"),
            *super().get_urls(),
        ]

    # The list

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, str] | None = None) -> HttpResponse:
        """A page of the queues that match."""
        self.require_view(request)
        filters = QueueFilters(request.GET)
        with mongodb_errors():
            now = database_clock.now()
        found: list[Queue] = []
        following = None
        if filters.is_valid():
            try:
                assigned = [one.queue_id for one in reads.find_assignments()] if filters.cleaned_data["state"] else []
                found, following = filters.found(request.GET.get("cursor"), assigned, now)
            except InvalidInput as error:
                filters.add_error(None, str(error))
        query = filters.query()
        may_jobs = request.user.has_perm("jobs.view_job")
        return self.page(
            request,
            "jobs/_queues.html",
            "Queues",
            filters=filters,
            filtered=bool(set(query) - {"sort"}),
            rows=self._rows(request, found, now, with_jobs=may_jobs),
            columns=_columns(filters) + ([{"text": "Newest job"}] if may_jobs else []),
            actions=self._actions(request),
            act=address("queues_queue_act", next=request.get_full_path()),
            max_concurrency=get_config().max_concurrency,
            may_change=self.may(request, "change"),
            may_add=self.may(request, "add"),
            may_jobs=may_jobs,
            newest=address("queues_queue_changelist", **query) if "cursor" in request.GET else None,
            older=following and address("queues_queue_changelist", **query, cursor=following),
            has_add_permission=self.may(request, "add"),
            poll=True,
        )

    def _rows(
        self, request: HttpRequest, queues: Sequence[Queue], now: datetime, *, with_jobs: bool
    ) -> list[dict[str, Any]]:
        activity = reads.activity(queues, with_jobs=with_jobs)
        counts = statistics.recent(queues)
        return [
            {
                **self._state(queue, activity[queue.id], now),
                **_working(request, activity[queue.id]),
                "address": address("queues_queue_change", queue.id),
                "sparkline": Sparkline(counts[queue.id]),
            }
            for queue in queues
        ]

    def _state(self, queue: Queue, activity: reads.Activity, now: datetime) -> dict[str, Any]:
        state = statistics.state_of(queue, bool(activity.assignments), now)
        seen = queue.depth_observed_at
        return {
            "queue": queue,
            "state": state,
            "variant": STATE_VARIANTS[state],
            "age": None if seen is None else max(0.0, (now - seen).total_seconds()),
        }

    # What is done to queues

    def _actions(self, request: HttpRequest) -> dict[str, queue_actions.Action]:
        return {
            name: action for name, action in queue_actions.ACTIONS.items() if request.user.has_perm(action.permission)
        }

    def act_view(self, request: HttpRequest) -> HttpResponse:
        """Do something to the chosen queues; what cannot be undone is asked about first."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        name = request.POST.get("action", "")
        action = queue_actions.ACTIONS.get(name)
        if action is None:
            raise Http404("there is no such action")
        if not request.user.has_perm(action.permission):
            raise PermissionDenied
        back = self._back(request)
        chosen = services.by_ids(request.POST.getlist("chosen")[:PAGE])
        value = request.POST.get("value", "")
        problem = None
        if not chosen and not action.everything:
            problem = "Nothing was done: choose queues first."
        elif name == "concurrency" and not value.isdecimal():
            problem = f"Nothing was done: enter the concurrency, 1 to {get_config().max_concurrency}."
        if problem is not None:
            self.message_user(request, problem, messages.WARNING)
            return HttpResponseRedirect(back)
        if action.asks and "sure" not in request.POST:
            rows = queue_actions.stake(name, chosen)
            return self.page(
                request,
                "jobs/_confirm.html",
                f"{action.label}?",
                name=name,
                action=action,
                rows=rows,
                total=sum(row["messages"] for row in rows),
                act=address("queues_queue_act", next=back),
                back=back,
                poll=False,
            )
        report = queue_actions.Report()
        try:
            action.run(report, chosen, int(value) if value.isdecimal() else None, _user(request))
        except QueuesiteError as error:
            self.message_user(request, public_text(error), messages.ERROR)
        self._tell(request, name, chosen, report)
        if name == "delete" and report.done:
            back = address("queues_queue_changelist")
        return HttpResponseRedirect(back)

    def _tell(self, request: HttpRequest, name: str, chosen: Sequence[Queue], report: queue_actions.Report) -> None:
        done, skipped = queue_actions.told(report)
        if done:
            self.message_user(request, f"{done}.", messages.SUCCESS)
        if skipped:
            self.message_user(request, f"Skipped: {skipped}.", messages.WARNING)
        for task in report.tasks[:10]:
            shown = address("queuesite_backgroundtask_change", task.id)
            self.message_user(request, format_html('<a href="{}">Background task: {}</a>', shown, task.kind))
        changed = [queue for queue in chosen if queue.name in report.done]
        if name == "delete":
            self.log_deletions(request, changed)
            return
        for words in dict.fromkeys(report.done.values()):
            LogEntry.objects.log_actions(
                str(request.user.pk),
                [queue for queue in changed if report.done[queue.name] == words],
                CHANGE,
                f"{words[0].upper()}{words[1:]}.",
            )

    def _back(self, request: HttpRequest) -> str:
        wanted = request.GET.get("next", "")
        if wanted.startswith("/") and url_has_allowed_host_and_scheme(wanted, None):
            return wanted
        return address("queues_queue_changelist")

    # One queue

    def queue(self, object_id: str) -> Queue:
        """The queue of this id, or 404."""
        found = services.by_ids([object_id])
        if not found:
            raise Http404("there is no such queue; it has been deleted, or was never there")
        return found[0]

    def tabs(self, request: HttpRequest, queue: Queue, current: str) -> list[dict[str, Any]]:
        """The pages of a queue."""
        pages = {"change": "Overview", "messages": "Messages", "settings": "Settings", "history": "History"}
        if queue.dlq_url is not None:
            pages = {"change": "Overview", "messages": "Messages", "dead_letters": "Dead letters", **pages}
        return [
            {"text": text, "address": address(f"queues_queue_{name}", queue.id), "current": name == current}
            for name, text in pages.items()
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """What a queue does at the moment and did lately."""
        self.require_view(request)
        queue = self.queue(object_id)
        span = request.GET.get("span", "1h")
        if span not in statistics.SPANS:
            raise Http404("there is no such span")
        may = request.user.has_perm
        activity = reads.activity([queue], with_jobs=may("jobs.view_job"))[queue.id]
        with mongodb_errors():
            now = database_clock.now()
        jobs = reads.find_jobs(queue=queue.name, limit=_PAGE_JOBS)[0] if may("jobs.view_job") else []
        failures = reads.find_failures(queue=queue.name, limit=_PAGE_JOBS)[0] if may("jobs.view_failure") else []
        return self.page(
            request,
            "jobs/_queue.html",
            queue.name,
            original=queue,
            tabs=self.tabs(request, queue, "change"),
            **self._state(queue, activity, now),
            **_working(request, activity),
            handler=registry.all_handlers().get(queue.handler),
            backoff=None if queue.not_before is None else (queue.not_before - now).total_seconds(),
            charts=_charts(queue, span),
            spans=[{"text": one, "address": f"?span={one}", "current": one == span} for one in statistics.SPANS],
            jobs=[
                {
                    "job": job,
                    "variant": STATUS_VARIANTS[JobStatus(job.status)],
                    "address": address("jobs_job_change", job.id),
                }
                for job in jobs
            ],
            all_jobs=address("jobs_job_changelist", queue=queue.name),
            failures=[{"failure": one, "address": address("jobs_failure_change", one.id)} for one in failures],
            actions={
                name: action
                for name, action in self._actions(request).items()
                if name not in ("concurrency", "sync", "resume" if not queue.paused else "pause")
                and (queue.dlq_url or name != "redrive")
            },
            act=address("queues_queue_act", next=request.get_full_path()),
            may_jobs=may("jobs.view_job"),
            may_failures=may("jobs.view_failure"),
            poll=True,
        )

    def settings_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The settings, as a form for who may change them."""
        self.require_view(request)
        queue = self.queue(object_id)
        return self.changeform_view(request, object_id, "", {"tabs": self.tabs(request, queue, "settings")})

    def messages_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Send messages, and look at those that wait."""
        self.require_view(request)
        queue = self.queue(object_id)
        may_send = request.user.has_perm("queues.send_message")
        form, seen, command, refused = SendForm(queue), None, None, None
        if request.method == "POST" and request.POST.get("do") == "look":
            self._require_peek(request)
            try:
                seen = self._looked_at(request, lambda: peek.peek(queue.name, last="last" in request.POST), MessageOut)
            except Conflict as error:
                refused = str(error)
        elif request.method == "POST":
            if not may_send:
                raise PermissionDenied
            form = SendForm(queue, request.POST, request.FILES)
            if form.is_valid() and request.POST.get("do") == "curl":
                command = form.command(request.build_absolute_uri(reverse("api:send_messages", args=[queue.name])))
            elif form.is_valid():
                return self._send(request, queue, form)
        return self.page(
            request,
            "jobs/_messages.html",
            f"Messages of {queue.name}",
            original=queue,
            queue=queue,
            tabs=self.tabs(request, queue, "messages"),
            size=self._size(request, queue),
            form=form,
            may_send=may_send,
            command=command,
            look=curl("POST", request.build_absolute_uri(reverse("api:peek_messages", args=[queue.name]))),
            may_peek=request.user.has_perm("queues.peek_message"),
            refused=refused,
            seen=seen,
            poll=False,
        )

    def _send(self, request: HttpRequest, queue: Queue, form: SendForm) -> HttpResponse:
        """At once where they are few, else in the background."""
        times = form.cleaned_data["times"]
        total = len(form.outgoing) * times
        back = address("queues_queue_messages", queue.id)
        try:
            if total > AT_ONCE:
                items = [codec.as_json(message) for message in form.outgoing]
                task = start(
                    tasks.send_bulk, _user(request), total=total, queue=queue.name, outgoing=items, repeat=times
                )
                self.log_change(request, queue, f"Began to send {total:,} messages.")
                return HttpResponseRedirect(address("queuesite_backgroundtask_change", task.id))
            report = sending.send(queue.name, form.outgoing * times, report_outage=True)
        except QueuesiteError as error:
            self.message_user(request, public_text(error), messages.ERROR)
            return HttpResponseRedirect(back)
        if report.sent:
            words = f"{report.sent} message{'' if report.sent == 1 else 's'}"
            self.log_change(request, queue, f"Sent {words}.")
            self.message_user(request, f"{words} sent.", messages.SUCCESS)
        for reason in dict.fromkeys(report.failures.values()):
            self.message_user(request, f"Not all were sent: {reason}", messages.ERROR)
        return HttpResponseRedirect(back)

    def dead_letters_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Look at dead letters, and redrive or delete some of them."""
        self.require_view(request)
        queue = self.queue(object_id)
        if queue.dlq_url is None:
            raise Http404("it has no dead-letter queue")
        do, ids = request.POST.get("do"), request.POST.getlist("message")[:MAX_BATCH]
        permissions = {"redrive": "queues.redrive_queue", "delete": "queues.purge_queue"}
        if do in permissions:
            if not request.user.has_perm(permissions[do]):
                raise PermissionDenied
            if ids and (do == "redrive" or "sure" in request.POST):
                return self._deal_with_letters(request, queue, do, ids)
            if ids:
                return self._page_of_letters(request, queue, "jobs/_delete_letters.html", ids=ids)
            self.message_user(request, "Nothing was done: choose dead letters first.", messages.WARNING)
        seen = None
        if do == "look":
            self._require_peek(request)
            seen = self._looked_at(request, lambda: peek.peek_dead_letters(queue.name), DeadLetterOut)
        return self._page_of_letters(
            request,
            queue,
            "jobs/_dead_letters.html",
            seen=seen,
            size=self._size(request, queue),
            look=curl("POST", request.build_absolute_uri(reverse("api:peek_dead_letters", args=[queue.name]))),
            may_peek=request.user.has_perm("queues.peek_message"),
            redrive=curl("POST", request.build_absolute_uri(reverse("api:redrive", args=[queue.name]))),
            act=address("queues_queue_act", next=request.get_full_path()),
            may_redrive=request.user.has_perm("queues.redrive_queue"),
            may_delete=request.user.has_perm("queues.purge_queue"),
        )

    def _page_of_letters(self, request: HttpRequest, queue: Queue, partial: str, **context: Any) -> HttpResponse:
        return self.page(
            request,
            partial,
            f"Dead letters of {queue.name}",
            original=queue,
            queue=queue,
            tabs=self.tabs(request, queue, "dead_letters"),
            back=address("queues_queue_dead_letters", queue.id),
            poll=False,
            **context,
        )

    def _deal_with_letters(self, request: HttpRequest, queue: Queue, do: str, ids: Sequence[str]) -> HttpResponse:
        act, done = (sending.redrive_some, "redriven") if do == "redrive" else (sending.delete_dead_letters, "deleted")
        try:
            count = act(queue.name, ids)
        except QueuesiteError as error:
            self.message_user(request, public_text(error), messages.ERROR)
        else:
            words = f"{count} dead letter{'' if count == 1 else 's'} {done}"
            if count:
                self.log_change(request, queue, f"{words}.")
            missing = f"; {len(ids) - count} not found: gone, or in other hands" if count < len(ids) else ""
            self.message_user(request, f"{words}{missing}.", messages.WARNING if missing else messages.SUCCESS)
        return HttpResponseRedirect(address("queues_queue_dead_letters", queue.id))

    def _require_peek(self, request: HttpRequest) -> None:
        """A look costs each message a receive: it is by POST, and for who may."""
        if not request.user.has_perm("queues.peek_message"):
            raise PermissionDenied

    def _looked_at(
        self, request: HttpRequest, look: Callable[[], peek.Look], shown: type[MessageOut]
    ) -> list[dict[str, Any]]:
        """Raises `Conflict` where a look would be a message's last receive."""
        try:
            found = look()
        except Conflict:
            raise
        except QueuesiteError as error:
            self.message_user(request, public_text(error), messages.ERROR)
            return []
        if found.warning is not None:
            self.message_user(request, f"{found.warning[:1].upper()}{found.warning[1:]}.", messages.WARNING)
        return [
            {"message": one, "body": markup.body(one.body[:SHOWN]), "cut": len(one.body) > SHOWN}
            for one in map(shown.of, found.messages)
        ]

    def _size(self, request: HttpRequest, queue: Queue) -> services.Size | None:
        """What SQS says that the queue holds now; None, and told, where it says nothing."""
        try:
            return services.size(queue.name)
        except QueuesiteError as error:
            self.message_user(request, public_text(error), messages.ERROR)
            return None

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Who did what with it in the admin."""
        self.require_view(request)
        queue = self.queue(object_id)
        with_user = LogEntry.objects.filter(
            content_type__app_label="queues", content_type__model="queue", object_id=str(queue.id)
        ).select_related("user")
        return self.page(
            request,
            "jobs/_queue_history.html",
            f"History of {queue.name}",
            original=queue,
            tabs=self.tabs(request, queue, "history"),
            entries=with_user.order_by("-action_time", "-id")[:200],
            poll=False,
        )

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Deleting is one of the actions, which ask by POST."""
        return HttpResponseRedirect(address("queues_queue_change", object_id))

    # The form

    def get_readonly_fields(self, request: HttpRequest, obj: Queue | None = None) -> tuple[str, ...]:
        """A queue's name is fixed in SQS; what is observed is not edited."""
        handler = () if request.user.has_perm(HANDLER_PERMISSION) else ("handler", "shown_options")
        return handler if obj is None else ("name", *handler, *_KNOWN)

    def get_fieldsets(self, request: HttpRequest, obj: Queue | None = None) -> Any:
        """The settings in groups, and for a queue that exists what belongs to it."""
        # What is shown and not asked for has no widget that masks it.
        asked = request.user.has_perm(HANDLER_PERMISSION) and (obj is None or self.may(request, "change"))
        groups = fieldsets({} if asked else {"handler_options": "shown_options"})
        if obj is None:
            return [(None, {"fields": ("name", "with_dlq")}), *groups]
        return [*groups, ("What belongs to it", {"fields": _KNOWN})]

    @admin.display(description="Handler options")
    def shown_options(self, obj: Queue) -> str:
        """With the secrets masked."""
        return json.dumps(registry.masked_options(obj.handler, obj.handler_options), ensure_ascii=False)

    def save_model(self, request: HttpRequest, obj: Queue, form: forms.ModelForm[Queue], change: bool) -> None:
        """Create or change the queue through the services."""
        settings = {name: form.cleaned_data[name] for name in ASKED if name in form.cleaned_data}
        if change:
            services.update(obj.name, {name: settings[name] for name in form.changed_data if name in settings})
        else:
            created = services.create(obj.name, with_dlq=form.cleaned_data["with_dlq"], settings=settings)
            obj.pk = created.pk

    def construct_change_message(self, request: HttpRequest, form: Any, formsets: Any, add: bool = False) -> Any:
        """With the new values: who did what is of little use without them. Options may hold secrets, and stay out."""
        if add:
            return super().construct_change_message(request, form, formsets, add)
        new = [
            name if name == "handler_options" else f"{name} = {form.cleaned_data[name]}" for name in form.changed_data
        ]
        return f"Changed {', '.join(new)}." if new else "Saved without a change."

    def response_post_save_add(self, request: HttpRequest, obj: Queue) -> HttpResponse:
        """On to the queue."""
        return HttpResponseRedirect(address("queues_queue_change", obj.pk))

    def response_post_save_change(self, request: HttpRequest, obj: Queue) -> HttpResponse:
        """Likewise."""
        return HttpResponseRedirect(address("queues_queue_change", obj.pk))

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show what a service refused as a message, on the same page."""
        try:
            answer: HttpResponse = super().changeform_view(request, object_id, form_url, extra_context)
            return answer
        except QueuesiteError as error:
            if request.method != "POST":
                raise
            self.message_user(request, public_text(error), messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())


def _user(request: HttpRequest) -> User:
    """Who is logged in, as every page of the admin requires."""
    assert isinstance(request.user, User)
    return request.user


def _columns(filters: QueueFilters) -> list[dict[str, Any]]:
    """The headings, with the address that sorts by one, or turns its order round."""
    sort = (filters.query().get("sort") or "name") if filters.is_valid() else "name"
    found = []
    for text, key, number in _COLUMNS:
        column: dict[str, Any] = {"text": text, "number": number}
        if key is not None:
            current = sort.removeprefix("-") == key
            downwards = not sort.startswith("-") if current else number
            column["address"] = address("queues_queue_changelist", **filters.query(sort=f"{'-' * downwards}{key}"))
            column["sorted"] = ("descending" if sort.startswith("-") else "ascending") if current else None
        found.append(column)
    return found


def _working(request: HttpRequest, activity: reads.Activity) -> dict[str, Any]:
    """Who works at a queue, and its newest job, as far as the user may see them."""
    may = request.user.has_perm
    job = activity.last_job
    return {
        "assignments": [
            {"worker": one.worker, "address": address("jobs_worker_change", one.worker)
             if may("jobs.view_worker") else None}
            for one in (activity.assignments if may("jobs.view_assignment") else ())
        ],
        "job": None if job is None else {"job": job, "address": address("jobs_job_change", job.id)},
    }  # fmt: skip


def _charts(queue: Queue, span: str) -> dict[str, dict[str, Any]]:
    """The charts of a queue, as charts.js takes them. The last depth is the one that was observed last."""
    step = statistics.SPANS[span].step
    points = statistics.series(queue.name, statistics.SPANS[span].length, step)
    minutes = step.total_seconds() / 60
    form = "%H:%M" if span != "7d" else "%a %H:%M"
    labels = [f"{point.at:{form}}" for point in points]
    known = observation.depths(queue.id, points[0].at, points[-1].at, step)
    depths = [*known.values(), queue.depth]

    def chart(label: str, unit: str, **series: list[Any]) -> dict[str, Any]:
        drawn = zip(series.items(), ("done", "failed", "third"), (None, [5, 4], [2, 3]), strict=False)
        lines = [
            {"label": name.replace("_", " "), "values": values, "colour": colour, **({"dash": dash} if dash else {})}
            for (name, values), colour, dash in drawn
        ]
        return {"label": label, "unit": unit, "labels": labels, "series": lines}

    return {
        "depth": chart(
            f"Depth: {queue.depth_visible} messages visible, {queue.depth_in_flight} in flight at last",
            "messages",
            visible=[depth and depth.visible for depth in depths],
            in_flight=[depth and depth.in_flight for depth in depths],
            delayed=[depth and depth.delayed for depth in depths],
        ),
        "throughput": chart(
            f"Messages per minute: {max(point.processed for point in points) / minutes:g} processed at most",
            "per minute",
            processed=[round(point.processed / minutes, 2) for point in points],
            failed=[round((point.failed + point.rejected) / minutes, 2) for point in points],
        ),
        "durations": chart(
            "Percentiles of the handler's time",
            "s",
            p50=[point.p50 for point in points],
            p95=[point.p95 for point in points],
            p99=[point.p99 for point in points],
        ),
    }
