"""Queues that others own: adopt one, and list those that may be adopted."""

from __future__ import annotations

from typing import Annotated

from django.http import HttpRequest, HttpResponse
from ninja import Query as Parameters
from ninja import Router
from pydantic import Field

from jobs.api.queues.definitions import LINKS, address_of, shown, taken
from jobs.api.schemas import QueueOut
from queues import adoption
from queues.api.asking import ask_sqs
from queues.api.schemas import AdoptIn, FoundOut, FoundPage
from queues.settings import HANDLER_PERMISSION
from queuesite.api import problems
from queuesite.api.auth import needs
from queuesite.api.openapi import also
from queuesite.api.schemas import Query
from queuesite.foundation.errors import AlreadyExists

router = Router(tags=["queues"], by_alias=True)


@router.post(
    "/adopt",
    response={201: QueueOut},
    auth=needs("queues.add_queue", HANDLER_PERMISSION),
    openapi_extra=also(problems.NOT_FOUND, problems.CONFLICT, problems.SERVER, links={201: LINKS}),
)
def adopt_queue(request: HttpRequest, payload: AdoptIn, response: HttpResponse) -> QueueOut | HttpResponse:
    """Process a queue that others own. Its attributes in SQS are read and followed, never written.

    `DELETE /queues/{name}` forgets it here, and it stays in SQS. 409 if the queue or the name is taken here: `existing`
    and `Location` are the address of the queue that has it.
    """
    settings = payload.given()
    try:
        queue = adoption.adopt(payload.queue, handler=settings.pop("handler"), name=payload.name, settings=settings)
    except AlreadyExists as error:
        return taken(error)
    response["Location"] = address_of(queue.name)
    return shown(request, [queue])[0]


class DiscoverQuery(Query):
    """Which queues of SQS to list."""

    prefix: Annotated[str, Field(max_length=80, pattern="^[A-Za-z0-9_-]*$")] = Field(
        "", description="only queues whose names begin with it"
    )
    region: Annotated[str, Field(max_length=40, pattern=r"^[a-z]{2,}(-[a-z]+)+-\d+$")] | None = Field(
        None, description="AWS region; by default the configured one", examples=["us-east-1"]
    )
    limit: int = Field(100, ge=1, le=adoption.MOST_DISCOVERED, description="how many at most")


@router.get("/discover", response=FoundPage, auth=needs("queues.add_queue"), openapi_extra=also(problems.SERVER))
def discover_queues(request: HttpRequest, query: Parameters[DiscoverQuery]) -> FoundPage:
    """List the queues that SQS has and that are not defined here: those that may be adopted."""
    found = ask_sqs(
        "what may be adopted",
        lambda: adoption.discover(prefix=query.prefix, region=query.region, limit=query.limit),
    )
    return FoundPage(items=[FoundOut(name=one.name, queue_url=one.queue_url, fifo=one.fifo) for one in found])
