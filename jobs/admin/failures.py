"""Failures: a list by kind with the last day's counts, and for each a page with traceback and sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern
from django.utils.html import format_html

from jobs import letters, reads, services
from jobs.admin.pages import queue_address
from jobs.models import Failure
from queues import services as services_of_queues
from queuesite.admin.records import RecordsAdmin, address
from queuesite.admin.tables import Column, Listing, Row, Tab
from queuesite.foundation import markup
from queuesite.foundation.databases import mongodb_errors
from queuesite.foundation.documents import object_id
from queuesite.foundation.errors import InvalidInput, NotFound, QueuesiteError
from queuesite.foundation.public import public_text
from queuesite.groups import Grants
from queuesite.navigation import Place, Section
from queuesite.tasks import start
from queuesite.templatetags.cells import cut, link
from queuesite.templatetags.moments import moment
from queuesite.templatetags.quantities import count

if TYPE_CHECKING:
    from django.contrib.auth.models import User

PAGE = 50
#: What can be done with the dead letters of a kind: the permission, the background task, and the verb.
LETTER_ACTIONS = {
    "redrive": ("queues.redrive_queue", letters.redrive_in_background, "redrive"),
    "delete": ("queues.purge_queue", letters.delete_in_background, "delete"),
}
#: Height of a sparkline, in the units of its view box; a bar is 3 of them wide, and 1 apart.
_HEIGHT, _STEP, _BAR = 20, 4, 3


@admin.register(Failure)
class FailureAdmin(RecordsAdmin):
    """Errors of handlers, grouped by kind."""

    at = "failures"
    place = Place(Section.WORK, 3, "Failures", "error")
    grants = Grants(viewers=("view_failure",), operators=("delete_failure",))

    def has_change_permission(self, request: HttpRequest, obj: Failure | None = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        return [
            self.route("<str:object_id>/resolve/", self.resolve_view, "resolve"),
            self.route("<str:object_id>/letters/", self.letters_view, "letters"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, str] | None = None) -> HttpResponse:
        """List the kinds of failure (of one queue), the latest seen first."""
        self.require_view(request)
        queue, kind = request.GET.get("queue", "").strip()[:80], request.GET.get("kind") or None
        try:
            found, following = reads.find_failures(
                queue=queue or None, kind=kind, cursor=request.GET.get("cursor"), limit=PAGE
            )
        except InvalidInput as error:
            raise Http404(str(error)) from None
        hours = reads.hourly_failures(found)
        return self.page(
            request,
            "jobs/_failures.html",
            "Failures",
            queue=queue,
            kind=kind or "",
            tabs=_tabs(queue or None, kind),
            table=FAILURES.table(
                request,
                [
                    {
                        "id": str(one.id),
                        "name": one.title,
                        "failure": one,
                        "address": address("jobs_failure_change", one.id),
                        "queue": queue_address(one.queue_name) if request.user.has_perm("queues.view_queue") else None,
                        "sparkline": Sparkline(hours[one.id]),
                    }
                    for one in found
                ],
            ),
            may_resolve=self.may(request, "delete"),
            newest=address("jobs_failure_changelist", queue=queue or None, kind=kind)
            if "cursor" in request.GET
            else None,
            older=following and address("jobs_failure_changelist", queue=queue or None, kind=kind, cursor=following),
            poll="cursor" not in request.GET,
        )

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show a kind of failure, with the traceback and the message of its newest occurrence."""
        self.require_view(request)
        failure = _failure(object_id)
        return self.page(
            request,
            "jobs/_failure.html",
            f"{failure.short} of {failure.queue_name}",
            original=failure,
            failure=failure,
            sparkline=Sparkline(reads.hourly_failures([failure])[failure.id]),
            traceback=markup.traceback(failure.traceback),
            sample=None if failure.sample_body is None else markup.body(failure.sample_body),
            queue_address=queue_address(failure.queue_name) if request.user.has_perm("queues.view_queue") else None,
            jobs=address("jobs_job_changelist", queue=failure.queue_name)
            if request.user.has_perm("jobs.view_job")
            else None,
            may_resolve=self.may(request, "delete"),
            attempts=address("jobs_attempt_changelist", kind=failure.fingerprint, queue=failure.queue_name)
            if request.user.has_perm("jobs.view_attempt")
            else None,
            letters=address("jobs_failure_letters", failure.id),
            may_redrive=request.user.has_perm("queues.redrive_queue"),
            may_delete_letters=request.user.has_perm("queues.purge_queue"),
        )

    def letters_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Redrive or delete the dead letters whose last error is of a kind, in the background."""
        self.require_view(request)
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        found = LETTER_ACTIONS.get(request.POST.get("do", ""))
        if found is None:
            raise Http404("it has no such action")
        permission, runner, words = found
        if not request.user.has_perm(permission):
            raise PermissionDenied
        failure = _failure(object_id)
        back = address("jobs_failure_change", failure.id)
        if runner is letters.delete_in_background and "sure" not in request.POST:
            return self.page(
                request, "jobs/_delete_kind.html", f"Dead letters of {failure.queue_name}",
                original=failure, failure=failure, back=back, poll=False,
            )  # fmt: skip
        try:
            with mongodb_errors():
                services_of_queues.with_dead_letters(failure.queue_name, words)
                task = start(runner, cast("User", request.user), queue=failure.queue_name, kind=failure.fingerprint)
        except QueuesiteError as error:
            self.message_user(request, public_text(error), messages.ERROR)
            return HttpResponseRedirect(back)
        self.log_change(request, failure, f"Began to {words} its dead letters.")
        return HttpResponseRedirect(address("queuesite_backgroundtask_change", task.id))

    def resolve_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Forget a kind of failure. If it occurs again, it is counted from one."""
        if not self.may(request, "delete"):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        failure = _failure(object_id)
        services.delete_failure(failure.id)
        self.log_change(request, failure, f"Resolved, after {failure.count} times.")
        self.message_user(request, f"{failure} is resolved; it is listed again if it occurs again.")
        return HttpResponseRedirect(address("jobs_failure_changelist"))


