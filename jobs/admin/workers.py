"""Workers: what each runs at the moment, to drain one, and those that have left."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern

from jobs import reads, services
from jobs.admin.capacity import CapacityPage
from jobs.admin.pages import queue_address
from jobs.admin.worker_columns import CONSUMERS, DEPARTED, WORKERS, consumer_rows
from jobs.models import Assignment, Worker
from queuesite.admin.records import address
from queuesite.foundation.config import get_config
from queuesite.foundation.databases import database_clock
from queuesite.foundation.errors import NotFound
from queuesite.foundation.quantities import plural
from queuesite.groups import Grants
from queuesite.navigation import Place, Section
from queuesite.templatetags.quantities import count


@admin.register(Worker)
class WorkerAdmin(CapacityPage):
    """The live workers."""

    at = "workers"
    place = Place(Section.PROCESSES, 1, "Workers", "memory")
    grants = Grants(viewers=("view_worker", "view_assignment"), operators=("change_worker",))

    def get_urls(self) -> list[URLPattern]:
        return [
            self.route("capacity/", self.capacity_view, "capacity"),
            self.route("<str:object_id>/drain/", self.drain_view, "drain"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, str] | None = None) -> HttpResponse:
        """List every worker with its consumers, and the workers that have left."""
        self.require_view(request)
        rows = shown(services.list_workers())
        return self.page(
            request,
            "jobs/_workers.html",
            "Workers",
            table=WORKERS.table(request, rows, total=_total(rows)),
            consumers=CONSUMERS.table(request, consumer_rows(rows)),
            departed=DEPARTED.table(request, _departures()),
            may_jobs=request.user.has_perm("jobs.view_job"),
            poll=True,
        )

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show one worker."""
        self.require_view(request)
        worker = _worker(object_id)
        (row,) = shown([worker])
        return self.page(
            request,
            "jobs/_worker.html",
            worker.worker_id,
            original=worker,
            row=row,
            consumers=CONSUMERS.table(request, consumer_rows([row])),
            may_change=self.may(request, "change"),
            may_jobs=request.user.has_perm("jobs.view_job"),
            poll=True,
        )

    def drain_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for confirmation, then make the worker drain."""
        if not self.may(request, "change"):
            raise PermissionDenied
        worker = _worker(object_id)
        held = reads.find_assignments(worker=worker.worker_id)
        if request.method != "POST":
            return self.page(
                request,
                "jobs/_drain.html",
                f"Drain {worker}?",
                original=worker,
                worker=worker,
                held=len(held),
                others=len(services.list_workers()) - 1,
                grace=get_config().shutdown_grace_seconds,
                back=address("jobs_worker_changelist"),
            )
        if services.drain_worker(worker.worker_id):
            self.log_change(request, worker, "Asked to drain.")
            self.message_user(request, f"{worker} drains: it finishes what is in flight, and ends.")
        else:
            self.message_user(request, f"{worker} was asked to drain before.")
        return HttpResponseRedirect(address("jobs_worker_changelist"))


def _worker(worker_id: str) -> Worker:
    try:
        return reads.worker(worker_id)
    except NotFound as error:
        raise Http404(str(error)) from None


def _departures() -> list[dict[str, Any]]:
    return [
        {
            "id": str(one.pk),
            "name": one.worker_id,
            "departure": one,
            "lived": (one.departed_at - one.started_at).total_seconds(),
        }
        for one in reads.departures()
    ]


def _total(rows: Sequence[dict[str, Any]]) -> str:
    used, capacity = sum(row["load"] for row in rows), sum(row["worker"].capacity for row in rows)
    return f"{plural(len(rows), 'worker')}: {count(used)} of {count(capacity)} capacity used"


def shown(workers: list[Worker]) -> list[dict[str, Any]]:
    """Workers with what they run, as the templates take them."""
    now = database_clock.now()
    assigned = reads.find_assignments()
    return [_row(worker, [a for a in assigned if a.worker == worker.worker_id], now) for worker in workers]


def _row(worker: Worker, assigned: list[Assignment], now: datetime) -> dict[str, Any]:
    report = {one.get("jobId"): one for one in worker.consumers}
    consumers = [_consumer(assignment, report.get(assignment.job_id, {}), now) for assignment in assigned]
    held = {assignment.job_id for assignment in assigned}
    # These have freed their capacity.
    finishing = [_finishing(one) for job_id, one in report.items() if one.get("finishing") and job_id not in held]
    return {
        "id": worker.worker_id,
        "name": worker.worker_id,
        "worker": worker,
        "state": services.worker_state(worker, now),
        "consumers": consumers,
        "finishing": finishing,
        "load": len(consumers),
        "cells": [consumer["queue"] for consumer in consumers] + [None] * (worker.capacity - len(consumers)),
        "rate": sum(consumer["rate"] for consumer in consumers),
        "memory": sum(consumer["memory"] for consumer in [*consumers, *finishing]),
        "address": address("jobs_worker_change", worker.worker_id),
        "jobs": address("jobs_job_changelist", worker=worker.worker_id),
        "set_capacity": address("jobs_worker_capacity", worker=worker.worker_id),
        "drain": address("jobs_worker_drain", worker.worker_id),
    }


def _consumer(assignment: Assignment, report: dict[str, Any], now: datetime) -> dict[str, Any]:
    """A consumer's present run, with the counts of the last heartbeat."""
    seconds = max(1.0, (now - assignment.created_at).total_seconds())
    processed = report.get("processed", 0)
    return {
        "queue": report.get("queueName") or assignment.queue_url.rpartition("/")[2],
        "queue_address": queue_address(report.get("queueName") or assignment.queue_id),
        "job_address": address("jobs_job_change", assignment.job_id),
        "number": assignment.slot,
        "pid": report.get("pid"),
        "processed": processed,
        "failed": report.get("failed", 0),
        "rate": processed / seconds,
        "memory": report.get("memory", 0),
        "began_at": assignment.created_at,
        "yields": assignment.yield_requested_at is not None,
    }


def _finishing(report: dict[str, Any]) -> dict[str, Any]:
    """A consumer whose run has freed its capacity, and of which only handlers in flight are left."""
    return {
        "queue": report.get("queueName"),
        "pid": report.get("pid"),
        "in_flight": report.get("inFlight", 0),
        "processed": report.get("processed", 0),
        "failed": report.get("failed", 0),
        "memory": report.get("memory", 0),
        "job_address": address("jobs_job_change", report.get("jobId")),
    }
