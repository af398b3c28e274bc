"""A queue's messages: send, look at and redrive them."""

from __future__ import annotations

import json
from typing import Annotated

from django.http import HttpRequest, HttpResponse
from ninja import Header, Router
from ninja import Query as Parameters
from pydantic import Field

from jobs import letters
from jobs.api.attempt_schemas import LetterOut, LettersOut
from queues import codec, messages, peek, services, tasks
from queues.api.asking import ask_sqs
from queues.api.message_schemas import (
    BulkIn,
    MessageOut,
    MessagesIn,
    PeekOut,
    ResultOut,
    SentOut,
    bulk_total,
    with_deduplication,
)
from queues.sqs import MAX_BATCH
from queuesite.api import problems
from queuesite.api.auth import caller, needs
from queuesite.api.idempotency import HEADER, LIFETIME, MAX_KEY, Answer, once
from queuesite.api.openapi import also
from queuesite.api.schemas import Query
from queuesite.api.tasks import LINKS, TaskOut, accepted, task_address
from queuesite.tasks import start

router = Router(tags=["messages"], by_alias=True)

Key = Annotated[
    str | None,
    Header(
        alias=HEADER,
        pattern=rf"^[!-~]{{1,{MAX_KEY}}}$",
        description=f"requests with the same key are carried out once within {LIFETIME.total_seconds() / 3600:.0f} h",
    ),
]


@router.post(
    "/queues/{name}/messages",
    response={200: SentOut, 207: SentOut},
    auth=needs("queues.send_message"),
    openapi_extra=also(problems.CONFLICT, problems.SERVER),
)
def send_messages(request: HttpRequest, name: str, payload: MessagesIn, key: Key = None) -> HttpResponse:
    """Send one message or many, and wake the queue.

    Everything is checked before anything is sent. 200: SQS took all of them; 207: it refused some, and
    `results` says which and why. With an `Idempotency-Key` a repeated request gets the answer of the first.
    """
    queue = services.get(name)
    outgoing = [message.outgoing() for message in payload.messages]
    if queue.fifo and not queue.content_based_deduplication and key is not None:
        outgoing = with_deduplication(outgoing, f"{caller(request).user.pk} {key}")
    messages.validate_messages(queue, outgoing)

    def send() -> Answer:
        report = messages.send(name, outgoing, report_outage=True)
        results = [
            ResultOut(index=place, message_id=report.message_ids.get(place), error=report.failures.get(place))
            for place in range(len(outgoing))
        ]
        answer = SentOut(sent=report.sent, failed=len(report.failures), results=results)
        return 207 if report.failures else 200, answer.model_dump(mode="json", by_alias=True)

    return once(request, key, send)


@router.post(
    "/queues/{name}/messages/bulk",
    response={202: TaskOut},
    auth=needs("queues.send_message"),
    openapi_extra=also(problems.CONFLICT, links=LINKS),
)
def send_bulk(request: HttpRequest, name: str, payload: BulkIn, key: Key = None) -> HttpResponse:
    """Send many messages in the background, up to API_MAX_BULK. The task has the progress.

    The task's result has the messages that SQS refused. If the task's process dies, the task continues where it was,
    and may send up to a thousand messages twice.
    """
    queue = services.get(name)
    total = bulk_total(payload)
    outgoing = [message.outgoing() for message in payload.messages]
    messages.validate_messages(queue, outgoing)

    def begin() -> Answer:
        items = [codec.as_json(message) for message in outgoing]
        task = start(
            tasks.send_bulk, caller(request).user, total=total, queue=name, outgoing=items, repeat=payload.repeat
        )
        return 202, TaskOut.of(task).model_dump(mode="json", by_alias=True)

    response = once(request, key, begin)
    response["Location"] = task_address(json.loads(response.content)["id"])
    return response


class LettersQuery(Query):
    """How many dead letters to look at."""

    limit: int = Field(MAX_BATCH, ge=1, le=MAX_BATCH, description="how many at most")


class PeekQuery(LettersQuery):
    """How many messages to look at, and at what cost."""

    last: bool = Field(False, description="look even if it is a message's last receive before the dead-letter queue")


@router.post(
    "/queues/{name}/messages/peek",
    response=PeekOut,
    auth=needs("queues.view_queue", "queues.peek_message"),
    openapi_extra=also(problems.CONFLICT, problems.QUEUE_MISSING, problems.SERVER),
)
def peek_messages(request: HttpRequest, name: str, query: Parameters[PeekQuery]) -> PeekOut:
    """Look at up to ten messages without consuming them: they are visible again at once.

    It is not a GET, since SQS counts a look as a receive, and after `maxReceiveCount` receives a message goes to the
    dead-letter queue unhandled. A look ends at the first message that has no receive to spare, and `warning` names it.
    The next look is refused (409), unless `last` is true, until a consumer has emptied the queue; so is every look at a
    queue whose `maxReceiveCount` is 1. A FIFO queue's messages come together, since one hides its group.
    """
    look = ask_sqs(f"what {name!r} holds", lambda: peek.peek(name, query.limit, last=query.last))
    return PeekOut(items=[MessageOut.of(message) for message in look.messages], warning=look.warning)


@router.post(
    "/queues/{name}/dead-letters/peek",
    response=LettersOut,
    auth=needs("queues.view_queue", "queues.peek_message"),
    openapi_extra=also(problems.QUEUE_MISSING, problems.SERVER),
)
def peek_dead_letters(request: HttpRequest, name: str, query: Parameters[LettersQuery]) -> LettersOut:
    """Look at up to ten dead letters, with the reasons. They stay in their queue, in flight for a moment."""
    look = ask_sqs(f"what the dead letters of {name!r} are", lambda: peek.peek_dead_letters(name, query.limit))
    known = letters.errors_of(look.messages) if caller(request).may("jobs.view_attempt") else {}
    return LettersOut(items=[LetterOut.with_error(message, known.get(message.message_id)) for message in look.messages])


Kind = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
_KIND = "fingerprint of a kind of failure; letters whose attempts are not recorded belong to none"


class KindQuery(Query):
    """Which dead letters to redrive."""

    kind: Kind | None = Field(None, description=f"{_KIND}; null: all letters")


class OneKindQuery(Query):
    """Which dead letters to delete."""

    kind: Kind = Field(description=_KIND)


@router.post(
    "/queues/{name}/dead-letters/delete",
    response={202: TaskOut},
    auth=needs("queues.purge_queue"),
    openapi_extra=also(links=LINKS),
)
def delete_letters(request: HttpRequest, name: str, query: Parameters[OneKindQuery], response: HttpResponse) -> TaskOut:
    """Delete the dead letters whose last error is of a kind, in the background."""
    services.with_dead_letters(name, "delete")
    return accepted(
        request, start(letters.delete_in_background, caller(request).user, queue=name, kind=query.kind), response
    )


@router.post(
    "/queues/{name}/dead-letters/redrive",
    response={202: TaskOut},
    auth=needs("queues.redrive_queue"),
    openapi_extra=also(links=LINKS),
)
def redrive(request: HttpRequest, name: str, query: Parameters[KindQuery], response: HttpResponse) -> TaskOut:
    """Move the dead letters back to their queue, in the background; with `kind`, those whose last error is of it."""
    messages.redrivable(name)
    if query.kind is not None:
        task = start(letters.redrive_in_background, caller(request).user, queue=name, kind=query.kind)
        return accepted(request, task, response)
    return accepted(request, start(tasks.redrive, caller(request).user, queue=name), response)
