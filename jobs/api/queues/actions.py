"""Actions on queues that do not change their settings: notify, try now, pause, resume, purge, sync."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from ninja import Router

from jobs import reads
from jobs.api.schemas import AssignmentOut, NotifiedOut
from queues import pausing, services, tasks, tripping
from queues.api.schemas import (
    NamesIn,
    PausedManyOut,
    PausedOut,
    PauseIn,
    PauseManyIn,
    PurgedOut,
    TriedNowOut,
    UndoIn,
    UndoneOut,
)
from queues.pausing import Note, new_change
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
    return _paused(name, True, payload)


@router.post("/queues/{name}/resume", response=PausedOut, auth=needs("queues.change_queue"))
def resume_queue(request: HttpRequest, name: str, payload: PauseIn | None = None) -> PausedOut:
    """Process a paused queue again."""
    return _paused(name, False, payload)


def _paused(name: str, paused: bool, payload: PauseIn | None) -> PausedOut:
    note = Note("" if payload is None else payload.reason, new_change())
    changed = services.set_paused(name, paused, note)
    return PausedOut(name=name, paused=paused, changed=changed, change=note.change if changed else None)


@router.post(
    "/pause", response=PausedManyOut, auth=needs("queues.change_queue"), openapi_extra=also(problems.NOT_FOUND)
)
def pause_queues(request: HttpRequest, payload: PauseManyIn) -> PausedManyOut:
    """Stop processing several queues, by one change that can be undone. All of them must exist."""
    return _all_paused(payload, True)


@router.post(
    "/resume", response=PausedManyOut, auth=needs("queues.change_queue"), openapi_extra=also(problems.NOT_FOUND)
)
def resume_queues(request: HttpRequest, payload: PauseManyIn) -> PausedManyOut:
    """Process several paused queues again, by one change that can be undone. All of them must exist."""
    return _all_paused(payload, False)


def _all_paused(payload: PauseManyIn, paused: bool) -> PausedManyOut:
    note = Note(payload.reason, new_change())
    changed = services.set_all_paused(list(dict.fromkeys(payload.queues)), paused, note)
    return PausedManyOut(paused=paused, changed=changed, change=note.change if changed else None)


@router.post("/undo", response=UndoneOut, auth=needs("queues.change_queue"))
def undo_pause(request: HttpRequest, payload: UndoIn) -> UndoneOut:
    """Undo a pause or resume, whoever did it, for exactly the queues that it changed.

    A queue that was paused or resumed again since is left as it is.
    """
    return UndoneOut(queues=pausing.undo(payload.change))


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
