"""The overview, which is the admin's index: how the whole system is, and what needs attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.http import HttpRequest

from jobs import attention, reads, services, statistics
from jobs.admin import workers
from jobs.admin.marks import chart_labels, chart_marks
from jobs.admin.tiles import tiles
from jobs.admin.urgent import rows
from jobs.models import Worker
from jobs.shared import shared
from jobs.situation import situation
from jobs.statistics import Overall, Statistics
from queuesite import live, tasks
from queuesite.admin.records import address
from queuesite.foundation.databases import database_clock

#: How many queues that need attention, workers and failures are shown; their own pages show all.
QUEUES_SHOWN = 10
WORKERS_SHOWN = 12
FAILURES_SHOWN = 5
DEFAULT_SPAN = "1h"
#: The spans of `statistics.SPANS` in words, as in "the last hour".
_SPAN_NAMES = {"15m": "15 minutes", "1h": "hour", "24h": "24 hours", "7d": "7 days"}


def overview(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """The context of the index for this user (UNFOLD["DASHBOARD_CALLBACK"])."""
    may = request.user.has_perm
    alive = services.list_workers() if may("jobs.view_worker") else []
    context |= {
        "title": "Overview",
        "partial": "jobs/_overview.html",
        "layout": "queuesite/_part.html" if live.is_update(request) else "queuesite/live_page.html",
        "poll": True,
        "may_add": may("queues.add_queue"),
        "may_tasks": may("queuesite.view_backgroundtask"),
    }
    if live.is_update(request):
        context["csrf_token"] = live.NO_TOKEN
    if all(map(may, ("queues.view_queue", "jobs.view_job", "jobs.view_worker"))):
        numbers = statistics.current()
        now = database_clock.now()
        living = [worker for worker in alive if services.is_alive(worker, now)]
        context |= {"numbers": numbers, "missing": _missing(numbers, living)} | _situation(numbers, living)
        context |= {"tiles": tiles(numbers, living)} | _charts(request)
    if may("queues.view_queue"):
        context |= _attention(request)
    if may("jobs.view_worker"):
        context["workers"] = workers.shown(alive[:WORKERS_SHOWN])
        context["workers_more"] = max(0, len(alive) - WORKERS_SHOWN)
    if may("jobs.view_failure"):
        found, _ = reads.find_failures(limit=FAILURES_SHOWN)
        context["failures"] = [{"failure": one, "address": address("jobs_failure_change", one.id)} for one in found]
    return context


def _situation(numbers: Statistics, living: Sequence[Worker]) -> dict[str, Any]:
    capacity = sum(worker.capacity for worker in living if not worker.draining)
    queues = sum(numbers.queues.values())
    found = situation(queues, numbers.health, capacity=capacity, used=numbers.capacity_used)
    return {
        "situation": found,
        "situation_class": f"qs-situation qs-tone-{found.tone}" if found.tone else "qs-situation",
    }


def _missing(numbers: Statistics, living: Sequence[Worker]) -> set[str]:
    """Necessary parts of the system that do not run. Live workers and the leader are read each time, never cached."""
    parts = {
        "queue": sum(numbers.queues.values()) > 0,
        "master": reads.leader() is not None,
        "worker": bool(living),
        "qcluster": tasks.are_run(),
    }
    return {part for part, there in parts.items() if not there}


def _attention(request: HttpRequest) -> dict[str, Any]:
    found = shared("attention", lambda: attention.needed(QUEUES_SHOWN + 1))
    found_rows = rows(request, found)
    return {
        "attention": found_rows[:QUEUES_SHOWN],
        "attention_more": len(found_rows) > QUEUES_SHOWN,
        "attention_act": address("queues_queue_act", next=address("index")),
        "malformed": attention.shared_malformed()[:QUEUES_SHOWN],
    }


def _charts(request: HttpRequest) -> dict[str, Any]:
    chosen = request.GET.get("window")
    chosen = chosen if chosen in statistics.SPANS else DEFAULT_SPAN
    span = statistics.SPANS[chosen]
    found = statistics.overall(span)
    marks = chart_marks(None, found.points, span.step) if request.user.has_perm("queues.view_event") else []
    return {
        "spans": [
            {"text": f"last {text}", "address": address("index", window=name), "current": name == chosen}
            for name, text in _SPAN_NAMES.items()
        ],
        "span": _SPAN_NAMES[chosen],
        "throughput": _marked(_throughput(found, _SPAN_NAMES[chosen]), marks),
        "backlog": _marked(_backlog(found, _SPAN_NAMES[chosen]), marks),
    }


def _marked(chart: dict[str, Any] | None, marks: list[dict[str, Any]]) -> dict[str, Any] | None:
    return None if chart is None else {**chart, "marks": marks}


def _throughput(found: Overall, window: str) -> dict[str, Any] | None:
    """Messages, failed attempts and retries per minute, as charts.js takes them. None if nothing was done."""
    if not any(point.processed or point.failed or point.retried for point in found.points):
        return None
    processed, failed, retried = (
        [round(60 * getattr(point, name) / point.seconds, 2) for point in found.points]
        for name in ("processed", "failed", "retried")
    )
    return {
        "label": f"Messages per minute in the last {window}: {processed[-1]:g} at the end, {max(processed):g} at most;"
        f" failed attempts: {failed[-1]:g} at the end, {max(failed):g} at most",
        "unit": "per minute",
        "labels": chart_labels(found.points),
        "series": [
            {"label": "messages", "values": processed, "colour": "done"},
            {"label": "failed attempts", "values": failed, "colour": "failed", "dash": [5, 4]},
            *([{"label": "retries", "values": retried, "colour": "third", "dash": [2, 3]}] if any(retried) else ()),
        ],
    }


def _backlog(found: Overall, window: str) -> dict[str, Any] | None:
    """Waiting messages, as charts.js takes them. None if nobody recorded them."""
    known = [depth for depth in found.depths if depth is not None]
    if not known:
        return None
    return {
        "label": f"Backlog in the last {window}: {known[-1].visible} messages at the end,"
        f" {max(depth.visible for depth in known)} at most",
        "unit": "messages",
        "labels": chart_labels(found.points),
        "series": [
            {"label": "waiting", "values": [d and d.visible for d in found.depths], "colour": "done"},
        ],
    }
