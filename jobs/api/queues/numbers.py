"""Numbers of a queue: its throughput over time, and its size in SQS."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from ninja import Query as Parameters
from ninja import Router
from pydantic import Field

from jobs import statistics
from jobs.api.schemas import PointOut, SeriesOut
from queues import services
from queues.api.asking import ask_sqs
from queues.api.schemas import DepthOut
from queuesite.api import problems
from queuesite.api.auth import needs
from queuesite.api.openapi import also
from queuesite.api.schemas import Out, Query
from queuesite.foundation.errors import SqsUnavailable

router = Router(tags=["numbers"], by_alias=True)


class SeriesQuery(Query):
    """The span of a series, and its steps."""

    window: str = Field(
        "1h", pattern=statistics.DURATION_PATTERN, description="length of the series, such as 15m or 6h; at most 7d"
    )
    step: str = Field("1m", pattern=statistics.DURATION_PATTERN, description="length of a step, such as 1m, 1h or 1d")


@router.get("/queues/{name}/throughput", response=SeriesOut, auth=needs("queues.view_queue", "jobs.view_throughput"))
def read_throughput(request: HttpRequest, name: str, query: Parameters[SeriesQuery]) -> SeriesOut:
    """Get the work done on a queue over time. The last seven days are kept, and one answer has at most 1,500 steps."""
    step = statistics.parse_duration(query.step, "step")
    found = statistics.series(name, statistics.parse_duration(query.window, "window"), step)
    return SeriesOut(name=name, step=step.total_seconds(), points=[PointOut(**vars(point)) for point in found])


class SizeOut(Out):
    """How many messages a queue holds now, according to SQS."""

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
def read_size(request: HttpRequest, name: str) -> SizeOut | HttpResponse:
    """Ask SQS how many messages a queue and its dead-letter queue hold. SQS's counts are approximate.

    503 if SQS is away or takes longer than SQS_PATIENCE_SECONDS: `lastSeen` then has what was last observed.
    """
    try:
        return SizeOut.model_validate(ask_sqs(f"the size of {name!r}", lambda: services.size(name)).as_dict())
    except SqsUnavailable as error:
        seen = DepthOut.of(services.get(name)).model_dump(mode="json", by_alias=True)
        return problems.answer(request, error, lastSeen=seen)
