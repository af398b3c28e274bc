"""Times that a viewer types: a filter's field takes them in the zone of their browser, which a cookie names.

`moments.js` sets the cookie. An address holds the moment in UTC, so that it means the same to everybody.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from django import forms
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminTextInputWidget

from queuesite.foundation.databases import database_clock
from queuesite.foundation.moments import EXAMPLES, parse

COOKIE = "zone"
_LONGEST = 40


def zone_of(request: HttpRequest) -> tzinfo:
    """The zone of the viewer's browser; UTC until a page has reported it."""
    try:
        return ZoneInfo(request.COOKIES.get(COOKIE, "")[:64])
    except (KeyError, ValueError, OSError):  # none, no such zone, or not a name
        return UTC


class MinuteField(forms.CharField):
    """A minute, as an aware datetime in UTC; None if the field is empty."""

    def __init__(self, **options: Any) -> None:
        widget = UnfoldAdminTextInputWidget(attrs={"placeholder": "14:05", "title": EXAMPLES})
        super().__init__(required=False, max_length=_LONGEST, widget=widget, **options)
        self.zone: tzinfo = UTC
        self.now = datetime.now(UTC)

    def clean(self, value: Any) -> datetime | None:
        """Raise `ValidationError` unless it names a minute."""
        text = super().clean(value)
        if not text:
            return None
        at = parse(text, self.zone, self.now)
        if at is None:
            raise forms.ValidationError(f"{text!r} is not a time: write {EXAMPLES}.")
        return at.replace(second=0, microsecond=0)

    def bound_data(self, data: Any, initial: Any) -> Any:
        """What the field shows: the minute in the viewer's zone."""
        try:
            at = self.clean(data)
        except forms.ValidationError:
            return data
        return "" if at is None else f"{at.astimezone(self.zone):%Y-%m-%d %H:%M}"


def in_address(at: datetime) -> str:
    """A minute as an address has it: `2026-11-26T13:05Z`."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="minutes") + "Z"


class TimedFilters(forms.Form):
    """The filters of a list of what happened, one of which is a minute: what had begun by its end, the latest first."""

    at = MinuteField(label="Time")

    def __init__(self, request: HttpRequest) -> None:
        super().__init__(request.GET)
        field = self.fields["at"]
        assert isinstance(field, MinuteField)
        field.zone, field.now = zone_of(request), database_clock.now()

    def conditions(self) -> dict[str, Any]:
        """The filters that were given, as the arguments of a function that finds; `at` is its `until`."""
        found = {name: value for name, value in self.cleaned_data.items() if value}
        at: datetime | None = found.pop("at", None)
        return found if at is None else {**found, "until": at + timedelta(minutes=1)}

    def query(self, **changes: Any) -> dict[str, Any]:
        """The filters as a URL's query, with these changes."""
        at: datetime | None = self.cleaned_data.get("at")
        others = {name: value for name, value in self.cleaned_data.items() if name != "at"}
        given = {**others, "at": None if at is None else in_address(at), **changes}
        return {name: value for name, value in given.items() if value not in (None, "")}

    @property
    def narrowed(self) -> bool:
        """Whether the list is not that of everything: one whose filters are wrong shows nothing."""
        return not self.is_valid() or bool(self.query())

    def moves(self, request: HttpRequest) -> bool:
        """Whether the address has the time as it was typed: it is to mean the same tomorrow, and in another zone."""
        return self.is_valid() and self.query().get("at", "") != request.GET.get("at", "").strip()
