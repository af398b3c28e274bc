"""What the pages of queues share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import NoReverseMatch, URLPattern, URLResolver, path

from jobs import reads
from jobs.admin.pages import job_status, problem_rows
from jobs.admin.queues.actions import ACTIONS, Action
from queues import services
from queues.models import Queue
from queuesite.admin.records import RecordsAdmin, address, moved
from queuesite.foundation.errors import MalformedDocument, NotFound


class NoSuchQueue(Http404):
    """No queue has the name that the address gives."""


class QueuePages(RecordsAdmin):
    """The base of each group of pages, which adds its own addresses to `get_urls`."""

    at = "queues"

    def route(self, pattern: str, view: Callable[..., HttpResponseBase], name: str) -> URLPattern:
        """As for other records; an id in place of a queue's name redirects to the name."""
        return super().route(pattern, self._by_name(view), name)

    def _by_name(self, view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
        @functools.wraps(view)
        def shown(request: HttpRequest, **given: str) -> HttpResponseBase:
            try:
                return view(request, **given)
            except NoSuchQueue:
                key = given["object_id"]
                page = (request.resolver_match and request.resolver_match.url_name) or "queues_queue_change"
                if found := services.by_ids([key]):
                    return moved(request, address(page, found[0].name))
                if (key, page) == (
                    "queue",
                    "queues_queue_change",
                ):  # the list's old address, unless a queue has this name
                    return moved(request, address("queues_queue_changelist"))
                raise

        return shown

    def old_pages(self) -> list[URLPattern | URLResolver]:
        """Match only the old addresses, since a queue named `queue` has pages under the same prefix."""
        move = self.admin_site.admin_view(self.page_moved_view)
        return [
            *(path(f"queues/queue/{name}/", move, {"page": name}) for name in ("add", "adopt", "discover")),
            path("queues/queue/<str:key>/<str:page>/", move),
        ]

    def page_moved_view(self, request: HttpRequest, page: str, key: str | None = None) -> HttpResponse:
        """Redirect an old address, which had a queue's id, to one with its name."""
        name = f"queues_queue_{page.replace('-', '_')}"
        try:
            return moved(request, address(name) if key is None else address(name, key))
        except NoReverseMatch:
            raise Http404("there is no such page") from None

    def queue(self, name: str) -> Queue:
        """The queue of this name, or 404."""
        try:
            return services.get(name)
        except NotFound:
            raise NoSuchQueue("there is no such queue; it has been deleted, or never existed") from None
        except MalformedDocument as error:
            raise Http404(str(error)) from None

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
            {"text": text, "address": address(f"queues_queue_{name}", queue.name), "current": name == current}
            for name, text in pages.items()
        ]

    def actions_for(self, request: HttpRequest) -> dict[str, Action]:
        """The actions that the user may take."""
        return {name: action for name, action in ACTIONS.items() if request.user.has_perm(action.permission)}


def shown(queue: Queue, activity: reads.Activity, now: datetime) -> dict[str, Any]:
    """How a queue is and what it does, and what its depth means in time."""
    return {
        "queue": queue,
        "state": activity.state.label,
        "problems": problem_rows(activity.problems),
        "unserved": activity.unserved,
        "oldest": activity.oldest and activity.oldest.sent_at,
        "at_least": activity.oldest is not None and activity.oldest.at_least,
        "drain": activity.drain_seconds,
        "next_try": queue.not_before if queue.not_before is not None and queue.not_before > now else None,
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
        "job": None if job is None else {"job": job, **job_status(job), "address": address("jobs_job_change", job.id)},
    }


def user(request: HttpRequest) -> User:
    """The user, whom every page of the admin requires."""
    assert isinstance(request.user, User)
    return request.user
