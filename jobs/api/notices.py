"""Notices of what needs attention: what they are sent of, what was sent, silences."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from django.http import HttpRequest
from ninja import Query as Parameters
from ninja import Router
from pydantic import Field

from jobs import alerts, notices, silences
from jobs.alert_models import AlertState, Notice, NoticeKind, Silence
from jobs.alerts import Open
from jobs.silences import LONGEST, MAX_REASON, MOST_QUEUES
from queues.naming import MAX_LENGTH
from queuesite.api import problems
from queuesite.api.auth import needs
from queuesite.api.openapi import also, link
from queuesite.api.schemas import Id, In, Out, Page, Paged, Timestamp

router = Router(tags=["notices"], by_alias=True)

_SYSTEM = "null: the whole system"


class AlertOut(Out):
    """Something wrong of which a notice was sent, or will be once it has lasted."""

    queue: str | None = Field(description=f"the queue; {_SYSTEM}", examples=["orders"])
    problem: str = Field(
        description="a queue's `problems` have its name; of the system: no-leader, no-workers, no-qcluster",
        examples=["failing"],
    )
    sentence: str = Field(examples=["12 of 40 attempts failed in the last 15 minutes"])
    state: AlertState = Field(
        description="pending: no notice has been sent; sending, sent; ending: the notice of its end is being sent"
    )
    first_seen_at: Timestamp
    last_seen_at: Timestamp = Field(description="when the problem was last seen; it is checked every minute")
    silenced_until: Timestamp | None = Field(description="end of the silence that covers it")
    failures: int = Field(description="attempts in a row to send it that no address took", examples=[0])
    error: str | None = Field(description="why the last of them failed", examples=[None])
    try_again_at: Timestamp | None = Field(description="when the next try is due")

    @classmethod
    def of(cls, one: Open) -> AlertOut:
        alert = one.alert
        same = ("problem", "sentence", "state", "first_seen_at", "last_seen_at", "failures", "try_again_at")
        return cls(
            queue=alert.subject or None,
            silenced_until=None if one.silence is None else one.silence.until,
            error=alert.error or None,
            **{name: getattr(alert, name) for name in same},
        )


class AlertsOut(Out):
    """What is open, the earliest first."""

    items: list[AlertOut]
    last_check_at: Timestamp | None = Field(description="when the background tasks last looked; null: never")
    targets: list[str] = Field(
        description="the addresses that notices go to, without their secrets; empty: no notices are sent",
        examples=[["1: Slack", "2: JSON at hooks.example.com"]],
    )


#: Most alerts in an answer.
MOST = 1_000


@router.get("/alerts", response=AlertsOut, auth=needs("jobs.view_alert"))
def list_alerts(request: HttpRequest) -> AlertsOut:
    """List the problems that notices were sent of, or will be if they last; at most 1,000, the earliest first."""
    targets, _ = notices.targets()
    items = [AlertOut.of(one) for one in alerts.open_alerts(MOST)]
    return AlertsOut(items=items, last_check_at=alerts.last_check(), targets=targets)


class AnswerOut(Out):
    """How an address answered a notice."""

    target: str = Field(description="the address without its secrets", examples=["2: JSON at hooks.example.com"])
    took: bool
    text: str = Field(description="why it did not take it, as far as that is known", examples=[""])


class NoticeOut(Out):
    """A notice that was sent, or that no address took."""

    id: Id
    at: Timestamp
    kind: NoticeKind = Field(description="begun: of problems; over: of problems that are over; test")
    actor: str = Field(description="who asked for it; empty: the system", examples=[""])
    title: str = Field(examples=["Queuesite: 1 problem"])
    body: str = Field(examples=["orders: tripped: stripe is down"])
    answers: list[AnswerOut]

    @classmethod
    def of(cls, notice: Notice) -> NoticeOut:
        return cls(**{name: getattr(notice, name) for name in cls.model_fields})


@router.get("/notices", response=Page[NoticeOut], auth=needs("jobs.view_alert"))
def list_notices(request: HttpRequest, query: Parameters[Paged]) -> Page[NoticeOut]:
    """List the notices that were sent, the latest first, with each address's answer. Kept for EVENT_RETENTION_DAYS."""
    found, following = notices.find(cursor=query.cursor, limit=query.limit)
    return Page(items=[NoticeOut.of(one) for one in found], next=following)


class TestOut(Out):
    """What each address answered."""

    answers: list[AnswerOut]


@router.post("/notices/test", response=TestOut, auth=needs("jobs.test_alert"), openapi_extra=also(problems.CONFLICT))
def test_notices(request: HttpRequest) -> TestOut:
    """Send a test notice to each address of ALERT_URLS; the answer comes within ten seconds, also if none took it.

    409 if ALERT_URLS is empty or has an address that apprise does not know.
    """
    return TestOut(answers=[AnswerOut(target=one.target, took=one.took, text=one.text) for one in notices.test()])


class SilenceOut(Out):
    """No notices are sent of a queue's problems, or of any, until a moment."""

    id: str = Field(description="the queue's id; `system`: of everything", examples=["system"])
    queue: str | None = Field(description="the queue; null: everything", examples=[None])
    until: Timestamp
    begun_at: Timestamp | None
    actor: str = Field(description="who began it", examples=["ada"])
    reason: str = Field(examples=["the bank is down until 14:00"])

    @classmethod
    def of(cls, silence: Silence) -> SilenceOut:
        same: dict[str, Any] = {name: getattr(silence, name) for name in ("id", "until", "begun_at", "actor", "reason")}
        return cls(queue=silence.subject or None, **same)


class SilencesOut(Out):
    """Silences, the first to end first."""

    items: list[SilenceOut]


class SilenceIn(In):
    """A silence to begin."""

    queues: list[Annotated[str, Field(min_length=1, max_length=MAX_LENGTH)]] = Field(
        [], max_length=MOST_QUEUES, description="names of queues; none: everything", examples=[["orders"]]
    )
    minutes: int = Field(ge=1, le=int(LONGEST.total_seconds() // 60), description="how long, from now", examples=[120])
    reason: str = Field("", max_length=MAX_REASON, description="why; pages and events show it", examples=[""])


@router.get("/silences", response=SilencesOut, auth=needs("jobs.view_alert"))
def list_silences(request: HttpRequest) -> SilencesOut:
    """List the silences that hold."""
    return SilencesOut(items=[SilenceOut.of(one) for one in silences.current()])


@router.post(
    "/silences",
    response={201: SilencesOut},
    auth=needs("jobs.silence_alert"),
    openapi_extra=also(problems.NOT_FOUND, links={201: {"end": link("end_silence", "items/0/id", "silence_id")}}),
)
def begin_silence(request: HttpRequest, payload: SilenceIn) -> SilencesOut:
    """Send no notices about some queues, or about anything, for a while; at most 30 days.

    No notice is ever sent of what begins and ends within a silence; that of what lasts is sent after it. A silence
    replaces the one that its queue has. 404 if one of the queues does not exist: then none is silenced.
    """
    begun = silences.begin(payload.queues, timedelta(minutes=payload.minutes), payload.reason)
    return SilencesOut(items=[SilenceOut.of(one) for one in begun])


@router.delete("/silences/{silence_id}", response={204: None}, auth=needs("jobs.silence_alert"))
def end_silence(request: HttpRequest, silence_id: str) -> None:
    """End a silence."""
    silences.end(silence_id)
