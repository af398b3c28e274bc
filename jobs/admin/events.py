"""The feed of what happened: workers, leaders, versions, and what was done to queues by whom."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from jobs import reads
from jobs.admin.pages import counted, queue_address
from jobs.shared import shared
from queues import events
from queues.event_model import Event
from queues.events import EventKind
from queuesite.admin.records import RecordsAdmin, address
from queuesite.admin.tables import Column, Listing, Row
from queuesite.admin.times import TimedFilters
from queuesite.foundation.errors import InvalidInput
from queuesite.groups import Grants
from queuesite.navigation import Place, Section
from queuesite.templatetags.cells import cut, link, whole
from queuesite.templatetags.moments import moment
from queuesite.templatetags.quantities import NONE

PAGE = 50


class EventFilters(TimedFilters):
    """Which events to list. A field that is left empty is not a condition."""

    queue = forms.CharField(required=False, max_length=80, strip=True, widget=UnfoldAdminTextInputWidget)
    kind = forms.ChoiceField(
        required=False,
        choices=[("", "any"), *((kind.value, kind.label) for kind in EventKind)],
        widget=UnfoldAdminSelectWidget,
    )


@admin.register(Event)
class EventAdmin(RecordsAdmin):
    """The events, the latest first."""

    at = "events"
    place = Place(Section.WORK, 6, "Events", "timeline")
    grants = Grants(viewers=("view_event",))

    def has_change_permission(self, request: HttpRequest, obj: Event | None = None) -> bool:
        return False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, str] | None = None) -> HttpResponse:
        """List the events (of one queue, of one kind)."""
        self.require_view(request)
        filters = EventFilters(request)
        if filters.moves(request):
            return HttpResponseRedirect(address("queues_event_changelist", **filters.query()))
        found: list[Event] = []
        following, chosen, total = None, {}, ""
        if filters.is_valid():
            chosen, wanted = filters.query(), filters.conditions()
            try:
                found, following = events.find(**wanted, cursor=request.GET.get("cursor"), limit=PAGE)
            except InvalidInput as error:
                raise Http404(str(error)) from None
            total = _total(wanted)
        return self.page(
            request,
            "jobs/_events.html",
            "Events",
            filters=filters,
            filtered=filters.narrowed,
            table=EVENTS.table(request, [_row(request, event) for event in found], total=total),
            newest=address("queues_event_changelist", **chosen) if "cursor" in request.GET else None,
            older=following and address("queues_event_changelist", **chosen, cursor=following),
            poll="cursor" not in request.GET,
        )

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Redirect to the list, which shows everything about an event."""
        self.require_view(request)
        return HttpResponseRedirect(address("queues_event_changelist"))


def _row(request: HttpRequest, event: Event) -> dict[str, Any]:
    seen = event.queue_name and request.user.has_perm("queues.view_queue")
    return {
        "id": str(event.id),
        "name": event.text,
        "event": event,
        "queue": queue_address(event.queue_name) if seen else None,
    }


def _queue(row: Row) -> object:
    event = row["event"]
    return link(event.queue_name, row["queue"], f"event-{row['id']}") if event.queue_name else NONE


EVENTS = Listing(
    "events",
    "Events",
    (
        Column("time", "Time", lambda row: moment(row["event"].at), "time"),
        Column("queue", "Queue", _queue, "name"),
        Column("text", "What happened", lambda row: whole(row["event"].text), "text"),
        Column("actor", "By", lambda row: cut(row["event"].actor or "the system"), "medium"),
        Column("kind", "Kind", lambda row: row["event"].kind.replace("-", " "), "medium", usual=False, on_card=False),
        Column("subject", "Of", lambda row: cut(row["event"].subject or NONE), "wide", usual=False, on_card=False),
    ),
)


def _total(wanted: dict[str, Any]) -> str:
    number = shared("events", lambda: events.count(**wanted, most=reads.MOST_COUNTED + 1), wanted)
    return counted(number, "event")
