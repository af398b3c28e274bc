"""Attempts: a list by filters, a page for each attempt, and the box that finds everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, URLResolver, path
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from jobs import attempt_reads
from jobs.admin.attempt_columns import ATTEMPTS, attempts_total, links, message_address, rows_for
from jobs.admin.message import MessagePage
from jobs.admin.pages import bounded, queue_address
from jobs.attempt_model import Attempt
from jobs.attempts import AttemptOutcome
from jobs.shared import shared
from queuesite.admin.records import address
from queuesite.admin.tables import Tab
from queuesite.admin.times import TimedFilters
from queuesite.foundation.config import get_config
from queuesite.foundation.documents import object_id
from queuesite.foundation.errors import InvalidInput, NotFound
from queuesite.groups import Grants
from queuesite.navigation import Place, Section

PAGE = 50


class AttemptFilters(TimedFilters):
    """Which attempts to list. An empty field is not a condition."""

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

    def counts(self) -> dict[AttemptOutcome, int] | None:
        """How many attempts match of each outcome; a slow answer is shared by all requests.

        None if a text is looked for: counting would read every attempt.
        """
        wanted = {name: value for name, value in self.conditions().items() if name != "outcome"}
        if "text" in wanted:
            return None
        return shared("attempts", lambda: attempt_reads.count(**wanted), wanted)


@admin.register(Attempt)
class AttemptAdmin(MessagePage):
    """Attempts at messages: those that did not succeed, and a sample of the others."""

    at = "attempts"
    place = Place(Section.WORK, 5, "Attempts", "manage_search")
    # Handlers may log what their messages say, which viewers do not see elsewhere.
    grants = Grants(operators=("view_attempt",))

    def has_change_permission(self, request: HttpRequest, obj: Attempt | None = None) -> bool:
        return False

    def pages(self) -> list[URLPattern | URLResolver]:
        """These, and the box's, which shows each user what they may see."""
        return [path("find/", self.admin_site.admin_view(self.find_view), name="find"), *super().pages()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, str] | None = None) -> HttpResponse:
        """List a page of the attempts that match, the newest first."""
        self.require_view(request)
        filters = AttemptFilters(request)
        if filters.moves(request):
            return HttpResponseRedirect(address("jobs_attempt_changelist", **filters.query()))
        found: Sequence[Attempt] = ()
        following, chosen, counts = None, {}, None
        if filters.is_valid():
            chosen = filters.query()
            try:
                found, following = attempt_reads.find(
                    **filters.conditions(), cursor=request.GET.get("cursor"), limit=PAGE
                )
                counts = filters.counts()
            except InvalidInput as error:
                filters.add_error(None, str(error))
        listed = "jobs_attempt_changelist"
        return self.page(
            request,
            "jobs/_attempts.html",
            "Attempts",
            filters=filters,
            tabs=_tabs(chosen, counts),
            table=ATTEMPTS.table(request, rows_for(request, found), total=_total(chosen, counts)),
            filtered=filters.narrowed,
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
            row=rows_for(request, [one])[0],
            links=links(request, one),
            poll=False,
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
            table=ATTEMPTS.table(request, rows_for(request, found.attempts)),
            all_attempts=address("jobs_attempt_changelist", text=text),
            poll=False,
        )


def _tabs(chosen: Mapping[str, Any], counts: Mapping[AttemptOutcome, int] | None) -> list[Tab]:
    """The outcomes, each with the number of its attempts that match, unless they are not counted."""
    current = chosen.get("outcome")

    def tab(text: str, outcome: str | None, number: int | None) -> Tab:
        where = address("jobs_attempt_changelist", **{**chosen, "outcome": outcome})
        return Tab(text, where, "" if number is None else bounded(number), current == outcome)

    everything = tab("All", None, None if counts is None else sum(counts.values()))
    return [everything, *(tab(one.label, one.value, None if counts is None else counts[one]) for one in AttemptOutcome)]


def _total(chosen: Mapping[str, Any], counts: Mapping[AttemptOutcome, int] | None) -> str:
    if counts is None:
        return ""
    return attempts_total(sum(number for one, number in counts.items() if chosen.get("outcome") in (None, one.value)))


def _attempt(attempt_id: str) -> Attempt:
    try:
        return attempt_reads.attempt(object_id(attempt_id, "attempt"))
    except NotFound as error:
        raise Http404(str(error)) from None
