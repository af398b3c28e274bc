"""Filters that format quantities for pages."""

from __future__ import annotations

from django import template

from queuesite.foundation import quantities

register = template.Library()

#: Shown if there is no value.
NONE = "\u2013"


@register.filter
def duration(seconds: float | None) -> str:
    """Seconds in their two largest units: `0.35 s`, `12 s`, `3 min 5 s`, `2 d 4 h`. Pure."""
    return NONE if seconds is None else quantities.duration(seconds)


@register.filter
def count(number: int | None) -> str:
    """A whole number with thousands separators."""
    return NONE if number is None else f"{number:,}"


@register.filter
def rate(number: float | None) -> str:
    """A rate per second, with at least three significant digits."""
    if number is None:
        return NONE
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"
