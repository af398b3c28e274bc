"""What the palette (Ctrl-K) finds: queues and what can be done with them, jobs, messages, failures and pages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bson import ObjectId
from bson.errors import InvalidId
from django.http import HttpRequest, JsonResponse

from jobs import attempt_reads, reads
from jobs.admin.queues.actions import ACTIONS
from jobs.attempts import AttemptOutcome
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
#: What can be done with the queue that fits best; what has a question asks it first.
_OFFERED = ("pause", "resume", "try-now", "notify", "redrive")


def find(request: HttpRequest) -> JsonResponse:
    """`?q=`: what matches, as `{"items": [{kind, title, note, address} or {kind, title, note, action, chosen}]}`.

    Items of a kind are together. Each user finds what they may see and do. Texts are matched anywhere, in either case.
    """
    text = request.GET.get("q", "").strip()[:_MOST]
    if "\0" in text:  # MongoDB takes none in a pattern
        return JsonResponse({"items": []})
    with mongodb_errors():
        queues = _queues(request, text)
        items = [
            *(_queue(queue) for queue in queues),
            *_actions(request, queues[:1]),
            *_jobs(request, text),
            *_messages(request, text),
            *_failures(request, text),
            *_pages(request, text, queues[:1]),
        ]
    if text:
        items.append(_item("Find", f"Everything with “{text}”", address("find", q=text)))
    return JsonResponse({"items": items})


def _item(kind: str, title: str, where: str, note: str = "") -> dict[str, Any]:
    return {"kind": kind, "title": title, "note": note, "address": where}


def _queues(request: HttpRequest, text: str) -> list[Queue]:
    if not text or not request.user.has_perm("queues.view_queue"):
        return []
    found, _ = search.find_queues(containing=text, limit=QUEUES)
    return sorted(found, key=lambda queue: (queue.name != text, not queue.name.startswith(text), queue.name))


def _queue(queue: Queue) -> dict[str, Any]:
    by = f" by {queue.pause_changed_by}" if queue.pause_changed_by else ""
    return _item(
        "Queues", queue.name, address("queues_queue_change", queue.name), f"paused{by}" if queue.paused else ""
    )


def _actions(request: HttpRequest, best: list[Queue]) -> Iterator[dict[str, Any]]:
    for queue in best:
        for action in (ACTIONS[name] for name in _OFFERED):
            if request.user.has_perm(action.permission) and action.offered(queue):
                asks = "…" if action.question else ""
                yield {
                    "kind": "Actions", "title": f"{action.label}{asks}", "note": queue.name,
                    "action": action.name, "chosen": str(queue.id),
                }  # fmt: skip


def _pages(request: HttpRequest, text: str, best: list[Queue]) -> Iterator[dict[str, Any]]:
    for queue in best:
        for page, words in (("messages", "Messages"), ("dead_letters", "Dead letters"), ("settings", "Settings")):
            if page != "dead_letters" or queue.dlq_url:
                yield _item("Pages", words, address(f"queues_queue_{page}", queue.name), queue.name)
        if request.user.has_perm("jobs.view_job"):
            yield _item("Pages", "Jobs", address("jobs_job_changelist", queue=queue.name), queue.name)
    for section in sidebar(request):
        for page in section["items"]:
            seen = page["permission"](request) if "permission" in page else True
            if seen and text.lower() in page["title"].lower():
                yield _item("Pages", page["title"], page["link"])
    # After the list of queues, which somebody who types its name wants more often.
    if request.user.has_perm("queues.add_queue") and text.lower() in "create a queue":
        yield _item("Pages", "Create a queue", address("queues_queue_add"))


def _jobs(request: HttpRequest, text: str) -> Iterator[dict[str, Any]]:
    if not request.user.has_perm("jobs.view_job"):
        return
    try:
        job = reads.job(ObjectId(text))
    except (InvalidId, NotFound):
        return
    yield _item("Jobs", f"Job of {job.queue_name}", address("jobs_job_change", job.id), job.status)


def _messages(request: HttpRequest, text: str) -> Iterator[dict[str, Any]]:
    """A message by its whole id, if an attempt at it is recorded."""
    if not text or not request.user.has_perm("jobs.view_attempt"):
        return
    try:
        last = attempt_reads.of_message(text)[-1]
    except NotFound:
        return
    note = f"{last.queue_name}: {AttemptOutcome(last.outcome).label}"
    yield _item("Messages", text, address("jobs_attempt_message", text), note)


def _failures(request: HttpRequest, text: str) -> Iterator[dict[str, Any]]:
    """By exception, by its message, or by the id of the message that failed last."""
    if len(text) < _LEAST or not request.user.has_perm("jobs.view_failure"):
        return
    for failure in reads.failures_like(text, FAILURES):
        note = f"{failure.queue_name}: {failure.message}"[:120]
        yield _item("Failures", failure.short, address("jobs_failure_change", failure.id), note)
