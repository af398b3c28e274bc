"""The columns of the lists on a queue's own pages: its newest jobs, failures, messages, letters, history."""

from __future__ import annotations

from collections.abc import Sequence

from django.utils.html import format_html
from django.utils.safestring import SafeString

from queuesite.admin.tables import Column, Listing, Row
from queuesite.templatetags.cells import cut, link, whole
from queuesite.templatetags.moments import moment
from queuesite.templatetags.quantities import NONE, count, duration


def _created(row: Row) -> object:
    at = moment(row["job"].created_at)
    return format_html('<a class="qs-link" id="job-{}" href="{}">{}</a>', row["id"], row["address"], at)


NEWEST_JOBS = Listing(
    "newest-jobs",
    "Newest jobs",
    (
        Column("created", "Created", _created, "time"),
        Column("status", "Status", "jobs/cells/status.html", "wide"),
        Column("messages", "Messages", lambda row: count(row["job"].message_count), "number"),
        Column("failed", "Failed attempts", lambda row: count(row["job"].failed_count), "number"),
        Column("duration", "Duration", lambda row: duration(row["seconds"]), "span"),
        Column("worker", "Worker", lambda row: cut(row["worker"] or NONE), "medium", on_card=False),
        Column("version", "Version", lambda row: cut(row["job"].handler_version or NONE), "medium", usual=False),
    ),
)

ITS_FAILURES = Listing(
    "its-failures",
    "Failures",
    (
        Column(
            "failure", "Failure",
            lambda row: link(row["failure"].short, row["address"], f"failure-{row['id']}"), "name",
        ),
        Column("text", "Error", lambda row: whole(row["failure"].message), "text"),
        Column("count", "Count", lambda row: count(row["failure"].count), "number"),
        Column("last", "Last seen", lambda row: moment(row["failure"].last_seen_at), "time"),
        Column("first", "First seen", lambda row: moment(row["failure"].first_seen_at), "time", usual=False),
    ),
)  # fmt: skip

HISTORY = Listing(
    "history",
    "History",
    (
        Column("when", "When", lambda row: moment(row["entry"].action_time), "time"),
        Column("who", "Who", lambda row: cut(row["entry"].user), "medium"),
        Column("what", "What", lambda row: whole(row["entry"].get_change_message() or "Deleted."), "text"),
    ),
)


def _looked_at(row: Row) -> SafeString | str:
    """Leads to what the page shows of the message beneath the list."""
    return link(row["id"], f"#message-{row['id']}", f"to-{row['id']}")


def _error(row: Row) -> object:
    if not row.get("error"):
        return NONE
    text = row["error"]["attempt"].error
    return format_html('<a class="qs-link" href="{}">{}</a>', row["error"]["address"], whole(text))


def looks_total(seen: Sequence[Row]) -> str:
    """How many messages were looked at."""
    return f"{len(seen)} looked at"


_MESSAGE = Column("message", "Message", _looked_at, "wide")
_SENT = Column("sent", "Sent", lambda row: moment(row["message"].sent_at), "time")
_RECEIVES = Column("receives", "Receive count", lambda row: count(row["message"].receive_count), "number")
_BODY = Column("body", "Body", lambda row: whole(row["received"].body), "wide")
_GROUP = Column("group", "Group", lambda row: cut(row["message"].group or NONE), "medium", usual=False, on_card=False)

#: Messages, and dead letters, that were looked at.
LOOKED_AT = Listing("looked-at", "Looked at", (_MESSAGE, _SENT, _RECEIVES, _BODY, _GROUP))
LETTERS = Listing(
    "letters",
    "Letters looked at",
    (
        _MESSAGE,
        _SENT,
        _RECEIVES,
        Column("reason", "Reason", "jobs/cells/reason.html", "medium"),
        Column("error", "Error", _error, "wide"),
        _BODY,
        _GROUP,
    ),
)


def _messages(row: Row) -> str:
    impact = row["impact"]
    notes = ["last observed; SQS did not answer"] * (not impact.known) + [impact.note] * bool(impact.note)
    return " ".join([count(impact.messages), *(f"({note})" for note in notes)])


#: What an action is about to change.
IMPACT = Listing(
    "impact",
    "Impact",
    (Column("queue", "Queue", lambda row: cut(row["name"]), "name"), Column("messages", "Messages", _messages, "text")),
    may_choose=False,
)
