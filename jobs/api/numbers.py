"""Numbers of the whole system, for dashboards and for Prometheus."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from ninja import Router

from jobs import attention, statistics
from jobs import metrics as prometheus
from jobs.api.schemas import StatsOut
from queuesite.api.auth import needs, open_or_known

router = Router(tags=["numbers"], by_alias=True)

#: The permissions to see numbers of the whole system.
NUMBERS = needs("queues.view_queue", "jobs.view_job", "jobs.view_worker")


@router.get("/stats", response=StatsOut, auth=NUMBERS)
def read_stats(request: HttpRequest) -> StatsOut:
    """Get the numbers of a dashboard in one call: queues by state, backlog, throughput, durations, workers, waiting."""
    return StatsOut.of(statistics.current(), len(attention.shared_malformed()))


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
    """Get the system's metrics for Prometheus, also at `/metrics`. Any web process answers for the whole system."""
    return HttpResponse(prometheus.text(), content_type=prometheus.CONTENT_TYPE)
