"""The page that takes an action on selected queues, and asks for confirmation if the action has a question."""

from __future__ import annotations

from collections.abc import Sequence

from django.contrib import messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, URLResolver
from django.utils.html import format_html

from jobs.admin.queues import undo
from jobs.admin.queues.actions import ACTIONS, Action, Asked, Report, summary, to_type
from jobs.admin.queues.base import QueuePages, user
from jobs.admin.queues.impact import impact
from jobs.admin.queues.listing import PAGE
from jobs.admin.queues.lists import IMPACT
from jobs.admin.queues.matching import begin, matching
from queues import pausing, services
from queues.models import Queue
from queuesite.admin.records import address, back_to
from queuesite.foundation.databases import mongodb_errors
from queuesite.foundation.errors import InvalidInput, QueuesiteError
from queuesite.foundation.public import public_text


class ActionPage(QueuePages):
    """Actions on the selected queues, by the table of actions."""

    def pages(self) -> list[URLPattern | URLResolver]:
        return [
            self.route("act-on-queues/", self.act_view, "act"),
            self.route("undo-on-queues/", self.undo_view, "undo"),
            *super().pages(),
        ]

    def act_view(self, request: HttpRequest) -> HttpResponse:
        """Take an action, or ask for confirmation."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        action = ACTIONS.get(request.POST.get("action", ""))
        if action is None:
            raise Http404("there is no such action")
        if not request.user.has_perm(action.permission):
            raise PermissionDenied
        back = back_to(request, address("queues_queue_changelist"))
        if "matching" in request.POST and not action.everything:
            return self._act_on_matching(request, action, back)
        chosen = services.by_ids(request.POST.getlist("chosen")[:PAGE])
        try:
            if not chosen and not action.everything:
                raise InvalidInput("choose queues first")
            value = None if action.value is None else action.value.parse(_value(request, action.value.name))
        except InvalidInput as error:
            self.message_user(request, f"Nothing was done: {error}.", messages.WARNING)
            return HttpResponseRedirect(back)
        typed = request.POST.get("typed", "").strip() if action.deletes else None
        if action.question is not None and ("sure" not in request.POST or typed not in (None, to_type(chosen))):
            return self._ask(request, action, chosen, back)
        report, asked = Report(), Asked(user(request), request.POST.get("reason", "").strip()[: pausing.MAX_REASON])
        try:
            with mongodb_errors():
                action.run(report, chosen, value, asked)
        except QueuesiteError as error:
            self.message_user(request, public_text(error), messages.ERROR)
        self._show(request, report)
        if action.undoable and report.done:
            undo.remember(request, action, asked, len(report.done))
        self._log(request, action, [queue for queue in chosen if queue.name in report.done], report)
        return HttpResponseRedirect(address("queues_queue_changelist") if action.deletes and report.done else back)

    def _act_on_matching(self, request: HttpRequest, action: Action, back: str) -> HttpResponse:
        """Take an action on all queues that match, in the background, after a question with their number."""
        asked = Asked(user(request), request.POST.get("reason", "").strip()[: pausing.MAX_REASON])
        try:
            with mongodb_errors():
                found = matching(back)
            value = None if action.value is None else action.value.parse(_value(request, action.value.name))
            if not found:
                raise InvalidInput("no queue matches")
        except QueuesiteError as error:
            self.message_user(request, f"Nothing was done: {public_text(error)}.", messages.WARNING)
            return HttpResponseRedirect(back)
        # The number is typed, too, so that nobody acts on more queues than the question named.
        number = str(len(found))
        typed = request.POST.get("typed", "") if action.deletes else number
        if request.POST.get("sure") != number or typed != number:
            return self.page(
                request,
                "jobs/_confirm_matching.html",
                f"{action.label}?",
                action=action,
                count=len(found),
                names=[queue.name for queue in found[:PAGE]],
                value=value,
                reason=asked.reason,
                changed="sure" in request.POST and request.POST["sure"] != number,
                mistyped="typed" in request.POST,
                act=address("queues_queue_act", next=back),
                back=back,
                poll=False,
            )
        task = begin(action, found, value, asked)
        if action.undoable:
            undo.remember(request, action, asked, len(found))
        return HttpResponseRedirect(address("queuesite_backgroundtask_change", task.id))

    def undo_view(self, request: HttpRequest) -> HttpResponse:
        """Undo an action for exactly those queues that it changed and that nobody has paused or resumed since."""
        if not self.may(request, "change"):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        change, back = request.POST.get("change", ""), back_to(request, address("queues_queue_changelist"))
        undo.forget(request, change)
        if "dismiss" in request.POST:
            return HttpResponseRedirect(back)
        try:
            with mongodb_errors():
                done = pausing.undo(change)
        except QueuesiteError as error:
            self.message_user(request, public_text(error), messages.ERROR)
            return HttpResponseRedirect(back)
        if done:
            self.message_user(request, f"{summary(dict.fromkeys(done, 'as before'))}.", messages.SUCCESS)
            found = {queue.name: queue for queue in services.by_names(done)}
            LogEntry.objects.log_actions(str(request.user.pk), list(found.values()), CHANGE, "Undone.")
        else:
            self.message_user(
                request, "Nothing to undo: the queues were paused or resumed again since.", messages.WARNING
            )
        return HttpResponseRedirect(back)

    def _ask(self, request: HttpRequest, action: Action, chosen: Sequence[Queue], back: str) -> HttpResponse:
        assert action.question is not None
        rows = impact(action.question, chosen)
        return self.page(
            request,
            "jobs/_confirm.html",
            f"{action.label}?",
            action=action,
            rows=rows,
            table=IMPACT.table(
                request, [{"id": str(row.queue.id), "name": row.queue.name, "impact": row} for row in rows]
            ),
            total=sum(row.messages for row in rows),
            only_spared=all(row.note for row in rows),
            to_type=to_type(chosen) if action.deletes else None,
            mistyped="typed" in request.POST,
            act=address("queues_queue_act", next=back),
            back=back,
            poll=False,
        )

    def _show(self, request: HttpRequest, report: Report) -> None:
        if report.done:
            self.message_user(request, f"{summary(report.done)}.", messages.SUCCESS)
        if report.skipped:
            self.message_user(request, f"Skipped: {summary(report.skipped)}.", messages.WARNING)
        for task in report.tasks[:10]:
            page = address("queuesite_backgroundtask_change", task.id)
            self.message_user(request, format_html('<a href="{}">Background task: {}</a>', page, task.kind))

    def _log(self, request: HttpRequest, action: Action, changed: Sequence[Queue], report: Report) -> None:
        if action.deletes:
            self.log_deletions(request, changed)
            return
        for words in dict.fromkeys(report.done.values()):
            LogEntry.objects.log_actions(
                str(request.user.pk),
                [queue for queue in changed if report.done[queue.name] == words],
                CHANGE,
                f"{words[0].upper()}{words[1:]}.",
            )


def _value(request: HttpRequest, name: str) -> str:
    """The value typed for the action: beside its button, or in the row of the queue whose button was pressed."""
    own = f"{name}-{request.POST.get('chosen', '')}"
    return request.POST.get(name, request.POST.get(own, ""))
