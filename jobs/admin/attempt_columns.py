"""Attempts as pages show them, and the columns of their lists: of all, of one message's, of a handler's slowest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from django.http import HttpRequest
from django.utils.html import format_html

from jobs import attempt_reads
from jobs.admin.pages import counted, queue_address
from jobs.attempt_model import Attempt
from jobs.attempts import AttemptOutcome
from queuesite.admin.records import address
from queuesite.admin.tables import Column, Listing, Row
from queuesite.templatetags.cells import cut, link, whole
from queuesite.templatetags.moments import moment
from queuesite.templatetags.quantities import NONE, count, duration

#: The colour of an outcome, which is also shown in words.
OUTCOME_VARIANTS = {
    AttemptOutcome.DONE: "success",
    AttemptOutcome.FAILED: "danger",
    AttemptOutcome.RETRIED: "default",
    AttemptOutcome.REJECTED: "warning",
    AttemptOutcome.TIMED_OUT: "danger",
    AttemptOutcome.UNAVAILABLE: "warning",
    AttemptOutcome.CRASHED: "danger",
}


def rows_for(request: HttpRequest, attempts: Sequence[Attempt]) -> list[dict[str, Any]]:
    """Attempts as lists show them to this user."""
    may_queue = request.user.has_perm("queues.view_queue")
    return [
        {
            "id": str(one.id),
            "name": f"attempt {one.receive_count} at {one.message_id}",
            "attempt": one,
            "address": address("jobs_attempt_change", one.id),
            "message": message_address(one.message_id),
            "queue": queue_address(one.queue_name) if may_queue else None,
            "outcome": AttemptOutcome(one.outcome).label,
            "variant": OUTCOME_VARIANTS[AttemptOutcome(one.outcome)],
        }
        for one in attempts
    ]


def attempts_total(number: int) -> str:
    """How many attempts a list has, counted up to a bound."""
    return counted(number, "recorded attempt")


def links(request: HttpRequest, one: Attempt) -> dict[str, str | None]:
    """Where an attempt's queue, job, worker, handler and kind of failure are shown, as far as the user may see them."""
    may = request.user.has_perm
    kind = attempt_reads.kind_of(one) if may("jobs.view_failure") else None
    may_queue = may("queues.view_queue")
    return {
        "queue": queue_address(one.queue_name) if may_queue else None,
        "dead_letters": address("queues_queue_dead_letters", one.queue_name) if may_queue and one.dead_letter else None,
        "job": address("jobs_job_change", one.job_id) if may("jobs.view_job") else None,
        "handler": address("jobs_handlerversion_change", one.handler) if may_queue else None,
        "kind": None if kind is None else address("jobs_failure_change", kind.id),
    }


def message_address(message_id: str) -> str:
    """The address of a message's page."""
    return address("jobs_attempt_message", message_id)


def _started(row: Row) -> object:
    at = moment(row["attempt"].started_at)
    return format_html('<a class="qs-link" id="attempt-{}" href="{}">{}</a>', row["id"], row["address"], at)


def _number(row: Row) -> object:
    return link(f"Attempt {count(row['attempt'].receive_count)}", row["address"], f"attempt-{row['id']}")


STARTED = Column("started", "Started", _started, "time")
OUTCOME = Column("outcome", "Outcome", "jobs/cells/outcome.html", "medium")
QUEUE = Column("queue", "Queue", lambda row: link(row["attempt"].queue_name, row["queue"]), "medium")
RECEIVE = Column(
    "receive", "Receive", lambda row: count(row["attempt"].receive_count), "number", help="how often it was received"
)
WAITED = Column(
    "waited", "Waited", lambda row: duration(row["attempt"].waited), "number",
    help="from the message's sending to the attempt's start", on_card=False,
)  # fmt: skip
HANDLED = Column("handled", "Handled in", lambda row: duration(row["attempt"].seconds), "number")
ERROR = Column("error", "Error", lambda row: whole(row["attempt"].error), "wide")
MESSAGE = Column("message", "Message", lambda row: link(row["attempt"].message_id, row["message"]), "short")


def _others(*usual: str) -> tuple[Column, ...]:
    """What a viewer may add, or (of these names) sees without asking."""
    columns = (
        Column("handler", "Handler", lambda row: cut(row["attempt"].handler), "medium"),
        Column("version", "Version", lambda row: cut(row["attempt"].handler_version or NONE), "medium"),
        Column("worker", "Worker", lambda row: cut(row["attempt"].worker), "medium"),
        Column("job", "Job", lambda row: cut(row["attempt"].job_id), "medium"),
        Column("trace", "Trace id", lambda row: cut(row["attempt"].trace_id or NONE), "medium"),
    )
    return tuple(replace(one, usual=one.name in usual, on_card=one.name in usual) for one in columns)


ATTEMPTS = Listing(
    "attempts",
    "Attempts",
    (
        STARTED,
        OUTCOME,
        QUEUE,
        RECEIVE,
        WAITED,
        HANDLED,
        ERROR,
        MESSAGE,
        *_others(),
    ),
)

#: Those at one message, in their order.
OF_MESSAGE = Listing(
    "message-attempts",
    "Attempts at the message",
    (
        Column("attempt", "Attempt", _number, "medium"),
        Column("started", "Started", lambda row: moment(row["attempt"].started_at), "time"),
        OUTCOME, WAITED, HANDLED, ERROR, *_others("version"),
    ),
)  # fmt: skip

#: Those of a handler that took longest.
SLOWEST = Listing(
    "slowest-attempts", "Slowest attempts", (STARTED, HANDLED, OUTCOME, QUEUE, ERROR, MESSAGE, *_others())
)
