"""The columns of the lists of workers: the live ones, what their consumers run, and those that have left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.template.defaultfilters import filesizeformat
from django.utils.html import format_html

from queuesite.admin.tables import Column, Listing, Row
from queuesite.templatetags.cells import cut, link
from queuesite.templatetags.moments import ago, moment, since
from queuesite.templatetags.quantities import count, duration, rate


def _listens(row: Row) -> str:
    worker = row["worker"]
    if not worker.listens:
        return "nothing"
    return f"{count(worker.listener.get('queues', 0))} of {count(worker.listens)}"


WORKERS = Listing(
    "workers",
    "Workers",
    (
        Column("worker", "Worker", lambda row: link(row["name"], row["address"], f"worker-{row['id']}"), "name"),
        Column("state", "State", "jobs/cells/worker_state.html", "short"),
        Column("capacity", "Capacity used", "jobs/_cells.html", "wide"),
        Column("rate", "Messages /s", lambda row: rate(row["rate"]), "number"),
        Column(
            "memory", "Memory", lambda row: filesizeformat(row["memory"]), "number", help="of its consumers together"
        ),
        Column("listens", "Listens to", _listens, "span", help="idle queues with a long poll, and how many it may"),
        Column("heartbeat", "Last heartbeat", lambda row: ago(row["worker"].heartbeat_at), "span"),
        Column("started", "Started", lambda row: moment(row["worker"].started_at), "time", usual=False),
        Column("pool", "Pool", lambda row: cut(row["worker"].pool or "not announced"), "short", usual=False),
        Column("version", "Version", lambda row: cut(row["worker"].version or "not announced"), "medium", usual=False),
        Column("host", "Host", lambda row: cut(row["worker"].host), "medium", usual=False),
        Column("pid", "Pid", lambda row: str(row["worker"].pid), "number", usual=False),
        Column("drain", "Drain", "jobs/cells/drain.html", "short"),
    ),
    needs={"drain": "jobs.change_worker"},
)


def consumer_rows(workers: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The consumers of these workers, those that only finish after the others."""
    found = [(worker, one) for kind in ("consumers", "finishing") for worker in workers for one in worker[kind]]
    return [
        {**one, "id": f"{place}", "name": one["queue"], "worker": worker} for place, (worker, one) in enumerate(found)
    ]


def _queue(row: Row) -> object:
    named = link(row["name"], row.get("queue_address"))
    if not row.get("number"):
        return named
    return format_html('{}<span class="qs-note">consumer {}</span>', named, row["number"])


CONSUMERS = Listing(
    "consumers",
    "Consumers of all workers",
    (
        Column("queue", "Queue", _queue, "name"),
        Column("worker", "Worker", lambda row: link(row["worker"]["name"], row["worker"]["address"]), "medium"),
        Column("pid", "Pid", lambda row: str(row["pid"] or "starting"), "number", help="of the consumer"),
        Column("messages", "Messages", lambda row: count(row["processed"]), "number"),
        Column("failed", "Failed attempts", lambda row: count(row["failed"]), "number"),
        Column("rate", "Messages /s", lambda row: rate(row.get("rate")), "number"),
        Column("memory", "Memory", lambda row: filesizeformat(row["memory"]), "number"),
        Column("since", "Since", lambda row: since(row.get("began_at")), "span"),
        Column("job", "Job", "jobs/cells/consumer_job.html", "medium"),
    ),
)

DEPARTED = Listing(
    "departed",
    "Departed",
    (
        Column("worker", "Worker", lambda row: cut(row["name"]), "name"),
        Column("when", "When", lambda row: moment(row["departure"].departed_at), "time"),
        Column("why", "Why", lambda row: f"{row['departure'].reason}: {row['departure'].get_reason_display()}", "text"),
        Column("lived", "Ran for", lambda row: duration(row["lived"]), "span"),
        Column("heartbeat", "Last heartbeat", lambda row: moment(row["departure"].heartbeat_at), "time"),
    ),
)
