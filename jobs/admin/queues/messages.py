"""A queue's messages: sending, and looking at those that wait."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, reverse

from jobs.admin.queues.base import QueuePages, user
from jobs.admin.queues.lists import LOOKED_AT, looks_total
from jobs.admin.queues.send_form import AT_ONCE, SendForm, curl
from queues import codec, peek, services, tasks
from queues import messages as sending
from queues.api.message_schemas import MessageOut
from queues.handlers import Message, registry
from queues.handlers.preview import preview
from queues.models import Queue
from queues.patience import Patience
from queues.sqs import ReceivedMessage
from queuesite.admin.records import address
from queuesite.foundation import markup
from queuesite.foundation.databases import mongodb_errors
from queuesite.foundation.errors import Conflict, QueuesiteError
from queuesite.foundation.public import public_text
from queuesite.foundation.quantities import plural
from queuesite.tasks import start

#: Characters of a body that are shown.
SHOWN = 16_384
#: Payloads of one message that are shown.
PAYLOADS_SHOWN = 10


def looked(queue: Queue, found: Sequence[ReceivedMessage], schema: type[MessageOut]) -> list[dict[str, Any]]:
    """Messages or letters of a queue that were looked at, as `_messages.html` and `_letter.html` show them."""
    handler = registry.all_handlers().get(queue.handler)
    return [
        {
            "id": one.message_id,
            "name": one.message_id,
            "message": schema.of(one),
            "received": one,
            "body": markup.body(one.body[:SHOWN]),
            "cut": len(one.body) > SHOWN,
            "preview": (seen := preview(handler, Message.received(one, queue.name))),
            "payloads": [markup.body(text[:SHOWN]) for text in seen.payloads[:PAYLOADS_SHOWN]] if seen else [],
        }
        for one in found
    ]


class LookingPages(QueuePages):
    """What the pages of messages and of dead letters share."""

    def require_peek(self, request: HttpRequest) -> None:
        """Raises `PermissionDenied` unless the user may look, which costs each message a receive."""
        if not request.user.has_perm("queues.peek_message"):
            raise PermissionDenied

    def looked_at(
        self,
        request: HttpRequest,
        queue: Queue,
        look: Callable[[], peek.Look],
        schema: type[MessageOut],
        patience: Patience,
    ) -> list[dict[str, Any]]:
        """The messages that a look finds. Raises `Conflict` if it would be a message's last receive."""
        try:
            with mongodb_errors():
                found = patience.ask(look)
        except Conflict:
            raise
        except QueuesiteError as error:
            self._tell(request, error, patience)
            return []
        if found.warning is not None:
            self.message_user(request, f"{found.warning[:1].upper()}{found.warning[1:]}.", messages.WARNING)
        return looked(queue, found.messages, schema)

    def size(self, request: HttpRequest, queue: Queue, patience: Patience) -> services.Size | None:
        """What the queue holds now, according to SQS. If SQS does not say, the user is shown why, and it is None."""
        try:
            with mongodb_errors():
                return patience.ask(lambda: services.size(queue.name))
        except QueuesiteError as error:
            self._tell(request, error, patience)
            return None

    def _tell(self, request: HttpRequest, error: QueuesiteError, patience: Patience) -> None:
        text = public_text(error)
        if text not in patience.told:
            patience.told.add(text)
            self.message_user(request, text, messages.ERROR)


class MessagesPage(LookingPages):
    """Send messages, and look at those that wait."""

    def get_urls(self) -> list[URLPattern]:
        return [self.route("<str:object_id>/messages/", self.messages_view, "messages"), *super().get_urls()]

    def messages_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show the form and the look, or carry out what was posted."""
        self.require_view(request)
        queue = self.queue(object_id)
        may_send = request.user.has_perm("queues.send_message")
        form, seen, command, refused, patience = SendForm(queue), None, None, None, Patience()
        if request.method == "POST" and request.POST.get("do") == "look":
            self.require_peek(request)
            try:
                seen = self.looked_at(
                    request, queue, lambda: peek.peek(queue.name, last="last" in request.POST), MessageOut, patience
                )
            except Conflict as error:
                refused = str(error)
        elif request.method == "POST":
            if not may_send:
                raise PermissionDenied
            form = SendForm(queue, request.POST, request.FILES)
            if form.is_valid() and request.POST.get("do") == "curl":
                command = form.command(request.build_absolute_uri(reverse("api:send_messages", args=[queue.name])))
            elif form.is_valid():
                return self._send(request, queue, form)
        return self.page(
            request,
            "jobs/_messages.html",
            f"Messages of {queue.name}",
            original=queue,
            queue=queue,
            tabs=self.tabs(queue, "messages"),
            size=self.size(request, queue, patience),
            form=form,
            may_send=may_send,
            command=command,
            look=curl("POST", request.build_absolute_uri(reverse("api:peek_messages", args=[queue.name]))),
            may_peek=request.user.has_perm("queues.peek_message"),
            refused=refused,
            seen=seen,
            table=None if seen is None else LOOKED_AT.table(request, seen, total=looks_total(seen)),
            poll=False,
        )

    def _send(self, request: HttpRequest, queue: Queue, form: SendForm) -> HttpResponse:
        """Send a few messages at once, and many in the background."""
        times = form.cleaned_data["times"]
        total = len(form.outgoing) * times
        back = address("queues_queue_messages", queue.name)
        try:
            if total > AT_ONCE:
                items = [codec.as_json(message) for message in form.outgoing]
                task = start(
                    tasks.send_bulk, user(request), total=total, queue=queue.name, outgoing=items, repeat=times
                )
                self.log_change(request, queue, f"Began to send {total:,} messages.")
                return HttpResponseRedirect(address("queuesite_backgroundtask_change", task.id))
            with mongodb_errors():
                report = sending.send(queue.name, form.outgoing * times, report_outage=True, copies=times > 1)
        except QueuesiteError as error:
            self.message_user(request, public_text(error), messages.ERROR)
            return HttpResponseRedirect(back)
        if report.sent:
            words = plural(report.sent, "message")
            self.log_change(request, queue, f"Sent {words}.")
            self.message_user(request, f"{words} sent.", messages.SUCCESS)
        for reason in dict.fromkeys(report.failures.values()):
            self.message_user(request, f"Not all were sent: {reason}", messages.ERROR)
        return HttpResponseRedirect(back)
