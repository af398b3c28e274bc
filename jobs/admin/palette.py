"""What the palette (Ctrl-K) finds: pages, queues and what can be done with them, jobs, failures and messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bson import ObjectId
from bson.errors import InvalidId
from django.http import HttpRequest, JsonResponse

from jobs import reads
from jobs.admin.queues.actions import ACTIONS
from queues import search
from queues.models import Queue
from queuesite.admin.records import address
from queuesite.foundation.databases import mongodb_errors
from queuesite.foundation.errors import NotFound
from queuesite.navigation import sidebar

#: Most of each kind that are found.
QUEUES, FAILURES = 8, 5
#: Characters of a text before failures are searched for it, and the most that are looked at.
_LEAST, _MOST = 3, 100
#: What can be done with the queue that fits best, without a form.
_OFFERED = ("pause", "resume", "notify")


def find(request: HttpRequest) -> JsonResponse:
    """`?q=`: what matches, as `{"items": [{kind, title, note, address} or {kind, title, action, chosen}]}`.

    Each user finds what they may see and do. Texts are matched anywhere, in either case.
    """
    text = request.GET.get("q", "").strip()[:_MOST]
    with mongodb_errors():
        items = [*_queues(request, text), *_jobs(request, text), *_failures(request, text), *_pages(request, text)]
    return JsonResponse({"items": items})


def _item(kind: str, title: str, where: str, note: str = "") -> dict[str, Any]:
    return {"kind": kind, "title": title, "note": note, "address": where}


def _pages(request: HttpRequest, text: str) -> Iterator[dict[str, Any]]:
    for section in sidebar(request):
        for page in section["items"]:
            seen = page["permission"](request) if "permission" in page else True
            if seen and text.lower() in page["title"].lower():
                yield _item("Pages", page["title"], page["link"])
    if request.user.has_perm("queues.add_queue") and text.lower() in "create a queue":
        yield _item("Actions", "Create a queue", address("queues_queue_add"))


def _queues(request: HttpRequest, text: str) -> Iterator[dict[str, Any]]:
    if not text or not request.user.has_perm("queues.view_queue"):
        return
    found, _ = search.find_queues(containing=text, limit=QUEUES)
    found.sort(key=lambda queue: (queue.name != text, not queue.name.startswith(text), queue.name))
    for queue in found:
        yield _item("Queues", queue.name, address("queues_queue_change", queue.name), "paused" if queue.paused else "")
    if found:
        yield from _about(request, found[0])


def _about(request: HttpRequest, queue: Queue) -> Iterator[dict[str, Any]]:
    may = request.user.has_perm
    for page, words in (("messages", "Messages"), ("dead_letters", "Dead letters"), ("settings", "Settings")):
        if page != "dead_letters" or queue.dlq_url:
            yield _item("Pages", f"{words} of {queue.name}", address(f"queues_queue_{page}", queue.name))
    if may("jobs.view_job"):
        yield _item("Jobs", f"Jobs of {queue.name}", address("jobs_job_changelist", queue=queue.name))
    for name in _OFFERED:
        action = ACTIONS[name]
        if may(action.permission) and action.offered(queue):
            title = f"{action.label} {queue.name}"
            yield {"kind": "Actions", "title": title, "note": "", "action": name, "chosen": str(queue.id)}


def _jobs(request: HttpRequest, text: str) -> Iterator[dict[str, Any]]:
    if not request.user.has_perm("jobs.view_job"):
        return
    try:
        job = reads.job(ObjectId(text))
    except (InvalidId, NotFound):
        return
    yield _item("Jobs", f"Job of {job.queue_name}", address("jobs_job_change", job.id), job.status)


def _failures(request: HttpRequest, text: str) -> Iterator[dict[str, Any]]:
    """By exception, by its message, or by the id of the message that failed last."""
    if len(text) < _LEAST or not request.user.has_perm("jobs.view_failure"):
        return
    for failure in reads.failures_like(text, FAILURES):
        note = f"{failure.queue_name}: {failure.message}"[:120]
        kind = "Messages" if failure.message_id == text else "Failures"
        yield _item(kind, failure.exception_type, address("jobs_failure_change", failure.id), note)
