"""The charts of a queue's page, as charts.js takes them."""

from __future__ import annotations

from typing import Any

from jobs import statistics
from jobs.admin.marks import chart_labels, chart_marks
from queues import observation
from queues.models import Queue


def charts(queue: Queue, span: str, *, with_events: bool) -> dict[str, dict[str, Any]]:
    """Depth, throughput and handler time over a span, marked with the queue's events if the user may see them.

    The last depth is the one that was observed last.
    """
    step = statistics.SPANS[span].step
    points = statistics.series(queue.name, statistics.SPANS[span].length, step)
    minutes = step.total_seconds() / 60
    labels = chart_labels(points)
    known = observation.depths(queue.id, points[0].at, points[-1].at, step)
    depths = [*known.values(), queue.depth]

    happened = chart_marks(queue.name, points, step) if with_events else []

    def chart(label: str, unit: str, **series: list[Any]) -> dict[str, Any]:
        drawn = zip(series.items(), ("done", "failed", "third"), (None, [5, 4], [2, 3]), strict=False)
        lines = [
            {"label": name.replace("_", " "), "values": values, "colour": colour, **({"dash": dash} if dash else {})}
            for (name, values), colour, dash in drawn
        ]
        return {"label": label, "unit": unit, "labels": labels, "series": lines, "marks": happened}

    return {
        "depth": chart(
            f"Depth: {queue.depth_visible} messages visible, {queue.depth_in_flight} in flight at last",
            "messages",
            visible=[depth and depth.visible for depth in depths],
            in_flight=[depth and depth.in_flight for depth in depths],
            delayed=[depth and depth.delayed for depth in depths],
        ),
        "throughput": chart(
            f"Messages per minute: {max(point.processed for point in points) / minutes:g} processed at most",
            "per minute",
            processed=[round(point.processed / minutes, 2) for point in points],
            failed=[round(point.failed / minutes, 2) for point in points],
            retried=[round(point.retried / minutes, 2) for point in points],
        ),
        "durations": chart(
            "Percentiles of the handler's time",
            "s",
            p50=[point.p50 for point in points],
            p95=[point.p95 for point in points],
            p99=[point.p99 for point in points],
        ),
    }
