"""Notices: what they are sent of, silences for maintenance, what was sent, and a test."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from jobs import alerts, notices, silences
from jobs.admin.notice_columns import ALERTS, NOTICES, SILENCES, alert_rows, notice_rows, silence_rows
from jobs.alert_models import Alert
from jobs.silences import MAX_REASON, SPANS, USUAL_SPAN
from queuesite.admin.records import RecordsAdmin, address
from queuesite.foundation.config import get_config
from queuesite.foundation.databases import mongodb_errors
from queuesite.foundation.errors import InvalidInput, NotFound, QueuesiteError
from queuesite.foundation.public import public_text
from queuesite.foundation.quantities import duration, plural
from queuesite.groups import Grants
from queuesite.navigation import Place, Section

#: Rows of each list.
MOST_OPEN, PAGE = 200, 20


class SilenceForm(forms.Form):
    """A silence to begin."""

    queues = forms.CharField(
        required=False,
        max_length=50_000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        help_text="names, separated by spaces, commas or line ends; empty: everything",
    )
    minutes = forms.TypedChoiceField(
        label="For",
        coerce=int,
        initial=USUAL_SPAN,
        choices=[(minutes, duration(minutes * 60)) for minutes in SPANS],
        widget=UnfoldAdminSelectWidget,
    )
    reason = forms.CharField(
        required=False,
        max_length=MAX_REASON,
        widget=UnfoldAdminTextInputWidget,
        help_text="this page and events show it",
    )

    def clean_queues(self) -> list[str]:
        """The names."""
        return str(self.cleaned_data["queues"]).replace(",", " ").split()


@admin.register(Alert)
class AlertAdmin(RecordsAdmin):
    """What is open, what was sent, and silences."""

    at = "notices"
    place = Place(Section.WORK, 7, "Notices", "notifications")
    grants = Grants(viewers=("view_alert",), operators=("silence_alert", "test_alert"))

    def has_change_permission(self, request: HttpRequest, obj: Alert | None = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        return [
            self.route("silence/", self.silence_view, "silence"),
            self.route("test/", self.test_view, "test"),
            self.route("silences/<str:object_id>/end/", self.end_view, "end"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, str] | None = None) -> HttpResponse:
        """Show where notices go, what is open, which silences hold, and what was sent, the latest first."""
        self.require_view(request)
        cursor = request.GET.get("cursor")
        try:
            sent, following = notices.find(cursor=cursor, limit=PAGE)
        except InvalidInput as error:
            raise Http404(str(error)) from None
        holding = silences.current()
        found = alerts.open_alerts(MOST_OPEN)
        targets, unusable = notices.targets()
        return self.page(
            request,
            "jobs/_notices.html",
            "Notices",
            targets=targets,
            unusable=unusable,
            sends=get_config().alert_urls is not None,
            unchecked=alerts.unchecked(),
            last_check=alerts.last_check(),
            alerts=ALERTS.table(request, alert_rows(request, found), total=plural(len(found), "problem")),
            silences=SILENCES.table(request, silence_rows(request, holding), total=plural(len(holding), "silence")),
            sent=NOTICES.table(request, notice_rows(sent)),
            may_silence=request.user.has_perm("jobs.silence_alert"),
            may_test=request.user.has_perm("jobs.test_alert"),
            newest=address("jobs_alert_changelist") if cursor is not None else None,
            older=following and address("jobs_alert_changelist", cursor=following),
            poll=cursor is None,
        )

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Redirect to the list, which shows everything about a problem."""
        self.require_view(request)
        return HttpResponseRedirect(address("jobs_alert_changelist"))

    def silence_view(self, request: HttpRequest) -> HttpResponse:
        """The form that begins a silence; `?queue=` is filled in."""
        if not request.user.has_perm("jobs.silence_alert"):
            raise PermissionDenied
        form = SilenceForm(request.POST or None, initial={"queues": request.GET.get("queue", "")[:80]})
        if request.method == "POST" and form.is_valid():
            try:
                with mongodb_errors():
                    span = timedelta(minutes=form.cleaned_data["minutes"])
                    begun = silences.begin(form.cleaned_data["queues"], span, form.cleaned_data["reason"])
            except (InvalidInput, NotFound) as error:
                field = getattr(error, "field", None) or "queues"
                form.add_error(field if field in form.fields else None, str(error))
            else:
                what = ", ".join(one.subject for one in begun[:5]) or "everything"
                more = f" and {len(begun) - 5} more" if len(begun) > 5 else ""
                self.message_user(request, f"No notices are sent of {what}{more} for {duration(span.total_seconds())}.")
                return self._back(request)
        return self.page(
            request,
            "jobs/_silence.html",
            "Silence notices",
            form=form,
            back=address("jobs_alert_changelist"),
            poll=False,
        )

    def end_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """End a silence."""
        if not request.user.has_perm("jobs.silence_alert"):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        try:
            with mongodb_errors():
                ended = silences.end(object_id)
        except QueuesiteError as error:
            self.message_user(request, public_text(error), messages.WARNING)
        else:
            self.message_user(request, f"Notices of {ended.subject or 'everything'} are sent again.")
        return self._back(request)

    def test_view(self, request: HttpRequest) -> HttpResponse:
        """Send a test notice, and say what each address answered."""
        if not request.user.has_perm("jobs.test_alert"):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        try:
            answers = notices.test()
        except QueuesiteError as error:
            self.message_user(request, public_text(error), messages.ERROR)
            return self._back(request)
        for one in answers:
            words = "took the test notice" if one.took else f"did not take it: {one.text}"
            self.message_user(request, f"{one.target} {words}.", messages.SUCCESS if one.took else messages.ERROR)
        return self._back(request)

    def _back(self, request: HttpRequest) -> HttpResponse:
        allowed = self.has_view_permission(request)
        return HttpResponseRedirect(address("jobs_alert_changelist") if allowed else address("index"))
