"""Times that people type: in a page's filter, in the zone of their browser, or on a command line, in UTC. Pure."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo

_CLOCK = re.compile(r"(?:(?P<day>\d{4}-\d{2}-\d{2})[ T])?(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::\d{2})?")
#: What may be typed, in words.
EXAMPLES = "14:05, or 2026-11-26 14:05"


def parse(text: str, zone: tzinfo, now: datetime) -> datetime | None:
    """The minute that a text names: `14:05`, which is the last one, or `2026-11-26 14:05`, or a moment in UTC.

    None for any other text.
    """
    try:
        if text.endswith("Z"):
            return datetime.fromisoformat(text)
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
