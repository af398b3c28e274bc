"""Handlers: which there are, who has which version, and how each version does (a canary's page)."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse

from jobs import handler_report
from jobs.admin.attempts import rows as attempt_rows
from jobs.admin.pages import queue_address
from jobs.handler_models import HandlerVersion
from queuesite.admin.records import RecordsAdmin, address
from queuesite.foundation.errors import InvalidInput, NotFound
from queuesite.groups import Grants
from queuesite.navigation import Place, Section

#: The columns of numbers that the list can be sorted by, and their titles.
_COLUMNS = {
    "queues": "Queues",
    "attempts": "Attempts in 24 h",
    "rate": "Per minute",
    "failed": "Failed",
    "retried": "Retried",
    "p50": "p50",
    "p95": "p95",
    "p99": "p99",
    "waited_p50": "Waited p50",
    "waited_p95": "Waited p95",
    "waited_p99": "Waited p99",
}


@admin.register(HandlerVersion)
class HandlerAdmin(RecordsAdmin):
    """The handlers that workers announce, that the web server has, or that queues name."""

    at, key = "handlers", "path"
    place = Place(Section.WORK, 4, "Handlers", "function")
    grants = Grants()  # it asks for permissions that the pages of queues and workers grant

    def has_view_permission(self, request: HttpRequest, obj: HandlerVersion | None = None) -> bool:
        """As in the API: whoever may see queues; one handler's page shows workers too."""
        return bool(request.user.has_perm("queues.view_queue"))

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: HandlerVersion | None = None) -> bool:
        return False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, str] | None = None) -> HttpResponse:
        """Every handler."""
        self.require_view(request)
        sort = request.GET.get("sort", "name")
        try:
            found = handler_report.rows(sort)
        except InvalidInput as error:
            raise Http404(str(error)) from None
        return self.page(
            request,
            "jobs/_handlers.html",
            "Handlers",
            rows=[
                {
                    "handler": row.handler,
                    "queues": row.queues,
                    "address": _address(row.handler.name),
                    **_numbers(row.work),
                }
                for row in found
            ],
            columns=[{"name": name, "text": text, "current": name == sort} for name, text in _COLUMNS.items()],
            by_name=sort == "name",
            poll=True,
        )

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """One handler."""
        self.require_view(request)
        try:
            found = handler_report.report(object_id)
        except NotFound as error:
            raise Http404(str(error)) from None
        schema = found.handler.schema
        may_attempts = request.user.has_perm("jobs.view_attempt")
        may_workers = request.user.has_perm("jobs.view_worker")
        return self.page(
            request,
            "jobs/_handler.html",
            found.handler.name,
            original=found.handler.name,
            report=found,
            handler=found.handler,
            schema=None if schema is None else json.dumps(schema, indent=2, ensure_ascii=False),
            **_numbers(found.work),
            slowest=attempt_rows(handler_report.slowest(object_id)) if may_attempts else None,
            attempts=address("jobs_attempt_changelist", handler=object_id) if may_attempts else None,
            versions=[
                {
                    "version": one,
                    **_numbers(one),
                    "workers": [
                        {"id": worker, "address": address("jobs_worker_change", worker) if may_workers else None}
                        for worker in one.workers
                    ],
                }
                for one in found.versions
            ],
            queues=[{"queue": queue, "address": queue_address(queue.name)} for queue in found.queues],
            may_workers=may_workers,
            poll=True,
        )


def _numbers(work: handler_report.Work) -> dict[str, Any]:
    return {
        "work": work,
        "failed_percent": None if work.failed_share is None else 100 * work.failed_share,
        "retried_percent": None if work.retried_share is None else 100 * work.retried_share,
    }


def _address(name: str) -> str:
    return address("jobs_handlerversion_change", name)
