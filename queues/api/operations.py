"""What is done to queues beside changing their settings, and what there is to choose for them."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from ninja import Router

from queues import services, tasks
from queues.api.schemas import HandlerOut, NamesIn, PausedOut, PurgedOut
from queues.handlers import registry
from queuesite.api import problems
from queuesite.api.auth import caller, needs
from queuesite.api.openapi import also
from queuesite.api.schemas import Out
from queuesite.api.tasks import LINKS, TaskOut, accepted
from queuesite.tasks import start

router = Router(tags=["queues"], by_alias=True)


@router.post(
    "/queues/{name}/purge",
    response=PurgedOut,
    auth=needs("queues.purge_queue"),
    openapi_extra=also(problems.CONFLICT, problems.SERVER),
)
def purge_queue(request: HttpRequest, name: str) -> PurgedOut:
    """Delete all messages of a queue, not its dead letters. SQS allows it once a minute: 409 says so."""
    services.purge(name)
    return PurgedOut(name=name, purged=True)


@router.post(
    "/purge",
    response={202: TaskOut},
    auth=needs("queues.purge_queue"),
    openapi_extra=also(problems.NOT_FOUND, links=LINKS),
)
def purge_queues(request: HttpRequest, payload: NamesIn, response: HttpResponse) -> TaskOut:
    """Delete all messages of several queues, in the background. All of them must exist."""
    names = list(dict.fromkeys(payload.queues))
    services.require(names)
    return accepted(request, start(tasks.purge, caller(request).user, total=len(names), queues=names), response)


@router.post("/queues/{name}/pause", response=PausedOut, auth=needs("queues.change_queue"))
def pause_queue(request: HttpRequest, name: str) -> PausedOut:
    """Stop processing a queue. What is in flight is finished."""
    return PausedOut(name=name, paused=True, changed=services.set_paused(name, True))


@router.post("/queues/{name}/resume", response=PausedOut, auth=needs("queues.change_queue"))
def resume_queue(request: HttpRequest, name: str) -> PausedOut:
    """Process a paused queue again."""
    return PausedOut(name=name, paused=False, changed=services.set_paused(name, False))


@router.post("/sync", response={202: TaskOut}, auth=needs("queues.change_queue"), openapi_extra=also(links=LINKS))
def sync_queues(request: HttpRequest, response: HttpResponse) -> TaskOut:
    """Make SQS follow the database, in the background: create what it lacks, set what differs, report the rest."""
    return accepted(request, start(tasks.run_sync, caller(request).user), response)


class HandlersOut(Out):
    """The registered handlers."""

    items: list[HandlerOut]


@router.get("/handlers", response=HandlersOut, auth=needs("queues.view_queue"), tags=["handlers"])
def list_handlers(request: HttpRequest) -> HandlersOut:
    """The handlers that a queue may have, and the schema of their options."""
    return HandlersOut(
        items=[
            HandlerOut(
                name=handler.name,
                summary=handler.summary,
                options=None if handler.options is None else handler.options.model_json_schema(),
            )
            for handler in registry.all_handlers().values()
        ]
    )
