"""Handlers: those that live workers announce, together with those that are importable by the web server."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from ninja import Query as Parameters
from ninja import Router
from pydantic import Field

from jobs import handler_report
from jobs.handler_report import Report, Version, Work
from queues.handlers.catalogue import Known
from queuesite.api.auth import needs
from queuesite.api.openapi import also, link
from queuesite.api.schemas import Out, Query, Timestamp

router = Router(tags=["handlers"], by_alias=True)


class BatchOut(Out):
    """The batches that a handler takes."""

    most: int = Field(description="messages of one batch at most", examples=[100])
    linger: float = Field(description="for how many seconds one is gathered at most", examples=[1.0])


class BreakerOut(Out):
    """How many failed attempts trip a handler's queue."""

    failures: int = Field(description="failed attempts of one run", examples=[20])
    within: float = Field(description="seconds within which they occur", examples=[60.0])


class HandlerSummary(Out):
    """A handler."""

    name: str = Field(examples=["log"])
    summary: str = Field(description="first line of its docstring", examples=["Log each message."])
    options: dict[str, Any] | None = Field(description="JSON Schema of its options; null: it takes none, or is unknown")
    kind: str | None = Field(description="sync, async or batch; null: unknown", examples=["sync"])
    timeout: float | None = Field(description="its own time limit for one message, in seconds", examples=[None])
    batch: BatchOut | None = Field(description="the batches that it takes; null: single messages")
    retry: list[str] = Field(
        description="what comes of its exceptions, in words; empty: as usual",
        examples=[["TimeoutError: again after 30 s"]],
    )
    breaker: BreakerOut | None = Field(description="what trips its queue; null: it has no breaker")
    importable: bool = Field(description="whether the web server has its code", examples=[True])
    versions: list[str] = Field(description="those that live workers have, the newest first", examples=[["2.1", "2.0"]])

    @classmethod
    def values(cls, handler: Known) -> dict[str, Any]:
        """The fields' values."""
        return {
            "name": handler.name,
            "summary": handler.summary,
            "options": handler.schema,
            "kind": handler.kind or None,
            "timeout": handler.timeout,
            "batch": batch_of(handler),
            "retry": list(handler.retry),
            "breaker": None if handler.breaker is None else vars(handler.breaker),
            "importable": handler.local is not None,
            "versions": [one.version for one in handler.announced],
        }


class WorkOut(Out):
    """What was done in the last 24 hours on all queues. Durations are seconds, and null if there was no attempt."""

    processed: int = Field(description="messages handled", examples=[500])
    failed: int = Field(description="attempts that failed, without retries that it asked for", examples=[3])
    retried: int = Field(description="attempts for which it asked for a retry", examples=[1])
    rejected: int = Field(examples=[0])
    timed_out: int = Field(examples=[0])
    rate: float = Field(description="attempts per minute in the last hour or two", examples=[8.3])
    mean: float | None = Field(description="of an attempt", examples=[0.031])
    p50: float | None = Field(examples=[0.024])
    p95: float | None = Field(examples=[0.09])
    p99: float | None = Field(examples=[0.21])
    waited_p50: float | None = Field(description="from a message's sending to the start; up to 300", examples=[0.1])
    waited_p95: float | None = Field(examples=[0.9])
    waited_p99: float | None = Field(examples=[2.1])

    @classmethod
    def of_work(cls, work: Work) -> WorkOut:
        return cls(**{name: getattr(work, name) for name in WorkOut.model_fields})


class HandlerRow(HandlerSummary):
    """A handler in the list."""

    queue_count: int = Field(description="queues that use it", examples=[3])
    work: WorkOut


class HandlersOut(Out):
    """Handlers, by name."""

    items: list[HandlerRow]


class VersionOut(WorkOut):
    """A version of a handler, with what it did in the last 24 hours on all queues."""

    version: str = Field(examples=["2.1"])
    first_announced_at: Timestamp | None = Field(description="a version with a later date is newer; null: not recorded")
    workers: list[str] = Field(description="live workers that have it", examples=[["host-1-4711-6f1d2c3b"]])

    @classmethod
    def of(cls, version: Version) -> VersionOut:
        values = {name: getattr(version, name) for name in cls.model_fields}
        return cls(**{**values, "workers": list(version.workers)})


class HandlerOut(HandlerSummary):
    """A handler with its versions and the queues that use it."""

    description: str = Field(description="its docstring")
    work: WorkOut
    details: list[VersionOut] = Field(description="its versions, the newest first; workers may have left")
    queue_count: int = Field(description="queues that use it", examples=[3])
    queues: list[str] = Field(description="names of up to 100 of them", examples=[["orders"]])

    @classmethod
    def of(cls, report: Report) -> HandlerOut:
        return cls(
            **cls.values(report.handler),
            description=report.handler.description,
            work=WorkOut.of_work(report.work),
            details=[VersionOut.of(one) for one in report.versions],
            queue_count=report.queue_count,
            queues=[queue.name for queue in report.queues],
        )


def batch_of(handler: Known) -> dict[str, Any] | None:
    """The values of a `BatchOut`."""
    newest = handler.newest
    return None if newest is None or newest.batch is None else {"most": newest.batch, "linger": newest.linger or 0.0}


class HandlersQuery(Query):
    """How to list handlers."""

    sort: str = Field(
        "name",
        description="by name, or by one of these with the highest first",
        json_schema_extra={"enum": list(handler_report.SORTS)},
    )


_READ = {"read": link("read_handler", "items/0/name", "name")}


@router.get("/handlers", response=HandlersOut, auth=needs("queues.view_queue"), openapi_extra=also(links={200: _READ}))
def list_handlers(request: HttpRequest, query: Parameters[HandlersQuery]) -> HandlersOut:
    """List the handlers that a queue may have, with the schema of their options and their work, and those in use."""
    return HandlersOut(
        items=[
            HandlerRow(**HandlerRow.values(row.handler), queue_count=row.queues, work=WorkOut.of_work(row.work))
            for row in handler_report.rows(query.sort)
        ]
    )


@router.get("/handlers/{name}", response=HandlerOut, auth=needs("queues.view_queue", "jobs.view_worker"))
def read_handler(request: HttpRequest, name: str) -> HandlerOut:
    """Read a handler: which workers have which version of it, and what each version did."""
    return HandlerOut.of(handler_report.report(name))
