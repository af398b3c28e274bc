"""The strip on every page: whether the servers answer, who leads, who works, and who runs the background tasks.

Nothing of it is remembered: each answer asks anew. A page asks for it with a limit of its own, so that an outage of SQS
shows within three seconds, whatever the page itself waits for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import URLPattern, path

from jobs import reads, services
from queues import readiness
from queues.health.rules import Tone
from queuesite import tasks
from queuesite.admin.records import address
from queuesite.foundation.databases import database_clock, mongodb_errors
from queuesite.foundation.errors import QueuesiteError

#: For how many seconds a page waits for the servers' answers.
LIMIT_SECONDS = 2.5


@dataclass(frozen=True)
class Part:
    """A part of the system, in words; without a tone it is well."""

    name: str
    text: str
    tone: Tone | None = None
    address: str | None = None


def status(request: HttpRequest) -> HttpResponse:
    """Answer with the strip, which `status.js` puts on the page."""
    answer = render(request, "jobs/_status.html", {"parts": list(_parts(request))})
    answer["Cache-Control"] = "no-store"
    return answer


def url() -> URLPattern:
    """The strip's address below /admin/."""
    return path("status/", admin.site.admin_view(status), name="status")


def _parts(request: HttpRequest) -> Iterator[Part]:
    answers = readiness.check(LIMIT_SECONDS)
    for name, title in (("mongodb", "MongoDB"), ("sqs", "SQS")):
        well = answers[name] == readiness.OK
        yield Part(title, "answers" if well else answers[name], None if well else Tone.DANGER)
    may = request.user.has_perm
    if answers["mongodb"] == readiness.OK:
        try:
            with mongodb_errors():
                if may("jobs.view_lease"):
                    yield _master()
                if may("jobs.view_worker"):
                    yield _workers()
        except QueuesiteError:
            yield Part("Masters and workers", "not known", Tone.WARNING)
    if may("queuesite.view_backgroundtask"):
        run = tasks.are_run()
        link = address("queuesite_backgroundtask_changelist")
        yield Part("Background tasks", "run" if run else "nobody runs them", None if run else Tone.WARNING, link)


def _master() -> Part:
    lease, link = reads.leader(), address("jobs_master_changelist")
    if lease is None:
        return Part("Master", "none leads", Tone.DANGER, link)
    return Part("Master", f"leads, term {lease.term}", address=link)


def _workers() -> Part:
    now = database_clock.now()
    present = services.list_workers()
    alive = [worker for worker in present if services.is_alive(worker, now)]
    draining, stalled = sum(worker.draining for worker in alive), len(present) - len(alive)
    link = address("jobs_worker_changelist")
    if not alive:
        return Part("Workers", "none runs", Tone.DANGER, link)
    more = [f"{count} {word}" for count, word in ((draining, "draining"), (stalled, "stalled")) if count]
    tone = Tone.WARNING if stalled or draining == len(alive) else None
    return Part("Workers", ", ".join([f"{len(alive)} live", *more]), tone, link)
