"""Actions on queues that do not change their settings: notify, try now, pause, resume, purge, sync."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from ninja import Router

from jobs import reads
from jobs.api.schemas import AssignmentOut, NotifiedOut
from queues import services, tasks, tripping
from queues.api.schemas import NamesIn, PausedOut, PauseIn, PurgedOut, TriedNowOut
from queues.pausing import Note
from queuesite.api import problems
from queuesite.api.auth import caller, needs
from queuesite.api.openapi import also
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
    """Delete all messages of a queue, but not its dead letters. SQS allows this once a minute; 409 means too soon."""
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
def pause_queue(request: HttpRequest, name: str, payload: PauseIn | None = None) -> PausedOut:
    """Stop processing a queue. Messages in flight are finished. The queue keeps who paused it, when and why."""
    return PausedOut(name=name, paused=True, changed=services.set_paused(name, True, _note(payload)))


@router.post("/queues/{name}/resume", response=PausedOut, auth=needs("queues.change_queue"))
def resume_queue(request: HttpRequest, name: str, payload: PauseIn | None = None) -> PausedOut:
    """Process a paused queue again."""
    return PausedOut(name=name, paused=False, changed=services.set_paused(name, False, _note(payload)))


def _note(payload: PauseIn | None) -> Note:
    return Note("" if payload is None else payload.reason)


@router.post("/queues/{name}/notify", response=NotifiedOut, auth=needs("queues.change_queue"))
def notify_queue(request: HttpRequest, name: str) -> NotifiedOut:
    """Make the master check a queue now, as after a send. The answer says whether and by whom it is processed now."""
    queue = services.notify(name)
    found = reads.find_assignments(queue_url=queue.queue_url)
    shown = [AssignmentOut.of(a) for a in found] if caller(request).may("jobs.view_assignment") else None
    return NotifiedOut(name=name, assigned=bool(found), assignments=shown)


@router.post("/queues/{name}/try-now", response=TriedNowOut, auth=needs("queues.change_queue"))
def try_queue_now(request: HttpRequest, name: str) -> TriedNowOut:
    """End the backoff of a queue: it is tried at once, after a trip with one message. Without a backoff: no change."""
    return TriedNowOut(name=name, changed=tripping.try_now(name))


@router.post("/sync", response={202: TaskOut}, auth=needs("queues.change_queue"), openapi_extra=also(links=LINKS))
def sync_queues(request: HttpRequest, response: HttpResponse) -> TaskOut:
    """Make SQS match the database, in the background: create missing queues, set attributes, report the rest."""
    return accepted(request, start(tasks.run_sync, caller(request).user), response)
