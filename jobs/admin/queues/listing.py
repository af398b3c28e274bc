"""The list of queues."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from jobs import ranking, reads, statistics
from jobs.admin.failures import Sparkline
from jobs.admin.queues import undo
from jobs.admin.queues.base import QueuePages, shown, working
from jobs.admin.queues.columns import QUEUES
from jobs.models import Assignment
from jobs.shared import shared
from queues import search
from queues.handlers import catalogue
from queues.health.rules import UNHEALTHY, Health
from queues.models import Queue
from queues.state import Context, State
from queues.summaries import HealthCounts, Named, Sums
from queuesite import live
from queuesite.admin.records import address
from queuesite.admin.tables import Sorting, Tab
from queuesite.foundation.config import get_config
from queuesite.foundation.errors import InvalidInput
from queuesite.foundation.quantities import plural
from queuesite.templatetags.quantities import count

PAGE = 50
#: Queues of each state, added up, and how many there are with each problem.
Counts = tuple[dict[State, Sums], HealthCounts]


class QueueFilters(forms.Form):
    """Which queues to list. A field that is left empty is not a condition."""

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

    def wanted(self) -> dict[str, Any]:
        """The conditions of `queues.search.find_queues`, but for state and health."""
        return {"containing": self.cleaned_data["q"] or None, "handler": self.cleaned_data["handler"] or None}

    def found(self, cursor: str | None, context: Context, *, renewed: bool) -> tuple[list[Queue], str | None]:
        """A page of the queues that match, shared with other viewers unless `renewed`. Raises `InvalidInput`."""
        sort = self.cleaned_data["sort"] or "name"
        chosen = {name: self.cleaned_data[name] or None for name in ("health", "state")}
        wanted = self.wanted()
        return shared(
            "list of queues",
            lambda: ranking.list_queues(
                **wanted,
                selections=reads.selections(**chosen, context=context),
                sort=sort,
                cursor=cursor,
                limit=PAGE,
                context=context,
            ),
            (wanted, chosen, sort, cursor),
            renewed=renewed,
        )

    def everything(self) -> list[Named]:
        """All queues that match, on all pages."""
        chosen = {name: self.cleaned_data[name] or None for name in ("health", "state")}
        return search.find_names(**self.wanted(), selections=reads.selections(**chosen))

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
        held = reads.find_assignments()
        context = reads.queue_context(held)
        if filters.is_valid():
            try:
                found, following = filters.found(
                    request.GET.get("cursor"), context, renewed=not live.is_update(request)
                )
            except InvalidInput as error:
                filters.add_error(None, str(error))
        query = filters.query()
        may = {name: request.user.has_perm(name) for name in ("jobs.view_job", "queues.add_queue")}
        actions = self.actions_for(request)
        counts = _counts(filters, context)
        return self.page(
            request,
            "jobs/_queues.html",
            "Queues",
            filters=filters,
            filtered=bool(set(query) - {"sort"}),
            matching=_matching(counts, query),
            destructive=any(action.destroys for action in actions.values()),
            undo=undo.offered(request),
            reason=any("reason" in action.takes for action in actions.values()),
            tabs=_tabs(filters, counts),
            table=QUEUES.table(
                request,
                _rows(request, found, held, context),
                sorting=Sorting(query.get("sort") or "name", lambda by: _address(filters, sort=by)),
                form="act" if actions else None,
                total=_total(counts, query),
            ),
            actions=actions,
            act=address("queues_queue_act", next=request.get_full_path()),
            max_concurrency=get_config().max_concurrency,
            may_change=self.may(request, "change"),
            may_add=may["queues.add_queue"],
            newest=address("queues_queue_changelist", **query) if "cursor" in request.GET else None,
            older=following and address("queues_queue_changelist", **query, cursor=following),
            has_add_permission=may["queues.add_queue"],
            poll=True,
        )


def _matching(counts: Counts, query: dict[str, Any]) -> int | None:
    """How many queues match, if the counts say it: not for a problem together with a state."""
    sums, health = counts
    wanted, state = query.get("health"), query.get("state")
    if wanted and state:
        return None
    if wanted:
        return health.ill if wanted == UNHEALTHY else health.problems.get(Health(wanted))
    return sum(one.queues for name, one in sums.items() if state in (None, name.value))


def _address(filters: QueueFilters, **changes: Any) -> str:
    return address("queues_queue_changelist", **filters.query(**changes))


def _rows(
    request: HttpRequest, queues: Sequence[Queue], held: Sequence[Assignment], context: Context
) -> list[dict[str, Any]]:
    """The rows, for which is read only what the viewer's columns show."""
    ids = [queue.id for queue in queues]
    shows = {column.name for column in QUEUES.chosen(request)}
    activity = reads.activity(queues, with_jobs="job" in shows, found=held, context=context)
    counts = shared("recent", lambda: statistics.recent(queues), ids) if "hour" in shows else None
    figures = shared("figures", lambda: statistics.figures(queues), ids) if shows & {"rate", "failed", "p95"} else None
    return [
        {
            "id": str(queue.id),
            "name": queue.name,
            **shown(queue, activity[queue.id], context.now),
            **working(request, activity[queue.id]),
            "address": address("queues_queue_change", queue.name),
            "sparkline": counts and Sparkline(counts[queue.id]),
            "figures": figures and figures[queue.id],
        }
        for queue in queues
    ]


def _counts(filters: QueueFilters, context: Context) -> Counts:
    """The queues that match whatever their state and health are; a slow answer is shared by all requests."""
    if not filters.is_valid():
        return {}, HealthCounts(0, 0, {})
    wanted = filters.wanted()
    return shared("queues", lambda: search.sums(context, **wanted), wanted)


def _tabs(filters: QueueFilters, counts: Counts) -> list[Tab]:
    """All, those with each problem that there is, and those of each state."""
    sums, health = counts
    query = filters.query()
    chosen = query.get("health"), query.get("state")

    def tab(text: str, number: int, health: str | None = None, state: str | None = None) -> Tab:
        return Tab(text, _address(filters, health=health, state=state), count(number), chosen == (health, state))

    problems = [one for one in Health if one in health.problems or one.value == chosen[0]]
    return [
        tab("All", health.queues),
        tab("any problem", health.ill, UNHEALTHY),
        *(tab(one.label, health.problems.get(one, 0), one.value) for one in problems if one is not Health.HEALTHY),
        *(tab(one.label, sums[one].queues if one in sums else 0, state=one.value) for one in State),
    ]


def _total(counts: Counts, query: dict[str, Any]) -> str:
    """What the queues of the list hold together, by the last observations; nothing if a problem is asked for."""
    if "health" in query:
        return ""
    found = [one for state, one in counts[0].items() if query.get("state") in (None, state.value)]
    queues = sum(one.queues for one in found)
    held = {
        "visible": sum(one.visible for one in found),
        "in flight": sum(one.in_flight for one in found),
        "delayed": sum(one.delayed for one in found),
        "dead letters": sum(one.dead_letters for one in found),
    }
    words = ", ".join(f"{count(number)} {name}" for name, number in held.items())
    return f"{plural(queues, 'queue')}: {words}"
