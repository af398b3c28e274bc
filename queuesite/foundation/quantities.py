"""Quantities in words, for pages, sentences and the terminal. Pure."""

from __future__ import annotations

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def duration(seconds: float) -> str:
    """Seconds in their two largest units: `0.35 s`, `12 s`, `3 min 5 s`, `2 d 4 h`."""
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


def plural(count: int, noun: str) -> str:
    """A count with its noun: `1 message`, `1,200 messages`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
