"""Filters that format quantities for pages."""

from __future__ import annotations

from django import template

register = template.Library()

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
#: Shown if there is no value.
NONE = "\u2013"


@register.filter
def duration(seconds: float | None) -> str:
    """Seconds in their two largest units: `0.35 s`, `12 s`, `3 min 5 s`, `2 d 4 h`. Pure."""
    if seconds is None:
        return NONE
    if seconds < 10:
        return f"{seconds:.2g} s" if seconds >= 0.001 else "0 s"
    rest = round(seconds)
    place = next(index for index, (size, _) in enumerate(_UNITS) if rest >= size)
    parts = []
    for size, unit in _UNITS[place : place + 2]:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts)


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
