"""Liveness of this process, and readiness of the servers."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from ninja import Router
from pydantic import Field

from queues import readiness
from queuesite.api import problems
from queuesite.api.auth import needs, open_or_known
from queuesite.api.openapi import also
from queuesite.api.schemas import Out

router = Router(tags=["health"], by_alias=True)


class LiveOut(Out):
    """This process lives."""

    status: str = Field(examples=["live"])


class ReadyOut(Out):
    """All servers answer."""

    status: str = Field(examples=["ready"])
    checks: dict[str, str] = Field(examples=[{"mongodb": "ok", "sqs": "ok", "database": "ok"}])


@router.get("/health/live", response=LiveOut, auth=None)
def live(request: HttpRequest) -> LiveOut:
    """Check that the process answers. It uses no server and needs no token."""
    return LiveOut(status="live")


@router.get(
    "/health/ready", response=ReadyOut, auth=open_or_known("ready", needs()), openapi_extra=also(problems.UNAVAILABLE)
)
def ready(request: HttpRequest) -> ReadyOut | HttpResponse:
    """Check that MongoDB, SQS and Django's database answer within READY_TIMEOUT_SECONDS. 503 names any that do not."""
    checks = readiness.check()
    away = [name for name, outcome in checks.items() if outcome != readiness.OK]
    if away:
        detail = f"not ready: {', '.join(f'{name} ({checks[name]})' for name in away)}"
        return problems.problem(problems.UNAVAILABLE, detail, checks=checks)
    return ReadyOut(status="ready", checks=checks)