def _tabs(queue: str | None, kind: str | None) -> list[Tab]:
    failed, retried = reads.failure_counts(queue)
    return [
        Tab(text, address("jobs_failure_changelist", queue=queue, kind=name), count(number), name == kind)
        for name, text, number in (
            (None, "All", failed + retried),
            ("failure", "Failures", failed),
            ("retry", "Retries", retried),
        )
    ]


def _kind(row: Row) -> object:
    failure = row["failure"]
    named = link(failure.short, row["address"], f"failure-{failure.id}")
    said = failure.message[:500]
    retry = "" if failure.retry_reason is None else "retry: "
    return format_html('{}<span class="qs-note" title="{}">{}{}</span>', named, said, retry, said[:200])


FAILURES = Listing(
    "failures",
    "Failures",
    (
        Column("failure", "Failure", _kind, "name"),
        Column("queue", "Queue", lambda row: link(row["failure"].queue_name, row["queue"]), "wide"),
        Column("count", "Count", lambda row: count(row["failure"].count), "number"),
        Column("day", "Last 24 hours", "jobs/cells/day.html", "short", on_card=False),
        Column("last", "Last seen", lambda row: moment(row["failure"].last_seen_at), "time"),
        Column("first", "First seen", lambda row: moment(row["failure"].first_seen_at), "time", usual=False),
        Column("place", "Raised in", lambda row: cut(row["failure"].place), "wide", usual=False),
        Column("resolve", "Resolve", "jobs/cells/resolve.html", "short"),
    ),
    needs={"resolve": "jobs.delete_failure"},
)


def _failure(failure_id: str) -> Failure:
    try:
        return reads.failure(object_id(failure_id, "failure"))
    except NotFound as error:
        raise Http404(str(error)) from None


class Sparkline:
    """Counts as bars of an SVG, and in words."""

    def __init__(self, counts: list[int]) -> None:
        highest = max(counts, default=0)
        self.total = sum(counts)
        self.latest = counts[-1] if counts else 0
        self.hours = len(counts)
        self.width = _STEP * len(counts)
        self.height = _HEIGHT
        self.bars = [
            {"x": _STEP * place, "y": _HEIGHT - height, "width": _BAR, "height": height}
            for place, count in enumerate(counts)
            # Anything above zero is visible.
            if (height := max(2, round(_HEIGHT * count / highest)) if count else 0)
        ]
