"""Jobs: a list by filters and times, a page with the timeline, an export as CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any

from asgiref.sync import sync_to_async
from bson import ObjectId
from django import forms
from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.urls import URLPattern
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from jobs import reads, services
from jobs.admin.pages import bounded, counted, job_status
from jobs.models import Job, JobStatus
from jobs.shared import shared
from queuesite.admin.records import RecordsAdmin, address
from queuesite.admin.tables import Column, Listing, Tab
from queuesite.admin.times import TimedFilters
from queuesite.foundation.config import get_config
from queuesite.foundation.databases import database_clock
from queuesite.foundation.documents import object_id
from queuesite.foundation.errors import InvalidInput, NotFound
from queuesite.groups import Grants
from queuesite.navigation import Place, Section
from queuesite.templatetags.cells import cut, link
from queuesite.templatetags.moments import moment
from queuesite.templatetags.quantities import NONE, count, duration, rate

PAGE = 50
#: Where a cell may begin, and a character with which a formula does, full-width ones included.
_FORMULA = re.compile(r"((?:^|[,;|\t\r\n])[\s\"']{0,20})(?=[=+\-@\uff1d\uff0b\uff0d\uff20])")
#: Jobs that the export reads at once.
EXPORT_PAGE = 1_000
COLUMNS = (
    "id", "queue_name", "status", "end_reason", "message_count", "failed_count", "timed_out_count", "retried_count",
    "created_at", "started_at", "ended_at", "worker", "consumer_pid", "last_error",
)  # fmt: skip


class JobFilters(TimedFilters):
    """Which jobs to list. An empty field is not a condition."""

    queue = forms.CharField(required=False, max_length=80, strip=True, widget=UnfoldAdminTextInputWidget)
    status = forms.ChoiceField(
        required=False, choices=[("", "any"), *JobStatus.choices], widget=UnfoldAdminSelectWidget
    )
    worker = forms.CharField(required=False, max_length=200, strip=True, widget=UnfoldAdminTextInputWidget)

    def counts(self) -> dict[JobStatus, int]:
        """How many jobs match in each status; a slow answer is shared by all requests."""
        if not self.is_valid():
            return {}
        wanted = {name: value for name, value in self.conditions().items() if name != "status"}
        return shared("jobs", lambda: reads.count_jobs(**wanted), wanted)


def seconds(job: Job, now: datetime) -> float | None:
    """How long a job has been running, or has run, in seconds. None if it has not started."""
    return None if job.started_at is None else max(0.0, ((job.ended_at or now) - job.started_at).total_seconds())


def _live(jobs: Sequence[Job]) -> dict[ObjectId, dict[str, Any]]:
    """The live counts of running jobs, from their workers' last heartbeats."""
    if all(job.status != JobStatus.RUNNING for job in jobs):
        return {}
    wanted = {job.id for job in jobs}
    reported = (consumer for worker in services.list_workers() for consumer in worker.consumers)
    return {consumer["jobId"]: consumer for consumer in reported if consumer.get("jobId") in wanted}


