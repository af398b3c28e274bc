"""The strip on every page: whether the servers answer, who leads, who works, and who runs the background tasks.

Nothing of it is remembered: each answer asks again. A page asks for it with a limit of its own, so that an outage of
SQS shows within three seconds, whatever the page itself waits for. Whatever goes wrong is said in the strip: a part of
which nothing can be found out is "not known", and the log has the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from django.contrib import admin
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string
from django.urls import URLPattern, path

from jobs import reads, services
from queues import readiness
from queues.health.rules import Tone
from queuesite import tasks
from queuesite.admin.records import address
from queuesite.foundation.databases import database_clock, database_errors, mongodb_errors
from queuesite.foundation.errors import QueuesiteError
from queuesite.foundation.logs import get_logger

log = get_logger(__name__)

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
    return _strip(_parts(request))


def url() -> URLPattern:
    """The strip's address below /admin/."""
    return path("status/", _for_staff, name="status")


def _for_staff(request: HttpRequest) -> HttpResponseBase:
    """The strip for those who may see the admin. Who that is cannot be known while Django's database is away."""
    try:
        return admin.site.admin_view(status)(request)
    except DatabaseError as error:
        log.error("status_unknown", error=str(error))
        return _strip([Part("Django's database", readiness.FAILED, Tone.DANGER)])


def _strip(parts: Iterable[Part]) -> HttpResponse:
    answer = HttpResponse(render_to_string("jobs/_status.html", {"parts": list(parts)}))
    answer["Cache-Control"] = "no-store"
    return answer


def _parts(request: HttpRequest) -> Iterator[Part]:
    answers: dict[str, str] = {}

    def servers() -> Iterator[Part]:
        answers.update(readiness.check(LIMIT_SECONDS))
        for name, title in (("mongodb", "MongoDB"), ("sqs", "SQS")):
            well = answers[name] == readiness.OK
            yield Part(title, "answers" if well else answers[name], None if well else Tone.DANGER)
        if answers["database"] != readiness.OK:
            yield Part("Django's database", answers["database"], Tone.DANGER)

    yield from _asked("Servers", servers)
    may = request.user.has_perm
    if answers.get("mongodb") == readiness.OK:
        if may("jobs.view_lease"):
            yield from _asked("Master", lambda: [_master()])
        if may("jobs.view_worker"):
            yield from _asked("Workers", lambda: [_workers()])
    if may("queuesite.view_backgroundtask"):
        yield from _asked("Background tasks", lambda: [_background_tasks()])


def _asked(name: str, ask: Callable[[], Iterable[Part]]) -> list[Part]:
    """What `ask` finds out, or a part of this name that says that nothing is known."""
    try:
        with mongodb_errors(), database_errors():
            return list(ask())
    except QueuesiteError as error:
        log.warning("status_unknown", part=name, error=str(error))
    except Exception:  # a fault of ours must not hide what the other parts say
        log.exception("status_unknown", part=name)
    return [Part(name, "not known", Tone.WARNING)]


def _background_tasks() -> Part:
    run = tasks.are_run()
    link = address("queuesite_backgroundtask_changelist")
    return Part("Background tasks", "run" if run else "nobody runs them", None if run else Tone.WARNING, link)


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
