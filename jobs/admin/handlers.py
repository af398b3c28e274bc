"""Handlers: which there are, who has which version, and how each version does (a canary's page)."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse

from jobs import handler_report
from jobs.admin.pages import queue_address
from jobs.handler_models import HandlerVersion
from queuesite.admin.records import RecordsAdmin, address
from queuesite.foundation.errors import NotFound
from queuesite.groups import Grants
from queuesite.navigation import Place, Section


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
        rows = [
            {"handler": row.handler, "queues": row.queues, "address": _address(row.handler.name)}
            for row in handler_report.rows()
        ]
        return self.page(request, "jobs/_handlers.html", "Handlers", rows=rows, poll=True)

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
        may_workers = request.user.has_perm("jobs.view_worker")
        return self.page(
            request,
            "jobs/_handler.html",
            found.handler.name,
            original=found.handler.name,
            report=found,
            handler=found.handler,
            schema=None if schema is None else json.dumps(schema, indent=2, ensure_ascii=False),
            versions=[
                {
                    "version": one,
                    "workers": [
                        {"id": worker, "address": address("jobs_worker_change", worker) if may_workers else None}
                        for worker in one.workers
                    ],
                    "failed_percent": None if one.failed_share is None else 100 * one.failed_share,
                }
                for one in found.versions
            ],
            queues=[{"queue": queue, "address": queue_address(queue.name)} for queue in found.queues],
            may_workers=may_workers,
            poll=True,
        )


def _address(name: str) -> str:
    return address("jobs_handlerversion_change", name)
