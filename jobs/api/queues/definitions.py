"""Queues and their processing: list, create, read, change, delete."""

from __future__ import annotations

from typing import Annotated, Literal

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from ninja import Query as Parameters
from ninja import Router
from pydantic import Field

from jobs import ranking, reads, statistics
from jobs import services as processing
from jobs.api.schemas import QueueOut
from queues import services
from queues.api.schemas import QueueIn, QueuePatch, Settings
from queues.handlers import catalogue
from queues.health.rules import Health
from queues.models import Queue
from queues.settings import HANDLER_PERMISSION
from queues.state import State
from queuesite.api import problems
from queuesite.api.auth import caller, needs
from queuesite.api.openapi import also, link
from queuesite.api.schemas import Page, Paged
from queuesite.foundation.errors import AlreadyExists, Forbidden

router = Router(tags=["queues"], by_alias=True)


class QueueQuery(Paged):
    """Which queues to list, and their order."""

    paused: bool | None = Field(None, description="only queues that are paused, or that are not")
    handler: Annotated[str, Field(max_length=100)] | None = Field(None, description="only queues with this handler")
    prefix: Annotated[str, Field(max_length=80, pattern="^[A-Za-z0-9_.-]*$")] | None = Field(
        None, description="only queues whose names begin with it"
    )
    health: Health | Literal["unhealthy"] | None = Field(
        None,
        description="only queues that have this problem, whatever else is wrong with them; `healthy`: without any; "
        "`unhealthy`: with any",
    )
    state: State | None = Field(None, description="only queues in this state")
    sort: str = Field(
        "name",
        description="what to sort by, with `-` before it for descending order; age: of the oldest message; rate "
        "(messages a minute), failed (share of the attempts) and p95 (of the handler's time): of the last five minutes",
        json_schema_extra={"enum": [*ranking.ALL_SORTS, *(f"-{name}" for name in ranking.ALL_SORTS)]},
    )


def shown(request: HttpRequest, queues: list[Queue]) -> list[QueueOut]:
    """The queues with who processes each, as far as the caller may see that."""
    may = caller(request).may
    activity = reads.activity(queues, with_jobs=may("jobs.view_job"))
    with_assignments = may("jobs.view_assignment")
    handlers, figures = catalogue.current(), statistics.figures(queues)
    return [
        QueueOut.of(queue, activity[queue.id], handlers, figures[queue.id], with_assignments=with_assignments)
        for queue in queues
    ]


def _permit_handler(request: HttpRequest, payload: Settings) -> None:
    named = {"handler", "handler_options"} & payload.model_fields_set
    if named and not caller(request).may(HANDLER_PERMISSION):
        raise Forbidden(
            f"a queue's handler decides what happens to its messages: setting it needs the permission "
            f"{HANDLER_PERMISSION}, which {caller(request).name} lacks; leave out {' and '.join(sorted(named))}"
        )


def address_of(name: str) -> str:
    """The address of a queue."""
    return reverse("api:read_queue", args=[name])


def taken(error: AlreadyExists) -> HttpResponse:
    """The answer that names the queue which exists already."""
    address = address_of(error.name)
    return problems.problem(problems.CONFLICT, str(error), headers={"Location": address}, existing=address)


LINKS = {
    "read": link("read_queue", "name"),
    "change": link("change_queue", "name"),
    "send": link("send_messages", "name"),
    "peek": link("peek_messages", "name"),
    "pause": link("pause_queue", "name"),
    "notify": link("notify_queue", "name"),
    "delete": link("delete_queue", "name"),
}


@router.get("/queues", response=Page[QueueOut], auth=needs("queues.view_queue"))
def list_queues(request: HttpRequest, query: Parameters[QueueQuery]) -> Page[QueueOut]:
    """List the queues, each with its last observed depth, its assignments and its newest job."""
    found, following = ranking.list_queues(
        paused=query.paused,
        handler=query.handler,
        prefix=query.prefix,
        selections=reads.selections(health=query.health, state=query.state),
        sort=query.sort,
        cursor=query.cursor,
        limit=query.limit,
    )
    return Page(items=shown(request, found), next=following)


@router.post(
    "/queues",
    response={201: QueueOut},
    auth=needs("queues.add_queue"),
    openapi_extra=also(problems.CONFLICT, problems.SERVER, links={201: LINKS}),
)
def create_queue(request: HttpRequest, payload: QueueIn, response: HttpResponse) -> QueueOut | HttpResponse:
    """Create a queue and its dead-letter queue here and in SQS.

    409 if the name is taken here: `existing` and `Location` are the address of the queue that has it. 409 also if SQS
    has a queue of this name or that of the dead-letter queue: `POST /adopt` processes it as it is, and `takeOver` sets
    its attributes. Setting a handler or its options also needs `queues.change_handler`.
    """
    _permit_handler(request, payload)
    try:
        queue = services.create(
            payload.name, with_dlq=payload.with_dlq, settings=payload.given(), take_over=payload.take_over
        )
    except AlreadyExists as error:
        return taken(error)
    response["Location"] = address_of(queue.name)
    return shown(request, [queue])[0]


@router.get("/queues/{name}", response=QueueOut, auth=needs("queues.view_queue"), url_name="read_queue")
def read_queue(request: HttpRequest, name: str) -> QueueOut:
    """Read a queue. Its depth is that of `depth.observedAt`; `GET /queues/{name}/size` asks SQS."""
    return shown(request, [services.get(name)])[0]


@router.patch(
    "/queues/{name}",
    response=QueueOut,
    auth=needs("queues.change_queue"),
    openapi_extra=also(problems.QUEUE_MISSING, problems.SERVER),
)
def change_queue(request: HttpRequest, name: str, payload: QueuePatch) -> QueueOut:
    """Change settings of a queue, or pause it. What is left out stays; running consumers follow within seconds.

    Setting a handler or its options also needs `queues.change_handler`, since they decide what happens to the messages.
    A secret option reads as asterisks; asterisks that are written leave it as it is. What SQS holds of an adopted queue
    (`managed` is false) belongs to its owner: another value is refused (422).
    """
    _permit_handler(request, payload)
    return shown(request, [services.update(name, payload.given())])[0]


@router.delete(
    "/queues/{name}", response={204: None}, auth=needs("queues.delete_queue"), openapi_extra=also(problems.SERVER)
)
def delete_queue(request: HttpRequest, name: str) -> None:
    """Delete a queue with its messages, its dead-letter queue and the dead letters.

    An adopted queue (`managed` is false) is only forgotten here, with its jobs, failures and numbers; it stays in SQS.
    """
    processing.delete_queue(name)
