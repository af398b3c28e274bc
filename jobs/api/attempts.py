"""Attempts at messages, and one search for everything."""

from __future__ import annotations

from typing import Annotated

from django.http import HttpRequest
from ninja import Query as Parameters
from ninja import Router
from pydantic import Field

from jobs import attempt_reads
from jobs.api.attempt_schemas import AttemptOut, AttemptSummary
from jobs.api.schemas import FailureSummary, JobOut
from jobs.attempts import AttemptOutcome
from queuesite.api.auth import caller, needs
from queuesite.api.openapi import also, link
from queuesite.api.schemas import Moment, Out, Page, Paged, Query
from queuesite.foundation.documents import object_id

router = Router(tags=["attempts"], by_alias=True)

Name = Annotated[str, Field(max_length=100)]


class AttemptQuery(Paged):
    """Which attempts to list."""

    message: Name | None = Field(None, description="SQS's id of the message")
    queue: Annotated[str, Field(max_length=80)] | None = Field(None, description="name of the queue")
    job: Annotated[str, Field(pattern="^[0-9a-f]{24}$")] | None = Field(None, description="id of the job")
    handler: Name | None = Field(None, description="name of the handler")
    kind: Annotated[str, Field(max_length=32)] | None = Field(
        None, description="fingerprint of a kind of failure, or of a reason of retries"
    )
    outcome: AttemptOutcome | None = Field(None, description="only attempts with this outcome")
    text: Annotated[str, Field(max_length=attempt_reads.MOST_CHARACTERS)] | None = Field(
        None, description="a part of the error, in any case"
    )
    since: Moment | None = Field(None, description="begun at this time or later")
    until: Moment | None = Field(None, description="begun before this time")


_READ = {"read": link("read_attempt", "items/0/id", "attempt_id")}


@router.get(
    "/attempts",
    response=Page[AttemptSummary],
    auth=needs("jobs.view_attempt"),
    openapi_extra=also(links={200: _READ}),
)
def list_attempts(request: HttpRequest, query: Parameters[AttemptQuery]) -> Page[AttemptSummary]:
    """List the recorded attempts, the newest first: all that did not succeed, and a sample of the others."""
    found, following = attempt_reads.find(**query.model_dump())
    return Page(items=[AttemptSummary.of(one) for one in found], next=following)


@router.get("/attempts/{attempt_id}", response=AttemptOut, auth=needs("jobs.view_attempt"))
def read_attempt(request: HttpRequest, attempt_id: str) -> AttemptOut:
    """Read an attempt, with the last lines that its handler logged."""
    return AttemptOut.of(attempt_reads.attempt(object_id(attempt_id, "attempt")))


class SearchQuery(Query):
    """What to look for."""

    q: Annotated[str, Field(min_length=1, max_length=attempt_reads.MOST_CHARACTERS)] = Field(
        description="a part of a queue's name or of an error, or the id of a job or a message"
    )


class SearchOut(Out):
    """What was found, up to ten of each. What you may not see is empty."""

    queues: list[str] = Field(description="names of queues", examples=[["orders"]])
    jobs: list[JobOut]
    messages: list[str] = Field(description="the id, if attempts at such a message are recorded", examples=[[]])
    failures: list[FailureSummary]
    attempts: list[AttemptSummary]


@router.get("/search", response=SearchOut, auth=needs(), tags=["search"])
def search(request: HttpRequest, query: Parameters[SearchQuery]) -> SearchOut:
    """Find queues by name, jobs and messages by id, failures and attempts by what the error says."""
    found = attempt_reads.search_all(query.q, caller(request).may)
    return SearchOut(
        queues=[queue.name for queue in found.queues],
        jobs=[JobOut.of(job) for job in found.jobs],
        messages=list(found.messages),
        failures=[FailureSummary.of(failure) for failure in found.failures],
        attempts=[AttemptSummary.of(one) for one in found.attempts],
    )
