"""The moments of a chart and the events that mark it, for charts.js, which shows them in the viewer's zone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from jobs.statistics import Point
from queues import events
from queuesite.templatetags.moments import utc


def chart_labels(points: Sequence[Point]) -> list[str]:
    """The moments of a chart's points."""
    return [utc(point.at) for point in points]


def chart_marks(queue: str | None, points: Sequence[Point], step: timedelta) -> list[dict[str, Any]]:
    """The latest events of a queue, or of the system as a whole (None), each at the point in whose step it happened."""
    if not points:
        return []
    begin, end = points[0].at, points[-1].at + step
    return [
        {
            "at": min(int((event.at - begin) / step), len(points) - 1),
            "moment": utc(event.at),
            "text": event.text + (f", by {event.actor}" if event.actor else ""),
        }
        for event in events.marks(queue, begin, end)
    ]
