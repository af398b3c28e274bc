"""A queue's dead letters: look at them, and redrive or delete some."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, reverse

from jobs import letters
from jobs.admin.attempt_columns import message_address
from jobs.admin.queues.lists import LETTERS, looks_total
from jobs.admin.queues.messages import LookingPages
from jobs.admin.queues.send_form import curl
from jobs.attempt_model import Attempt
from queues import messages as sending
from queues import peek
from queues.api.message_schemas import DeadLetterOut
from queues.models import Queue
from queues.patience import Patience
from queues.sqs import MAX_BATCH
from queuesite.admin.records import address, back_to
from queuesite.foundation.databases import mongodb_errors
from queuesite.foundation.errors import QueuesiteError
from queuesite.foundation.public import public_text
from queuesite.foundation.quantities import plural


def add_errors(seen: Sequence[dict[str, Any]]) -> None:
    """Add the recorded errors that made messages dead letters to letters that were looked at."""
    known = letters.errors_of([row["received"] for row in seen])
    for row in seen:
        row["error"] = _shown(known.get(row["id"]))


def _shown(attempt: Attempt | None) -> dict[str, Any] | None:
    """The error that made a message a dead letter, with the addresses of its attempt and its page."""
    if attempt is None:
        return None
    return {
        "attempt": attempt,
        "address": address("jobs_attempt_change", attempt.id),
        "message": message_address(attempt.message_id),
    }


@dataclass(frozen=True)
class LetterAction:
    """An action on selected dead letters. `run` takes a queue's name and message ids; it returns how many it found."""

    permission: str
    run: Callable[[str, Sequence[str]], int]
    done: str
    #: Whether it asks for confirmation.
    asks: bool = False


LETTER_ACTIONS = {
    "redrive": LetterAction("queues.redrive_queue", sending.redrive_some, "redriven"),
    "delete": LetterAction("queues.purge_queue", sending.delete_dead_letters, "deleted", asks=True),
}


class DeadLettersPage(LookingPages):
    """Look at dead letters, and redrive or delete some of them."""

    def get_urls(self) -> list[URLPattern]:
        return [
            self.route("<str:object_id>/dead-letters/", self.dead_letters_view, "dead_letters"),
            *super().get_urls(),
        ]

    def dead_letters_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show the page, or carry out what was posted."""
        self.require_view(request)
        queue = self.queue(object_id)
        if queue.dlq_url is None:
            raise Http404("it has no dead-letter queue")
        do, ids = request.POST.get("do", ""), request.POST.getlist("chosen")[:MAX_BATCH]
        action = LETTER_ACTIONS.get(do)
        if action is not None:
            if not request.user.has_perm(action.permission):
                raise PermissionDenied
            if ids and (not action.asks or "sure" in request.POST):
                return self._act(request, queue, action, ids)
            if ids:
                return self._page(request, queue, "jobs/_delete_letters.html", ids=ids)
            self.message_user(request, "Nothing was done: choose dead letters first.", messages.WARNING)
        seen, patience = None, Patience()
        if do == "look":
            self.require_peek(request)
            seen = self.looked_at(request, queue, lambda: peek.peek_dead_letters(queue.name), DeadLetterOut, patience)
            if request.user.has_perm("jobs.view_attempt"):
                add_errors(seen)
        may_act = any(request.user.has_perm(one.permission) for one in LETTER_ACTIONS.values())
        form = "chosen-letters" if may_act else None
        return self._page(
            request,
            queue,
            "jobs/_dead_letters.html",
            seen=seen,
            table=None if seen is None else LETTERS.table(request, seen, form=form, total=looks_total(seen)),
            size=self.size(request, queue, patience),
            look=curl("POST", request.build_absolute_uri(reverse("api:peek_dead_letters", args=[queue.name]))),
            may_peek=request.user.has_perm("queues.peek_message"),
            redrive=curl("POST", request.build_absolute_uri(reverse("api:redrive", args=[queue.name]))),
            act=address("queues_queue_act", next=request.get_full_path()),
            may_redrive=request.user.has_perm(LETTER_ACTIONS["redrive"].permission),
            may_delete=request.user.has_perm(LETTER_ACTIONS["delete"].permission),
        )

    def _page(self, request: HttpRequest, queue: Queue, partial: str, **context: Any) -> HttpResponse:
        return self.page(
            request,
            partial,
            f"Dead letters of {queue.name}",
            original=queue,
            queue=queue,
            tabs=self.tabs(queue, "dead_letters"),
            back=back_to(request, address("queues_queue_dead_letters", queue.name)),
            poll=False,
            **context,
        )

    def _act(self, request: HttpRequest, queue: Queue, action: LetterAction, ids: Sequence[str]) -> HttpResponse:
        try:
            with mongodb_errors():
                count = action.run(queue.name, ids)
        except QueuesiteError as error:
            self.message_user(request, public_text(error), messages.ERROR)
        else:
            words = f"{plural(count, 'dead letter')} {action.done}"
            if count:
                self.log_change(request, queue, f"{words}.")
            missing = f"; {len(ids) - count} not found: deleted, or in flight elsewhere" if count < len(ids) else ""
            self.message_user(request, f"{words}{missing}.", messages.WARNING if missing else messages.SUCCESS)
        return HttpResponseRedirect(back_to(request, address("queues_queue_dead_letters", queue.name)))
