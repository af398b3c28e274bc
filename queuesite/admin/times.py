"""Times that a viewer types: a filter's field takes them in the zone of their browser, which a cookie names.

`moments.js` sets the cookie. An address holds the moment in UTC, so that it means the same to everybody.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from django import forms
from django.http import HttpRequest
from django.utils.dateparse import parse_datetime
from unfold.widgets import UnfoldAdminTextInputWidget

COOKIE = "zone"
_CLOCK = re.compile(r"(?:(?P<day>\d{4}-\d{2}-\d{2})[ T])?(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::\d{2})?")
_LONGEST = 40


def zone_of(request: HttpRequest) -> tzinfo:
    """The zone of the viewer's browser; UTC until a page has reported it."""
    try:
        return ZoneInfo(request.COOKIES.get(COOKIE, "")[:64])
    except (KeyError, ValueError, OSError):  # none, no such zone, or not a name
        return UTC


def parse(text: str, zone: tzinfo, now: datetime) -> datetime | None:
    """The minute that a text names: `14:05`, which is the last one, or `2026-11-26 14:05`, or a moment in UTC.

    None for any other text.
    """
    try:
        if text.endswith("Z"):
            return parse_datetime(text)
        if (found := _CLOCK.fullmatch(text)) is None:
            return None
        clock = time(int(found["hour"]), int(found["minute"]))
        day = now.astimezone(zone).date() if found["day"] is None else date.fromisoformat(found["day"])
        at = datetime.combine(day, clock, zone)
        if found["day"] is None and at > now:
            at = datetime.combine(day - timedelta(days=1), clock, zone)
        return at.astimezone(UTC)
    except (ValueError, OverflowError):  # no such day or hour
        return None


class MinuteField(forms.CharField):
    """A minute, as an aware datetime in UTC; None if the field is empty."""

    def __init__(self, **options: Any) -> None:
        widget = UnfoldAdminTextInputWidget(attrs={"placeholder": "14:05", "title": "14:05, or 2026-11-26 14:05"})
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
            raise forms.ValidationError(f"{text!r} is not a time: write 14:05, or 2026-11-26 14:05.")
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
