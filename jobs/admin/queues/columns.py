"""The columns of the list of queues."""

from __future__ import annotations

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from queuesite.admin.tables import Column, Listing, Row
from queuesite.templatetags.cells import cut, link, share
from queuesite.templatetags.moments import ago
from queuesite.templatetags.quantities import NONE, count, duration, rate


def _name(row: Row) -> object:
    queue = row["queue"]
    found = link(queue.name, row["address"], f"queue-{queue.id}")
    return found if queue.managed else format_html('{}<span class="qs-note">adopted</span>', found)


def _dead_letters(row: Row) -> str:
    return count(row["queue"].dead_letters) if row["queue"].dlq_url else NONE


def _rate(row: Row) -> str:
    return rate(row["figures"].rate) if row["figures"].rate else NONE


def _workers(row: Row) -> SafeString | str:
    found = [(link(one["worker"], one["address"]),) for one in row["assignments"]]
    return format_html_join(", ", "{}", found) if found else NONE


def _job(row: Row) -> SafeString | str:
    job = row["job"]
    if job is None:
        return NONE
    state = link(job["job"].status, job["address"], f"job-of-{row['queue'].id}")
    return format_html("{}, {} messages", state, count(job["job"].message_count))


QUEUES = Listing(
    "queues",
    "Queues",
    (
        Column("name", "Name", _name, "name", sort="name"),
        Column("health", "Health", "jobs/cells/health.html", "medium"),
        Column("visible", "Visible", lambda row: count(row["queue"].depth_visible), "number", sort="visible"),
        Column(
            "in_flight", "In flight", lambda row: count(row["queue"].depth_in_flight), "number", sort="inFlight",
            usual=False, on_card=False,
        ),
        Column(
            "age", "Oldest, to drain", "jobs/cells/age.html", "age", sort="age",
            help="the age of the oldest message, and how long the messages last at the present pace",
        ),
        Column(
            "dead_letters", "Dead letters", _dead_letters, "number", sort="deadLetters",
        ),
        Column(
            "rate", "Rate /min", _rate, "number", sort="rate", help="messages a minute, in the last five minutes",
        ),
        Column(
            "failed", "Failed", lambda row: share(row["figures"].failed), "number", sort="failed",
            help="share of the attempts in the last five minutes",
        ),
        Column(
            "p95", "p95", lambda row: duration(row["figures"].p95), "number", sort="p95",
            help="95th percentile of the handler's time in the last five minutes", on_card=False,
        ),
        Column("concurrency", "Concurrency", "jobs/cells/concurrency.html", "short", sort="concurrency", on_card=False),
        Column("job", "Newest job", _job, "wide", usual=False, on_card=False),
        Column("hour", "Last hour", "jobs/cells/hour.html", "short", usual=False, on_card=False),
        Column("observed", "Observed", lambda row: ago(row["queue"].depth_observed_at, "never"), "short", usual=False),
        Column("handler", "Handler", lambda row: cut(row["queue"].handler), "medium", usual=False),
        Column(
            "priority", "Priority", lambda row: str(row["queue"].priority), "number", sort="priority", usual=False,
        ),
        Column("pool", "Pool", lambda row: row["queue"].pool or "any", "short", usual=False),
        Column("worker", "Worker", _workers, "medium", usual=False),
    ),
    needs={"job": "jobs.view_job"},
)  # fmt: skip
