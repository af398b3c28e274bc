"""Filters for moments and durations. Browsers show them in the viewer's zone (`moments.js`), with UTC on hover.

What the server writes is UTC and does not depend on the present moment, so that a part of a live page is the same until
something happens.
"""

from __future__ import annotations

from datetime import UTC, datetime

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from queuesite.templatetags.quantities import NONE

register = template.Library()


@register.filter
def moment(at: datetime | None, otherwise: str = NONE) -> SafeString | str:
    """A date with its time: `2026-11-26 14:05:09`."""
    return otherwise if at is None else _element(at, "moment")


@register.filter
def ago(at: datetime | None, otherwise: str = NONE) -> SafeString | str:
    """How long ago a moment was, which goes on counting: `12 s ago`; for one to come, `in 12 s`."""
    return otherwise if at is None else _element(at, "ago")


@register.filter
def since(at: datetime | None, otherwise: str = NONE) -> SafeString | str:
    """The time that has passed since a moment, which goes on counting: `3 min 5 s`."""
    return otherwise if at is None else _element(at, "since")


def utc(at: datetime) -> str:
    """A moment as browsers read it: `2026-11-26T14:05:09Z`."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _element(at: datetime, form: str) -> SafeString:
    exact = at.astimezone(UTC)
    return format_html(
        '<time datetime="{}" data-moment="{}">{} UTC</time>', utc(at), form, exact.strftime("%Y-%m-%d %H:%M:%S")
    )
