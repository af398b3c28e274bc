"""The moments of a chart and the events that mark it, for charts.js, which shows them in the viewer's zone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from jobs.statistics import Point
from queues import events
from queues.event_model import Event
from queuesite.templatetags.moments import utc


def chart_labels(points: Sequence[Point]) -> list[str]:
    """The moments of a chart's points."""
    return [utc(point.at) for point in points]


#: Names that a mark of several events gives.
_NAMED = 3


def chart_marks(queue: str | None, points: Sequence[Point], step: timedelta) -> list[dict[str, Any]]:
    """The latest events of a queue, or of the system and all its queues (None), at the points in whose steps they were.

    On a chart of the whole system, events of one kind at one point are one mark.
    """
    if not points:
        return []
    begin, end = points[0].at, points[-1].at + step
    groups: dict[tuple[int, str, object], list[Event]] = {}
    for event in events.marks(queue, begin, end):
        at = min(int((event.at - begin) / step), len(points) - 1)
        groups.setdefault((at, event.kind, event.id if queue else None), []).append(event)
    return [
        {"at": at, "moment": utc(group[0].at), "text": _text(group, named=queue is None)}
        for (at, _, _), group in list(groups.items())[-events.MARKS :]
    ]


def _text(group: Sequence[Event], *, named: bool) -> str:
    """What happened, and to what unless that is plain; several events of a kind are counted."""
    if len(group) == 1:
        event = group[0]
        prefix = f"{event.queue_name}: " if named and event.queue_name else ""
        return prefix + event.text + (f", by {event.actor}" if event.actor else "")
    names = list(dict.fromkeys(event.queue_name or event.subject or "" for event in group))
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    what = group[0].kind.replace("-", " ")
    return f"{what}, {len(group)} times: {', '.join(names[:_NAMED])}{more}"
