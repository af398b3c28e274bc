"""The admin's log: who did what here, and when."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.decorators import display

from queuesite.admin.forms import FormsAdmin, at
from queuesite.groups import Grants
from queuesite.navigation import Place, Section

_VERBS = {ADDITION: "created", CHANGE: "changed", DELETION: "deleted"}


class _What(admin.SimpleListFilter):
    """What was done, in the words of the column."""

    title = "what"
    parameter_name = "action_flag"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(flag), words) for flag, words in _VERBS.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[LogEntry]) -> QuerySet[LogEntry]:
        wanted = self.value()
        return queryset if wanted is None else queryset.filter(action_flag=wanted)


@admin.register(LogEntry)
class LogAdmin(FormsAdmin):
    """Every change that was made in the admin; only the admin writes it."""

    place = Place(Section.ACCESS, 5, "Log", "history")
    grants = Grants(administrators=("view_logentry",))

    list_display = (at("action_time", "When"), "user", "verb", "content_type", "object_repr", "message")
    list_filter = (_What, "content_type")
    list_select_related = ("user", "content_type")
    search_fields = ("object_repr", "change_message", "user__username")
    show_full_result_count = False

    @display(description="What", label={"created": "success", "changed": "info", "deleted": "danger"})
    def verb(self, entry: LogEntry) -> str:
        """What was done, in one word and with a colour."""
        return _VERBS[entry.action_flag]

    @admin.display(description="Description")
    def message(self, entry: LogEntry) -> str:
        """The description of the change."""
        return entry.get_change_message()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: LogEntry | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: LogEntry | None = None) -> bool:
        return False
