"""The feed of what happened: workers, leaders, versions, and what was done to queues by whom."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from jobs.admin.pages import queue_address
from queues import events
from queues.event_model import Event
from queues.events import EventKind
from queuesite.admin.records import RecordsAdmin, address
from queuesite.foundation.errors import InvalidInput
from queuesite.groups import Grants
from queuesite.navigation import Place, Section

PAGE = 50


class EventFilters(forms.Form):
    """Which events to list. A field that is left empty is no condition."""

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
        filters = EventFilters(request.GET)
        chosen = {name: value or None for name, value in filters.cleaned_data.items()} if filters.is_valid() else {}
        try:
            found, following = events.find(**chosen, cursor=request.GET.get("cursor"), limit=PAGE)
        except InvalidInput as error:
            raise Http404(str(error)) from None
        return self.page(
            request,
            "jobs/_events.html",
            "Events",
            filters=filters,
            filtered=any(chosen.values()),
            rows=[
                {
                    "event": event,
                    "queue_address": queue_address(event.queue_name) if event.queue_name else None,
                }
                for event in found
            ],
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
