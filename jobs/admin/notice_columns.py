"""The columns of the lists of notices: what is open, silences, and what was sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.http import HttpRequest
from django.utils.html import format_html, format_html_join

from jobs.admin.pages import queue_address
from jobs.alert_models import AlertState, Notice, Silence
from jobs.alerts import Open
from queues.health.names import Health
from queuesite.admin.records import address
from queuesite.admin.tables import Column, Listing, Row
from queuesite.templatetags.cells import cut, link
from queuesite.templatetags.moments import ago, moment, since
from queuesite.templatetags.quantities import NONE

_STATES = {
    AlertState.PENDING: "not yet: it must last",
    AlertState.SENDING: "is being sent",
    AlertState.SENT: "sent",
    AlertState.ENDING: "that it is over is being sent",
}


def alert_rows(request: HttpRequest, found: Sequence[Open]) -> list[dict[str, Any]]:
    """What is open, as rows."""
    linked = request.user.has_perm("queues.view_queue")
    return [
        {
            "id": one.alert.id.replace(":", "-"),
            "name": f"{one.alert.subject or 'the system'}: {one.alert.problem}",
            "alert": one.alert,
            "silence": one.silence,
            "queue": queue_address(one.alert.subject) if linked and one.alert.subject else None,
        }
        for one in found
    ]


def silence_rows(request: HttpRequest, found: Sequence[Silence]) -> list[dict[str, Any]]:
    """Silences, as rows."""
    linked = request.user.has_perm("queues.view_queue")
    return [
        {
            "id": one.id,
            "name": one.subject or "everything",
            "silence": one,
            "queue": queue_address(one.subject) if linked and one.subject else None,
            "end": address("jobs_alert_end", one.id),
        }
        for one in found
    ]


def notice_rows(found: Sequence[Notice]) -> list[dict[str, Any]]:
    """Notices that were sent, as rows."""
    return [{"id": str(one.id), "name": one.title, "notice": one} for one in found]


def _problem(row: Row) -> object:
    alert = row["alert"]
    known = alert.problem in set(Health)
    label = Health(alert.problem).label if known else alert.problem.replace("-", " ")
    return format_html('{}<span class="qs-note qs-lines">{}</span>', label, alert.sentence)


def _state(row: Row) -> object:
    alert, silence = row["alert"], row["silence"]
    if silence is not None:
        return format_html('silenced<span class="qs-note">it ends {}</span>', ago(silence.until))
    if alert.failures:
        return format_html(
            'not sent: next try {}<span class="qs-note qs-lines">{}</span>', ago(alert.try_again_at), alert.error
        )
    return _STATES.get(alert.state, alert.state)


def _answers(row: Row) -> object:
    return format_html_join("", '<span class="qs-lines">{}{}</span>', (_answer(one) for one in row["notice"].answers))


def _answer(one: dict[str, Any]) -> tuple[object, object]:
    words = ": sent" if one.get("took") else format_html(": <strong>not sent</strong>: {}", one.get("text", ""))
    return one.get("target", ""), words


def _why(row: Row) -> object:
    return format_html('<span class="qs-lines">{}</span>', row["silence"].reason or NONE)


def _said(row: Row) -> object:
    return format_html('{}<span class="qs-note qs-lines">{}</span>', row["notice"].title, row["notice"].body)


ALERTS = Listing(
    "alerts",
    "Open now",
    (
        Column("queue", "Queue", lambda row: link(row["alert"].subject or "the system", row["queue"]), "name"),
        Column("problem", "What is wrong", _problem, "text"),
        Column("since", "For", lambda row: since(row["alert"].first_seen_at), "span"),
        Column("state", "Notice", _state, "wide"),
        Column("seen", "Last seen", lambda row: ago(row["alert"].last_seen_at), "span", usual=False),
    ),
)
SILENCES = Listing(
    "silences",
    "Silences",
    (
        Column("queue", "Silent", lambda row: link(row["name"], row["queue"]), "name"),
        Column("until", "Until", lambda row: moment(row["silence"].until), "time"),
        Column("by", "By", lambda row: cut(row["silence"].actor or NONE), "medium"),
        Column("why", "Why", _why, "text"),
        Column("begun", "Begun", lambda row: moment(row["silence"].begun_at), "time", usual=False),
        Column("end", "End", "jobs/cells/end_silence.html", "short"),
    ),
    needs={"end": "jobs.silence_alert"},
)
NOTICES = Listing(
    "notices",
    "Sent lately",
    (
        Column("notice", "Notice", _said, "text"),
        Column("at", "Sent", lambda row: moment(row["notice"].at), "time"),
        Column("answers", "Addresses", _answers, "text"),
        Column("by", "By", lambda row: cut(row["notice"].actor or "the system"), "medium", usual=False),
    ),
)
