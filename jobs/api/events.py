"""What happened to the system."""

from __future__ import annotations

from typing import Annotated

from django.http import HttpRequest
from ninja import Query as Parameters
from ninja import Router
from pydantic import Field

from queues import events
from queues.event_model import Event
from queues.events import EventKind
from queuesite.api.auth import needs
from queuesite.api.schemas import Id, Moment, Out, Page, Paged, Timestamp

router = Router(tags=["numbers"], by_alias=True)


class EventOut(Out):
    """Something that happened to the system."""

    id: Id
    at: Timestamp
    kind: str = Field(description=f"one of {', '.join(EventKind)}", examples=["queue-paused"])
    queue_name: str | None = Field(description="the queue that it concerns", examples=["orders"])
    subject: str | None = Field(description="the worker, master or handler that it concerns", examples=[None])
    actor: str = Field(description="who did it; empty: the system", examples=["ada"])
    text: str = Field(description="the event in words, without queue and actor", examples=["paused: refunds fail"])

    @classmethod
    def of(cls, event: Event) -> EventOut:
        return cls(**{name: getattr(event, name) for name in cls.model_fields})


class EventQuery(Paged):
    """Which events to list."""

    queue: Annotated[str, Field(max_length=80)] | None = Field(None, description="name of the queue")
    kind: EventKind | None = Field(None, description="only events of this kind")
    since: Moment | None = Field(None, description="happened at this time or later")
    until: Moment | None = Field(None, description="happened before this time")


@router.get("/events", response=Page[EventOut], auth=needs("queues.view_event"))
def list_events(request: HttpRequest, query: Parameters[EventQuery]) -> Page[EventOut]:
    """List the events, the latest first. They are kept for EVENT_RETENTION_DAYS."""
    found, following = events.find(**query.model_dump())
    return Page(items=[EventOut.of(event) for event in found], next=following)
