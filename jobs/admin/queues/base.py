"""What the pages of queues share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path

from jobs import reads
from jobs.admin.queues.actions import ACTIONS, Action
from queues import services
from queues.models import Queue
from queues.state import State
from queuesite.admin.records import RecordsAdmin, address

#: The colour of each state, which is also shown in words.
STATE_VARIANTS = {
    State.ACTIVE: "info",
    State.UNSERVED: "danger",
    State.WAITING: "warning",
    State.BACKING_OFF: "danger",
    State.PAUSED: "default",
    State.IDLE: "success",
}


class QueuePages(RecordsAdmin):
    """The base of each group of pages, which adds its own addresses to `get_urls`."""

    def route(self, pattern: str, view: Callable[..., HttpResponse], name: str) -> URLPattern:
        """The address of a page, which `address("queues_queue_NAME")` gives."""
        made: URLPattern = path(pattern, self.admin_site.admin_view(view), name=f"queues_queue_{name}")
        return made

    def queue(self, object_id: str) -> Queue:
        """The queue of this id, or 404."""
        found = services.by_ids([object_id])
        if not found:
            raise Http404("there is no such queue; it has been deleted, or never existed")
        return found[0]

    def tabs(self, queue: Queue, current: str) -> list[dict[str, Any]]:
        """Links to the pages of a queue."""
        pages = {
            "change": "Overview",
            "messages": "Messages",
            **({} if queue.dlq_url is None else {"dead_letters": "Dead letters"}),
            "settings": "Settings",
            "history": "History",
        }
        return [
            {"text": text, "address": address(f"queues_queue_{name}", queue.id), "current": name == current}
            for name, text in pages.items()
        ]

    def actions_for(self, request: HttpRequest) -> dict[str, Action]:
        """The actions that the user may take."""
        return {name: action for name, action in ACTIONS.items() if request.user.has_perm(action.permission)}


def shown(queue: Queue, activity: reads.Activity, now: datetime) -> dict[str, Any]:
    """A queue's state, the seconds since its depth was observed, and those until a queue that backs off is tried."""
    seen = queue.depth_observed_at
    backoff = None if queue.not_before is None else (queue.not_before - now).total_seconds()
    return {
        "queue": queue,
        "state": activity.state.label,
        "variant": STATE_VARIANTS[activity.state],
        "unserved": activity.unserved,
        "backoff": backoff if backoff is not None and backoff > 0 else None,
        "age": None if seen is None else max(0.0, (now - seen).total_seconds()),
    }


def working(request: HttpRequest, activity: reads.Activity) -> dict[str, Any]:
    """A queue's assignments and newest job, as far as the user may see them."""
    may = request.user.has_perm
    assignments: Sequence[Any] = activity.assignments if may("jobs.view_assignment") else ()
    job = activity.last_job
    return {
        "assignments": [
            {
                "worker": one.worker,
                "address": address("jobs_worker_change", one.worker) if may("jobs.view_worker") else None,
            }
            for one in assignments
        ],
        "job": None if job is None else {"job": job, "address": address("jobs_job_change", job.id)},
    }


def user(request: HttpRequest) -> User:
    """The user, whom every page of the admin requires."""
    assert isinstance(request.user, User)
    return request.user
