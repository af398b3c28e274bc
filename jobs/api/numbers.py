"""Numbers: those of a dashboard, series of a queue, sizes, and metrics for Prometheus."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from ninja import Query as Parameters
from ninja import Router
from pydantic import Field

from jobs import metrics as prometheus
from jobs import statistics
from jobs.api.schemas import PointOut, SeriesOut, StatsOut
from queues import services
from queuesite.api import problems
from queuesite.api.auth import needs, open_or_known
from queuesite.api.openapi import also
from queuesite.api.schemas import Out, Query

router = Router(tags=["numbers"], by_alias=True)

#: Who may see numbers of everything.
NUMBERS = needs("queues.view_queue", "jobs.view_job", "jobs.view_worker")


@router.get("/stats", response=StatsOut, auth=NUMBERS)
def read_stats(request: HttpRequest) -> StatsOut:
    """The numbers of a dashboard in one call: queues by state, backlog, throughput, durations, workers, who waits."""
    return StatsOut.of(statistics.current())


class SeriesQuery(Query):
    """How far back, and how finely."""

    window: str = Field("1h", pattern=statistics.DURATION_PATTERN, description="how far back: 15m, 6h, 7d at most")
    step: str = Field("1m", pattern=statistics.DURATION_PATTERN, description="length of a step: 1m, 1h, 1d")


@router.get("/queues/{name}/throughput", response=SeriesOut, auth=needs("queues.view_queue", "jobs.view_throughput"))
def read_throughput(request: HttpRequest, name: str, query: Parameters[SeriesQuery]) -> SeriesOut:
    """What was done with a queue over time, step by step; kept for seven days, at most 1,500 steps at once."""
    step = statistics.parse_duration(query.step, "step")
    found = statistics.series(name, statistics.parse_duration(query.window, "window"), step)
    return SeriesOut(name=name, step=step.total_seconds(), points=[PointOut(**vars(point)) for point in found])


class SizeOut(Out):
    """What a queue holds, as SQS says at this moment."""

    name: str = Field(examples=["orders"])
    visible: int = Field(examples=[120])
    in_flight: int = Field(examples=[5])
    delayed: int = Field(examples=[0])
    dead_letters: int = Field(examples=[2])


@router.get(
    "/queues/{name}/size",
    response=SizeOut,
    auth=needs("queues.view_queue"),
    openapi_extra=also(problems.QUEUE_MISSING, problems.SERVER),
)
def read_size(request: HttpRequest, name: str) -> SizeOut:
    """Ask SQS what a queue and its dead-letter queue hold. SQS's counts are approximate."""
    return SizeOut.model_validate(services.size(name).as_dict())


_TEXT = {
    "responses": {
        200: {
            "description": "Metrics in Prometheus's text format",
            "content": {"text/plain": {"schema": {"type": "string"}, "example": "queuesite_workers 2.0\n"}},
        }
    }
}


@router.get("/metrics", auth=open_or_known("metrics", NUMBERS), url_name="metrics", openapi_extra=_TEXT)
def metrics(request: HttpRequest) -> HttpResponse:
    """The system's metrics for Prometheus, from the database: any web process answers for all. Also at `/metrics`."""
    return HttpResponse(prometheus.text(), content_type=prometheus.CONTENT_TYPE)
