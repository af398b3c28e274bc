"""The list of queues."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from jobs import reads, statistics
from jobs.admin.failures import Sparkline
from jobs.admin.queues.base import QueuePages, shown, working
from queues import search
from queues.handlers import catalogue
from queues.health.rules import UNHEALTHY, Health
from queues.models import Queue
from queues.state import State
from queuesite.admin.records import address
from queuesite.foundation.config import get_config
from queuesite.foundation.databases import database_clock
from queuesite.foundation.errors import InvalidInput

PAGE = 50
#: Columns of the list: the heading, what it is sorted by, and whether it is a number, which is sorted downwards first.
_COLUMNS = (
    ("Name", "name", False), ("Health", None, False), ("Activity", None, False), ("Visible", "visible", True),
    ("In flight", None, True), ("Oldest", None, True), ("To drain", None, True), ("Observed", None, True),
    ("Dead letters", "deadLetters", True), ("Last hour", None, False), ("Concurrency", "concurrency", False),
    ("Handler", None, False), ("Priority", "priority", True), ("Worker", None, False),
)  # fmt: skip


class QueueFilters(forms.Form):
    """Which queues to list. A field that is left empty is no condition."""

    q = forms.CharField(
        label="Name contains", required=False, max_length=80, strip=True, widget=UnfoldAdminTextInputWidget
    )
    health = forms.ChoiceField(
        required=False,
        choices=[("", "any"), (UNHEALTHY, "any problem"), *((one.value, one.label) for one in Health)],
        widget=UnfoldAdminSelectWidget,
    )
    state = forms.ChoiceField(
        label="Activity",
        required=False,
        choices=[("", "any"), *((what.value, what.label) for what in State)],
        widget=UnfoldAdminSelectWidget,
    )
    handler = forms.ChoiceField(required=False, widget=UnfoldAdminSelectWidget)
    sort = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["handler"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [("", "any"), *((name, name) for name in catalogue.current())]

    def found(self, cursor: str | None) -> tuple[list[Queue], str | None]:
        """A page of the queues that match. Raises `InvalidInput`."""
        chosen = {name: self.cleaned_data[name] or None for name in ("health", "state")}
        return search.find_queues(
            containing=self.cleaned_data["q"] or None,
            handler=self.cleaned_data["handler"] or None,
            selections=reads.selections(**chosen),
            sort=self.cleaned_data["sort"] or "name",
            cursor=cursor,
            limit=PAGE,
        )

    def query(self, **changes: Any) -> dict[str, Any]:
        """The filters as a URL's query, with these changes."""
        given = {**self.cleaned_data, **changes} if self.is_valid() else changes
        return {name: value for name, value in given.items() if value not in (None, "")}


class ListPage(QueuePages):
    """The list, on which queues are selected for an action."""

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, str] | None = None) -> HttpResponse:
        """Show a page of the queues that match."""
        self.require_view(request)
        filters = QueueFilters(request.GET)
        found: list[Queue] = []
        following = None
        if filters.is_valid():
            try:
                found, following = filters.found(request.GET.get("cursor"))
            except InvalidInput as error:
                filters.add_error(None, str(error))
        query = filters.query()
        may_jobs = request.user.has_perm("jobs.view_job")
        may_add = self.may(request, "add")
        return self.page(
            request,
            "jobs/_queues.html",
            "Queues",
            filters=filters,
            filtered=bool(set(query) - {"sort"}),
            rows=_rows(request, found, with_jobs=may_jobs),
            columns=_columns(filters) + ([{"text": "Newest job"}] if may_jobs else []),
            actions=self.actions_for(request),
            act=address("queues_queue_act", next=request.get_full_path()),
            max_concurrency=get_config().max_concurrency,
            may_change=self.may(request, "change"),
            may_add=may_add,
            may_jobs=may_jobs,
            newest=address("queues_queue_changelist", **query) if "cursor" in request.GET else None,
            older=following and address("queues_queue_changelist", **query, cursor=following),
            has_add_permission=may_add,
            poll=True,
        )


def _rows(request: HttpRequest, queues: Sequence[Queue], *, with_jobs: bool) -> list[dict[str, Any]]:
    activity = reads.activity(queues, with_jobs=with_jobs)
    counts = statistics.recent(queues)
    now = database_clock.now()
    return [_row(request, queue, activity[queue.id], counts[queue.id], now) for queue in queues]


def _row(
    request: HttpRequest, queue: Queue, activity: reads.Activity, counts: list[int], now: datetime
) -> dict[str, Any]:
    return {
        **shown(queue, activity, now),
        **working(request, activity),
        "address": address("queues_queue_change", queue.name),
        "sparkline": Sparkline(counts),
    }


def _columns(filters: QueueFilters) -> list[dict[str, Any]]:
    """The headings, each with the address that sorts by it or reverses its order."""
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
