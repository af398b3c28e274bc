"""Handlers: which there are, who has which version, and how each version does (a canary's page)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.html import format_html_join

from jobs import handler_report
from jobs.admin.attempt_columns import SLOWEST, rows_for
from jobs.admin.pages import queue_address
from jobs.handler_models import HandlerVersion
from queues.settings import HANDLER_PERMISSION
from queuesite.admin.records import RecordsAdmin, address
from queuesite.admin.tables import Column, Listing, Row, Sorting
from queuesite.foundation.errors import InvalidInput, NotFound
from queuesite.foundation.quantities import plural
from queuesite.groups import Grants
from queuesite.navigation import Place, Section
from queuesite.templatetags.cells import cut, link, share
from queuesite.templatetags.moments import moment
from queuesite.templatetags.quantities import NONE, count, duration, rate


@admin.register(HandlerVersion)
class HandlerAdmin(RecordsAdmin):
    """The handlers that workers announce, that the web server has, or that queues name."""

    at, key = "handlers", "path"
    place = Place(Section.WORK, 4, "Handlers", "function")
    grants = Grants()  # it asks for permissions that the pages of queues and workers grant

    def has_view_permission(self, request: HttpRequest, obj: HandlerVersion | None = None) -> bool:
        """As in the API, users who may see queues may see handlers; the page of one shows workers too."""
        return bool(request.user.has_perm("queues.view_queue"))

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: HandlerVersion | None = None) -> bool:
        return False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, str] | None = None) -> HttpResponse:
        """Every handler."""
        self.require_view(request)
        by = request.GET.get("sort", "name")
        sort = by.removeprefix("-")
        try:
            found = handler_report.rows(sort)
        except InvalidInput as error:
            raise Http404(str(error)) from None
        if by.startswith("-") == (sort == "name"):
            found = found[::-1]
        rows = [
            {
                "id": row.handler.name,
                "name": row.handler.name,
                "handler": row.handler,
                "queues": row.queues,
                "work": row.work,
                "address": _address(row.handler.name),
            }
            for row in found
        ]
        table = HANDLERS.table(
            request,
            rows,
            sorting=Sorting(by, lambda by: address("jobs_handlerversion_changelist", sort=by)),
            total=plural(len(rows), "handler"),
        )
        return self.page(request, "jobs/_handlers.html", "Handlers", table=table, poll=True)

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
        may_create = request.user.has_perms(("queues.add_queue", HANDLER_PERMISSION))
        return self.page(
            request,
            "jobs/_handler.html",
            found.handler.name,
            original=found.handler.name,
            report=found,
            handler=found.handler,
            schema=None if schema is None else json.dumps(schema, indent=2, ensure_ascii=False),
            **_numbers(found.work),
            slowest=SLOWEST.table(request, rows_for(request, handler_report.slowest(object_id)))
            if may_attempts
            else None,
            attempts=address("jobs_attempt_changelist", handler=object_id) if may_attempts else None,
            versions=VERSIONS.table(request, [_version_row(one, may_workers=may_workers) for one in found.versions]),
            queues=[{"queue": queue, "address": queue_address(queue.name)} for queue in found.queues],
            create=address("queues_queue_add", handler=object_id) if may_create else None,
            poll=True,
        )


def _numbers(work: handler_report.Work) -> dict[str, Any]:
    return {
        "work": work,
        "failed_percent": None if work.failed_share is None else 100 * work.failed_share,
        "retried_percent": None if work.retried_share is None else 100 * work.retried_share,
    }


def _of_work(name: str, text: str, show: Callable[[Any], object], *, usual: bool = True, title: str = "") -> Column:
    """A column of numbers about the last 24 hours, which the list can be sorted by."""

    def cell(row: Row) -> object:
        value = getattr(row["work"], {"failed": "failed_share", "retried": "retried_share"}.get(name, name))
        return NONE if value is None else show(value)

    return Column(name, text, cell, "number", sort=name, usual=usual, on_card=usual, help=title)


HANDLERS = Listing(
    "handlers",
    "Handlers",
    (
        Column("handler", "Handler", lambda row: link(row["name"], row["address"]), "name", sort="name"),
        Column("does", "What it does", lambda row: row["handler"].summary, "text"),
        Column("kind", "Kind", "jobs/cells/handler_kind.html", "short", usual=False),
        Column("versions", "Versions", "jobs/cells/versions.html", "medium", help="those of live workers"),
        Column("queues", "Queues", lambda row: count(row["queues"]), "number", sort="queues"),
        _of_work("attempts", "Attempts", count, usual=False, title="in the last 24 hours"),
        _of_work("rate", "Rate /min", rate, title="attempts a minute, in the last one to two hours"),
        _of_work("failed", "Failed", share, title="share of the attempts of the last 24 hours, retries not counted"),
        _of_work("retried", "Retried", share, usual=False, title="share of the attempts of the last 24 hours"),
        _of_work("p50", "p50", duration, usual=False, title="median of the handler's time"),
        _of_work("p95", "p95", duration, title="95th percentile of the handler's time"),
        _of_work("p99", "p99", duration, usual=False, title="99th percentile of the handler's time"),
        _of_work("waited_p50", "Waited p50", duration, usual=False, title="median of the wait for a first handling"),
        _of_work("waited_p95", "Waited p95", duration, title="95th percentile of the wait for a first handling"),
        _of_work("waited_p99", "Waited p99", duration, usual=False, title="99th percentile of that wait"),
    ),
)


def _version_row(version: handler_report.Version, *, may_workers: bool) -> dict[str, Any]:
    return {
        "id": version.version,
        "name": version.version,
        "work": version,
        "workers": [
            (link(worker, address("jobs_worker_change", worker), f"has-{version.version}-{worker}"),)
            for worker in version.workers
        ]
        if may_workers
        else len(version.workers),
    }


def _workers(row: Row) -> object:
    found = row["workers"]
    return count(found) if isinstance(found, int) else format_html_join(", ", "{}", found) or "none"


VERSIONS = Listing(
    "versions",
    "Versions",
    (
        Column("version", "Version", lambda row: cut(row["name"]), "medium"),
        Column(
            "announced", "First announced",
            lambda row: moment(row["work"].first_announced_at, "not recorded"), "time",
        ),
        Column("workers", "Live workers", _workers, "medium"),
        Column("messages", "Messages", lambda row: count(row["work"].processed), "number", help="in the last 24 hours"),
        Column("failures", "Failed attempts", lambda row: count(row["work"].failed), "number", usual=False),
        _of_work("failed", "Failed", share, title="share of the attempts of the last 24 hours, retries not counted"),
        _of_work("retried", "Retried", share, title="share of the attempts of the last 24 hours"),
        Column("timed_out", "Timed out", lambda row: count(row["work"].timed_out), "number", usual=False),
        _of_work("mean", "Mean time", duration),
        _of_work("p95", "p95", duration, title="95th percentile of the handler's time"),
        _of_work("waited_p95", "Waited p95", duration, title="95th percentile of the wait for a first handling"),
    ),
)  # fmt: skip


def _address(name: str) -> str:
    return address("jobs_handlerversion_change", name)
