"""Events as marks in charts, as charts.js draws them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from jobs.statistics import Point
from queues import events


def chart_marks(queue: str | None, points: Sequence[Point], step: timedelta) -> list[dict[str, Any]]:
    """The latest events of a queue, or of the system as a whole (None), each at the point in whose step it happened."""
    if not points:
        return []
    begin, end = points[0].at, points[-1].at + step
    return [
        {
            "at": min(int((event.at - begin) / step), len(points) - 1),
            "text": f"{event.at:%H:%M:%S} UTC {event.text}" + (f", by {event.actor}" if event.actor else ""),
        }
        for event in events.marks(queue, begin, end)
    ]
