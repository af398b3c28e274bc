"""Quantities in words, for pages, sentences and the terminal. Pure."""

from __future__ import annotations

import re

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_NAMES = {"d": "day", "h": "hour", "min": "minute", "s": "second"}
#: Units as people type them, by their length in seconds.
_TYPED = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hour", "hours"), 3_600),
    **dict.fromkeys(("d", "day", "days"), 86_400),
}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)")


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


def noun_for(count: int, noun: str) -> str:
    """The noun in the number that a count asks for: `message`, `messages`."""
    return noun if count == 1 else f"{noun}s"


def plural(count: int, noun: str) -> str:
    """A count with its noun: `1 message`, `1,200 messages`."""
    return f"{count:,} {noun_for(count, noun)}"


def in_words(seconds: float) -> str:
    """Seconds exactly and in whole words: `30 seconds`, `1 hour 30 minutes`, `0.5 seconds`."""
    if seconds != int(seconds) or seconds <= 0:
        return f"{seconds:,g} seconds" if seconds != 1 else "1 second"
    parts, rest = [], int(seconds)
    for size, unit in _UNITS:
        count, rest = divmod(rest, size)
        if count:
            parts.append(plural(count, _NAMES[unit]))
    return " ".join(parts)


def seconds_of(text: str) -> float | None:
    """The seconds that somebody typed: `90`, `90 s`, `1 h 30 min`, `1 minute 30 seconds`.

    None: it is not a duration.
    """
    typed = text.strip().lower().replace(",", "")
    if re.fullmatch(r"\d+(\.\d+)?", typed):
        return float(typed)
    parts = _PART.findall(typed)
    if not parts or _PART.sub("", typed).strip() or any(unit not in _TYPED for _, unit in parts):
        return None
    return sum(float(count) * _TYPED[unit] for count, unit in parts)
