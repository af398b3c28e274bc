"""A queue's own page with its present state and recent work, and its history."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib.admin.models import LogEntry
from django.http import Http404, HttpRequest, HttpResponse

from jobs import attempt_reads, reads, silences, statistics
from jobs.admin.attempt_columns import rows_for
from jobs.admin.jobs import seconds
from jobs.admin.pages import job_status
from jobs.admin.queues import undo
from jobs.admin.queues.base import QueuePages, shown, working
from jobs.admin.queues.charts import charts
from jobs.admin.queues.lists import HISTORY, ITS_FAILURES, NEWEST_JOBS
from jobs.listening import never_listened_to
from jobs.models import Failure, Job
from queues.settings import FIFO_ONLY
from queuesite.admin.records import address
from queuesite.foundation.databases import database_clock

#: Jobs and failures that the page shows.
_NEWEST = 10
#: Entries of the history.
_ENTRIES = 200


class LivePage(QueuePages):
    """The page of a queue and its history."""

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show a queue's present state and its recent work."""
        self.require_view(request)
        queue = self.queue(object_id)
        span = request.GET.get("span", "1h")
        if span not in statistics.SPANS:
            raise Http404("there is no such span")
        may = request.user.has_perm
        activity = reads.activity([queue], with_jobs=may("jobs.view_job"))[queue.id]
        now = database_clock.now()
        costs = statistics.last_day(queue.id)
        jobs = reads.find_jobs(queue=queue.name, limit=_NEWEST)[0] if may("jobs.view_job") else []
        failures = reads.find_failures(queue=queue.name, limit=_NEWEST)[0] if may("jobs.view_failure") else []
        return self.page(
            request,
            "jobs/_queue.html",
            queue.name,
            original=queue,
            tabs=self.tabs(queue, "change"),
            **shown(queue, activity, now),
            **working(request, activity),
            undo=undo.offered(request),
            silence=silences.of_queue(queue.id) if may("jobs.view_alert") else None,
            silence_address=address("jobs_alert_silence", queue=queue.name) if may("jobs.silence_alert") else None,
            fifo_settings=[
                (one.words, one.said(getattr(queue, name))) for name, one in FIFO_ONLY.items() if queue.fifo
            ],
            listener=reads.listener_of(queue.queue_url),
            never_listened_to=never_listened_to(queue),
            costs=costs,
            monthly_cost=statistics.monthly_cost(costs),
            charts=charts(queue, span, with_events=may("queues.view_event")),
            spans=[{"text": one, "address": f"?span={one}", "current": one == span} for one in statistics.SPANS],
            jobs=NEWEST_JOBS.table(request, [_job_row(job, now) for job in jobs]),
            all_jobs=address("jobs_job_changelist", queue=queue.name),
            failures=ITS_FAILURES.table(request, [_failure_row(one) for one in failures]),
            actions={name: action for name, action in self.actions_for(request).items() if action.offered(queue)},
            act=address("queues_queue_act", next=request.get_full_path()),
            attempts=rows_for(request, attempt_reads.find(queue=queue.name, limit=_NEWEST)[0])
            if may("jobs.view_attempt")
            else None,
            all_attempts=address("jobs_attempt_changelist", queue=queue.name),
            may_jobs=may("jobs.view_job"),
            may_failures=may("jobs.view_failure"),
            poll=True,
        )

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show what users did with the queue in the admin."""
        self.require_view(request)
        queue = self.queue(object_id)
        with_user = LogEntry.objects.filter(
            content_type__app_label="queues", content_type__model="queue", object_id=str(queue.id)
        ).select_related("user")
        return self.page(
            request,
            "jobs/_queue_history.html",
            f"History of {queue.name}",
            original=queue,
            tabs=self.tabs(queue, "history"),
            table=HISTORY.table(
                request,
                [
                    {"id": str(entry.pk), "name": str(entry), "entry": entry}
                    for entry in with_user.order_by("-action_time", "-id")[:_ENTRIES]
                ],
            ),
            poll=False,
        )


def _job_row(job: Job, now: datetime) -> dict[str, Any]:
    return {
        "id": str(job.id),
        "name": f"job of {job.queue_name}",
        "job": job,
        **job_status(job),
        "seconds": seconds(job, now),
        "worker": job.processor.get("workerId"),
        "address": address("jobs_job_change", job.id),
    }


def _failure_row(failure: Failure) -> dict[str, Any]:
    return {
        "id": str(failure.id),
        "name": failure.title,
        "failure": failure,
        "address": address("jobs_failure_change", failure.id),
    }