@admin.register(Job)
class JobAdmin(RecordsAdmin):
    """The runs of the last days."""

    at = "jobs"
    place = Place(Section.WORK, 2, "Jobs", "play_circle")
    grants = Grants(viewers=("view_job", "view_throughput"))

    def has_change_permission(self, request: HttpRequest, obj: Job | None = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        return [self.route("export/", self.export_view, "export"), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, str] | None = None) -> HttpResponse:
        """List a page of the jobs that match, the newest first."""
        self.require_view(request)
        filters = JobFilters(request)
        if filters.moves(request):
            return HttpResponseRedirect(address("jobs_job_changelist", **filters.query()))
        found: list[Job] = []
        following = None
        if filters.is_valid():
            try:
                found, following = reads.find_jobs(**filters.conditions(), cursor=request.GET.get("cursor"), limit=PAGE)
            except InvalidInput as error:
                filters.add_error(None, str(error))
        live = _live(found)
        now = database_clock.now()
        return self.page(
            request,
            "jobs/_jobs.html",
            "Jobs",
            filters=filters,
            tabs=_tabs(filters),
            table=JOBS.table(
                request, [_row(job, now, live.get(job.id)) for job in found], total=_total(filters, found)
            ),
            newest=address("jobs_job_changelist", **filters.query()) if "cursor" in request.GET else None,
            older=following and address("jobs_job_changelist", **filters.query(), cursor=following),
            export=address("jobs_job_export", **filters.query()),
            filtered=filters.narrowed,
            retention=get_config().job_retention_days,
            poll="cursor" not in request.GET,
        )

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show a job with its timeline, its worker, its numbers and its last error."""
        self.require_view(request)
        job = _job(object_id)
        live = _live([job]).get(job.id)
        now = database_clock.now()
        return self.page(
            request,
            "jobs/_job.html",
            f"Job of {job.queue_name}",
            original=job,
            job=job,
            row=_row(job, now, live),
            timeline=Timeline(job, now),
            live=live,
            poll=job.ended_at is None,
            failures=address("jobs_failure_changelist", queue=job.queue_name),
            may_failures=request.user.has_perm("jobs.view_failure"),
            may_workers=request.user.has_perm("jobs.view_worker"),
        )

    def export_view(self, request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
        """Export all jobs that match as CSV, whatever their number."""
        self.require_view(request)
        filters = JobFilters(request)
        if not filters.is_valid():
            raise Http404("no such jobs")
        answer = StreamingHttpResponse(_csv(filters.conditions()), content_type="text/csv; charset=utf-8")
        answer["Content-Disposition"] = 'attachment; filename="jobs.csv"'
        # Django would compress each piece by itself, and browsers read only the first.
        answer["Content-Encoding"] = "identity"
        return answer


def _job(job_id: str) -> Job:
    try:
        return reads.job(object_id(job_id, "job"))
    except NotFound as error:
        raise Http404(str(error)) from None


def _row(job: Job, now: datetime, live: dict[str, Any] | None) -> dict[str, Any]:
    took = seconds(job, now)
    messages = job.message_count if live is None else live.get("processed", 0)
    return {
        "id": str(job.id),
        "name": job.queue_name,
        "job": job,
        **job_status(job),
        "address": address("jobs_job_change", job.id),
        "seconds": took,
        "messages": messages,
        "failed": job.failed_count if live is None else live.get("failed", 0),
        "retried": job.retried_count if live is None else live.get("retried", 0),
        "rate": messages / took if took else None,
        "worker": job.processor.get("workerId"),
    }


JOBS = Listing(
    "jobs",
    "Jobs",
    (
        Column("queue", "Queue", lambda row: link(row["name"], row["address"], f"job-{row['id']}"), "name"),
        Column("status", "Status", "jobs/cells/status.html", "wide"),
        Column("messages", "Messages", lambda row: count(row["messages"]), "number"),
        Column("failed", "Failed attempts", lambda row: count(row["failed"]), "number"),
        Column("retried", "Retries", lambda row: count(row["retried"]), "number", usual=False),
        Column("duration", "Duration", lambda row: duration(row["seconds"]), "span"),
        Column("rate", "Messages /s", lambda row: rate(row["rate"]), "number", usual=False),
        Column("created", "Created", lambda row: moment(row["job"].created_at), "time"),
        Column("worker", "Worker", lambda row: cut(row["worker"] or NONE), "short", on_card=False),
        Column("ended", "Ended", lambda row: moment(row["job"].ended_at), "time", usual=False),
        Column("handler", "Handler", lambda row: cut(row["job"].handler or NONE), "medium", usual=False),
        Column("version", "Version", lambda row: cut(row["job"].handler_version or NONE), "medium", usual=False),
        Column("timed_out", "Timed out", lambda row: count(row["job"].timed_out_count), "number", usual=False),
    ),
)


def _tabs(filters: JobFilters) -> list[Tab]:
    """The statuses, each with the number of its jobs that match."""
    counts = filters.counts()
    current = filters.cleaned_data["status"] if filters.is_valid() else ""

    def tab(text: str, status: str | None, number: int) -> Tab:
        return Tab(
            text,
            address("jobs_job_changelist", **(filters.query(status=status) if filters.is_valid() else {})),
            bounded(number),
            current == (status or ""),
        )

    everything = tab("All", None, sum(counts.values()))
    return [everything, *(tab(status.label.lower(), status.value, counts.get(status, 0)) for status in JobStatus)]


def _total(filters: JobFilters, found: Sequence[Job]) -> str:
    """How many there are, and of a list up to a minute how many of its jobs were still at work then."""
    if not filters.is_valid():
        return ""
    at: datetime | None = filters.cleaned_data["at"]
    if at is not None and found:
        running = sum(job.ended_at is None or job.ended_at >= at for job in found)
        return f"The newest first; {running} of these {len(found)} had not ended by {filters['at'].value()}"
    wanted = filters.cleaned_data["status"]
    number = sum(one for status, one in filters.counts().items() if wanted in ("", status.value))
    return counted(number, "job")


class Timeline:
    """A job's life as a bar: shares of it in percent, for how long it was queued and ran."""

    def __init__(self, job: Job, now: datetime) -> None:
        end = job.ended_at or now
        begun = job.started_at or end
        self.queued = max(0.0, (begun - job.created_at).total_seconds())
        self.running = None if job.started_at is None else max(0.0, (end - begun).total_seconds())
        whole = self.queued + (self.running or 0.0)
        self.queued_share = round(100 * self.queued / whole, 2) if whole else 0.0
        self.running_share = round(100 - self.queued_share, 2) if job.started_at is not None else 0.0


async def _csv(conditions: dict[str, Any]) -> AsyncIterator[str]:
    """Yield the export. Asynchronous, since under ASGI Django collects an ordinary generator before it sends any."""
    yield _line(COLUMNS)
    cursor = None
    while True:
        found, cursor = await sync_to_async(reads.find_jobs)(**conditions, cursor=cursor, limit=EXPORT_PAGE)
        yield "".join(_line(_cells(job)) for job in found)
        if cursor is None:
            return


def _cells(job: Job) -> list[Any]:
    more = {"worker": job.processor.get("workerId"), "consumer_pid": job.processor.get("consumerPid")}
    cells = [more[name] if name in more else getattr(job, name) for name in COLUMNS]
    return [cell.isoformat() if isinstance(cell, datetime) else cell for cell in cells]


def _line(cells: Any) -> str:
    out = io.StringIO()
    csv.writer(out).writerow([_harmless(cell) for cell in cells])
    return out.getvalue()


def _harmless(cell: Any) -> Any:
    """Put an apostrophe before anything that a spreadsheet would take for a formula, since errors contain others' text.

    Which character separates cells depends on the reader's language, and quotes hold only for the right one.
    """
    return _FORMULA.sub(r"\1'", cell) if isinstance(cell, str) else cell
