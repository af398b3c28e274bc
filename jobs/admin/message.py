"""The page of a message: the attempts at it in their order, and the dead letter that it may have become."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern

from jobs import attempt_reads
from jobs.admin.attempt_columns import OF_MESSAGE, attempts_total, links, rows_for
from jobs.admin.queues.dead_letters import LETTER_ACTIONS, add_errors
from jobs.admin.queues.messages import looked
from queues import messages as sending
from queues import services
from queues.api.message_schemas import DeadLetterOut
from queues.models import Queue
from queuesite.admin.records import RecordsAdmin, address
from queuesite.foundation.databases import mongodb_errors
from queuesite.foundation.errors import MalformedDocument, NotFound, QueuesiteError
from queuesite.foundation.public import public_text


class MessagePage(RecordsAdmin):
    """A message, by its id in SQS."""

    def get_urls(self) -> list[URLPattern]:
        return [self.route("message/<str:object_id>/", self.message_view, "message"), *super().get_urls()]

    def message_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show the attempts at a message; if somebody asks for it, look for its dead letter in SQS."""
        self.require_view(request)
        try:
            found = attempt_reads.of_message(object_id[:200])
        except NotFound as error:
            raise Http404(str(error)) from None
        last = found[-1]
        queue = _queue(last.queue_name)
        rows = rows_for(request, found)
        look = request.method == "POST" and request.POST.get("do") == "look"
        return self.page(
            request,
            "jobs/_message.html",
            f"Message {object_id}",
            original=object_id,
            message_id=object_id,
            rows=rows,
            table=OF_MESSAGE.table(request, rows, total=attempts_total(len(rows))),
            last=last,
            dead=last.dead_letter,
            trace_ids=sorted({one.trace_id for one in found if one.trace_id}),
            links=links(request, last),
            letter=_letter(request, queue),
            looked=look,
            seen=self._look(request, queue, object_id) if look and queue is not None else [],
            poll=not look,
        )

    def _look(self, request: HttpRequest, queue: Queue, message_id: str) -> list[dict[str, Any]]:
        """The letter, or nothing. SQS counts the look as a receive, which a dead letter has to spare."""
        if not request.user.has_perm("queues.peek_message"):
            raise PermissionDenied
        try:
            with mongodb_errors():
                found = sending.dead_letter(queue.name, message_id)
        except QueuesiteError as error:
            self.message_user(request, public_text(error), messages.ERROR)
            return []
        seen = [] if found is None else looked(queue, [found], DeadLetterOut)
        add_errors(seen)
        return seen


def _queue(name: str) -> Queue | None:
    """The queue of this name; None if it is not there any more, or has no dead-letter queue."""
    try:
        found = services.get(name)
    except (NotFound, MalformedDocument):
        return None
    return None if found.dlq_url is None else found


def _letter(request: HttpRequest, queue: Queue | None) -> dict[str, Any] | None:
    """What the user may do about the message's dead letter; None: it cannot have become one."""
    if queue is None or not request.user.has_perm("queues.view_queue"):
        return None
    may = {name: request.user.has_perm(action.permission) for name, action in LETTER_ACTIONS.items()}
    return {
        "queue": queue,
        "act": address("queues_queue_dead_letters", queue.name, next=request.path),
        "may_look": request.user.has_perm("queues.peek_message"),
        "may_redrive": may["redrive"],
        "may_delete": may["delete"],
    }
