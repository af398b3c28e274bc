"""The strip on every page: whether the servers answer, who leads, who works, and who runs the background tasks.

None of it is cached: each answer asks again. Pages ask every second, and a server that has not answered for a second
is said to be silent, before anybody knows whether it will answer. So an outage of SQS or MongoDB shows within three
seconds, whatever the page itself waits for. Whatever goes wrong is said in the strip: a part of which nothing can be
found out is "not known", and the log has the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string
from django.urls import URLPattern, path

from jobs import reads, services
from jobs.models import Lease, Worker
from queues import readiness
from queues.health.rules import Tone
from queuesite import tasks
from queuesite.admin.records import address
from queuesite.foundation.databases import database_clock, database_errors, mongodb_errors
from queuesite.foundation.errors import DatabaseUnavailable, MongoUnavailable, QueuesiteError
from queuesite.foundation.logs import get_logger
from queuesite.foundation.quantities import duration

log = get_logger(__name__)

#: How old a question becomes, in seconds, before its server is said to be silent. With the second between two questions
#: of a page (status.js), that leaves another for the answer's way.
PATIENCE_SECONDS = 1.0
#: From how many seconds of silence on it is an outage, and not only slow.
OUTAGE_SECONDS = 3
#: Lengths of a silence that are told apart: a screen reader reads the strip again whenever its words change.
_SILENCES = (1, OUTAGE_SECONDS, 10, 30, 60, 300, 900, 3_600)


@dataclass(frozen=True)
class Part:
    """A part of the system, in words; without a tone it is healthy."""

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
        with database_errors():
            return admin.site.admin_view(status)(request)
    except DatabaseUnavailable as error:
        log.error("status_unknown", error=str(error))
        return _strip([Part("Django's database", readiness.FAILED, Tone.DANGER)])
    except Exception:  # the page has nothing better to show
        log.exception("status_unknown")
        return _strip([Part("Parts of the system", "not known", Tone.WARNING)])


def _strip(parts: Iterable[Part]) -> HttpResponse:
    answer = HttpResponse(render_to_string("jobs/_status.html", {"parts": list(parts)}))
    answer["Cache-Control"] = "no-store"
    return answer


def _read(name: str, question: Callable[[], object]) -> readiness.Probe[Any]:
    def ask() -> object:
        with mongodb_errors():
            return question()

    return readiness.Probe(name, ask)


#: Asked as the servers are: MongoDB may stop answering between two questions.
_LEADER = _read("leader", lambda: reads.leader())
_WORKERS = _read("workers", lambda: services.list_workers(handlers=False))


def _parts(request: HttpRequest) -> Iterator[Part]:
    answers: dict[str, readiness.Answer[Any]] = {}
    may = request.user.has_perm

    def servers() -> Iterator[Part]:
        answers.update(readiness.answers(PATIENCE_SECONDS, _LEADER, _WORKERS))
        for name, title in (("mongodb", "MongoDB"), ("sqs", "SQS")):
            yield _server(title, answers[name])
        if answers["database"].outcome != readiness.OK:
            yield _server("Django's database", answers["database"])

    yield from _asked("Servers", servers)
    if "mongodb" in answers and answers["mongodb"].outcome == readiness.OK:
        if may("jobs.view_lease"):
            yield from _asked("Master", lambda: [_master(_value(answers["leader"]))])
        if may("jobs.view_worker"):
            yield from _asked("Workers", lambda: [_workers(_value(answers["workers"]))])
    if may("queuesite.view_backgroundtask"):
        yield from _asked("Background tasks", lambda: [_background_tasks()])


def _server(title: str, answer: readiness.Answer[Any]) -> Part:
    if answer.outcome == readiness.OK:
        return Part(title, "answers")
    if answer.outcome == readiness.FAILED:
        return Part(title, readiness.FAILED, Tone.DANGER)
    silent = max((one for one in _SILENCES if one <= answer.silent), default=_SILENCES[0])
    tone = Tone.DANGER if silent >= OUTAGE_SECONDS else Tone.WARNING
    return Part(title, f"no answer for {duration(silent)}", tone)


def _value(answer: readiness.Answer[Any]) -> Any:
    """What MongoDB said. Raises `MongoUnavailable` if it has not said it in time."""
    if answer.outcome != readiness.OK:
        raise MongoUnavailable(answer.outcome)
    return answer.value


def _asked(name: str, ask: Callable[[], Iterable[Part]]) -> list[Part]:
    """What `ask` finds out, or a part of this name that says that its state is unknown."""
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


def _master(lease: Lease | None) -> Part:
    link = address("jobs_master_changelist")
    if lease is None:
        return Part("Master", "none leads", Tone.DANGER, link)
    return Part("Master", f"leads, term {lease.term}", address=link)


def _workers(present: list[Worker]) -> Part:
    now = database_clock.now()
    alive = [worker for worker in present if services.is_alive(worker, now)]
    draining, stalled = sum(worker.draining for worker in alive), len(present) - len(alive)
    link = address("jobs_worker_changelist")
    if not alive:
        return Part("Workers", "none runs", Tone.DANGER, link)
    more = [f"{count} {word}" for count, word in ((draining, "draining"), (stalled, "stalled")) if count]
    tone = Tone.WARNING if stalled or draining == len(alive) else None
    return Part("Workers", ", ".join([f"{len(alive)} live", *more]), tone, link)
