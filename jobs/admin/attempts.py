"""Attempts: a list by filters, a page for each attempt and for each message, and the box that finds everything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, URLResolver, path
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from jobs import attempt_reads
from jobs.admin.pages import queue_address
from jobs.attempt_model import Attempt
from jobs.attempts import AttemptOutcome
from queuesite.admin.records import RecordsAdmin, address
from queuesite.foundation.config import get_config
from queuesite.foundation.documents import object_id
from queuesite.foundation.errors import InvalidInput, NotFound
from queuesite.groups import Grants
from queuesite.navigation import Place, Section

PAGE = 50
#: The colour of an outcome, which is also shown in words.
OUTCOME_VARIANTS = {
    AttemptOutcome.DONE: "success",
    AttemptOutcome.FAILED: "danger",
    AttemptOutcome.RETRIED: "default",
    AttemptOutcome.REJECTED: "warning",
    AttemptOutcome.TIMED_OUT: "danger",
    AttemptOutcome.UNAVAILABLE: "warning",
    AttemptOutcome.CRASHED: "danger",
}


class AttemptFilters(forms.Form):
    """Which attempts to list. An empty field is no condition."""

    queue = forms.CharField(required=False, max_length=80, strip=True, widget=UnfoldAdminTextInputWidget)
    outcome = forms.ChoiceField(
        required=False, choices=[("", "any"), *AttemptOutcome.choices], widget=UnfoldAdminSelectWidget
    )
    text = forms.CharField(
        required=False,
        max_length=attempt_reads.MOST_CHARACTERS,
        strip=True,
        label="Error contains",
        widget=UnfoldAdminTextInputWidget,
    )
    handler = forms.CharField(required=False, max_length=100, strip=True, widget=UnfoldAdminTextInputWidget)
    message = forms.CharField(required=False, max_length=100, strip=True, widget=forms.HiddenInput)
    job = forms.CharField(required=False, max_length=24, strip=True, widget=forms.HiddenInput)
    kind = forms.CharField(required=False, max_length=32, strip=True, widget=forms.HiddenInput)

    @property
    def conditions(self) -> dict[str, Any]:
        """The arguments for `attempt_reads.find`, and the query of an address."""
        return {name: value for name, value in self.cleaned_data.items() if value}


@admin.register(Attempt)
class AttemptAdmin(RecordsAdmin):
    """Attempts at messages: those that did not succeed, and a sample of the others."""

    at = "attempts"
    place = Place(Section.WORK, 5, "Attempts", "manage_search")
    # Handlers may log what their messages say, which viewers do not see elsewhere.
    grants = Grants(operators=("view_attempt",))

    def has_change_permission(self, request: HttpRequest, obj: Attempt | None = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        return [self.route("message/<str:object_id>/", self.message_view, "message"), *super().get_urls()]

    def pages(self) -> list[URLPattern | URLResolver]:
        """These, and the box's, which shows each user what they may see."""
        return [path("find/", self.admin_site.admin_view(self.find_view), name="find"), *super().pages()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, str] | None = None) -> HttpResponse:
        """List a page of the attempts that match, the newest first."""
        self.require_view(request)
        filters = AttemptFilters(request.GET)
        found: Sequence[Attempt] = ()
        following, chosen = None, {}
        if filters.is_valid():
            chosen = filters.conditions
            try:
                found, following = attempt_reads.find(**chosen, cursor=request.GET.get("cursor"), limit=PAGE)
            except InvalidInput as error:
                filters.add_error(None, str(error))
        listed = "jobs_attempt_changelist"
        return self.page(
            request,
            "jobs/_attempts.html",
            "Attempts",
            filters=filters,
            rows=rows(found),
            filtered=bool(chosen),
            narrowed={name: chosen[name] for name in ("message", "job", "kind") if name in chosen},
            newest=address(listed, **chosen) if "cursor" in request.GET else None,
            older=following and address(listed, **chosen, cursor=following),
            retention=get_config().attempt_retention_days,
            # A search in texts reads many documents, which nobody should have repeated every two seconds.
            poll="cursor" not in request.GET and "text" not in chosen,
        )

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show an attempt with what its handler logged."""
        self.require_view(request)
        one = _attempt(object_id)
        return self.page(
            request,
            "jobs/_attempt.html",
            f"Attempt {one.receive_count} at {one.message_id}",
            original=one,
            attempt=one,
            row=rows([one])[0],
            links=_links(request, one),
            poll=False,
        )

    def message_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show the attempts at a message in their order."""
        self.require_view(request)
        try:
            found = attempt_reads.of_message(object_id[:200])
        except NotFound as error:
            raise Http404(str(error)) from None
        last = found[-1]
        return self.page(
            request,
            "jobs/_message.html",
            f"Message {object_id}",
            original=object_id,
            message_id=object_id,
            rows=rows(found),
            last=last,
            dead=last.dead_letter,
            trace_ids=sorted({one.trace_id for one in found if one.trace_id}),
            links=_links(request, last),
            most=attempt_reads.MOST_OF_MESSAGE,
            poll=True,
        )

    def find_view(self, request: HttpRequest) -> HttpResponse:
        """Find queues, jobs, messages, failures and attempts by one text."""
        text = request.GET.get("q", "").strip()
        problem = None
        found = attempt_reads.Found()
        try:
            found = attempt_reads.search_all(text, request.user.has_perm)
        except InvalidInput as error:
            problem = str(error)
        return self.page(
            request,
            "jobs/_find.html",
            "Find",
            text=text,
            problem=problem,
            found=found,
            queues=[(queue.name, queue_address(queue.name)) for queue in found.queues],
            jobs=[(job, address("jobs_job_change", job.id)) for job in found.jobs],
            found_messages=[(one, message_address(one)) for one in found.messages],
            failures=[(one, address("jobs_failure_change", one.id)) for one in found.failures],
            attempts=rows(found.attempts),
            all_attempts=address("jobs_attempt_changelist", text=text),
            poll=False,
        )


def rows(attempts: Sequence[Attempt]) -> list[dict[str, Any]]:
    """Attempts as tables show them."""
    return [
        {
            "attempt": one,
            "address": address("jobs_attempt_change", one.id),
            "message": message_address(one.message_id),
            "outcome": AttemptOutcome(one.outcome).label,
            "variant": OUTCOME_VARIANTS[AttemptOutcome(one.outcome)],
        }
        for one in attempts
    ]


def message_address(message_id: str) -> str:
    """The address of a message's page."""
    return address("jobs_attempt_message", message_id)


def _links(request: HttpRequest, one: Attempt) -> dict[str, str | None]:
    """Where an attempt's queue, job, worker, handler and kind of failure are shown, as far as the user may see them."""
    may = request.user.has_perm
    kind = attempt_reads.kind_of(one) if may("jobs.view_failure") else None
    may_queue = may("queues.view_queue")
    return {
        "queue": queue_address(one.queue_name) if may_queue else None,
        "dead_letters": address("queues_queue_dead_letters", one.queue_name) if may_queue and one.dead_letter else None,
        "job": address("jobs_job_change", one.job_id) if may("jobs.view_job") else None,
        "handler": address("jobs_handlerversion_change", one.handler) if may_queue else None,
        "kind": None if kind is None else address("jobs_failure_change", kind.id),
    }


def _attempt(attempt_id: str) -> Attempt:
    try:
        return attempt_reads.attempt(object_id(attempt_id, "attempt"))
    except NotFound as error:
        raise Http404(str(error)) from None
