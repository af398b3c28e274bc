"""The form of a queue's settings, which also creates queues."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, URLResolver

from jobs.admin.queue_form import AdoptForm, QueueForm, fieldsets
from jobs.admin.queues.base import QueuePages
from queues import services, setting_checks
from queues.handlers import catalogue
from queues.models import Queue
from queues.settings import ASKED, CHOSEN_FOR_ADOPTED, HANDLER_PERMISSION
from queuesite.admin.records import address
from queuesite.foundation.databases import mongodb_errors
from queuesite.foundation.errors import QueuesiteError
from queuesite.foundation.public import public_text

_KNOWN = ("queue_url", "dlq_url", "created_at", "updated_at", "synced_at")
#: What SQS holds of a queue that others own, beside settings.
_READ = ("queue_arn", "retention_seconds", "max_message_bytes")


class SettingsPage(QueuePages):
    """The form, which saves through the services."""

    form = QueueForm
    change_form_outer_before_template = "jobs/_queue_tabs.html"

    def get_urls(self) -> list[URLPattern]:
        return [
            self.route("<str:object_id>/settings/", self.settings_view, "settings"),
            *super().get_urls(),
        ]

    def pages(self) -> list[URLPattern | URLResolver]:
        """Add the addresses that belong to no queue beside the queues, since a queue may have any name."""
        return [
            self.route("new-queue/", self.add_view, "add"),
            self.route("adopt-queue/", self.adopt_view, "adopt"),
            *super().pages(),
        ]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """As the API asks."""
        return self.may(request, "add")

    def settings_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The settings of a queue; they are a form for those who may change them."""
        self.require_view(request)
        queue = self.queue(object_id)
        return self.changeform_view(request, str(queue.id), "", {"tabs": self.tabs(queue, "settings")})

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """A form with one button that saves."""
        context |= {"show_save_and_add_another": False, "show_save_and_continue": False}
        return super().render_change_form(request, context, *args, **kwargs)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Queue | None:
        """Read as everything else reads queues: Django's own way fails on the dates in `attempts`."""
        found = services.by_ids([object_id])
        return found[0] if found else None

    def adopt_view(self, request: HttpRequest) -> HttpResponse:
        """The form that adopts a queue of others; `?queue=` is filled in."""
        if not (self.may(request, "add") and request.user.has_perm(HANDLER_PERMISSION)):
            raise PermissionDenied
        return self.changeform_view(request, None, "", {"title": "Adopt a queue that others own"})

    def get_form(self, request: HttpRequest, obj: Queue | None = None, change: bool = False, **kwargs: Any) -> Any:
        """The form of a queue to adopt, or of any other."""
        form = AdoptForm if _adopts(request) else QueueForm
        return super().get_form(request, obj, change, form=form, **kwargs)

    def get_readonly_fields(self, request: HttpRequest, obj: Queue | None = None) -> tuple[str, ...]:
        """A queue's name is fixed in SQS, and what was observed is not edited."""
        handler = () if request.user.has_perm(HANDLER_PERMISSION) else ("handler", "shown_options")
        if obj is None:
            return handler
        theirs = () if obj.managed else (*_theirs(obj), *_READ)
        return ("name", *handler, *theirs, *_KNOWN)

    def get_fieldsets(self, request: HttpRequest, obj: Queue | None = None) -> Any:
        """The settings in groups, and for an existing queue what belongs to it."""
        # What is only shown has no widget that masks it.
        asked = request.user.has_perm(HANDLER_PERMISSION) and (obj is None or self.may(request, "change"))
        instead = {} if asked else {"handler_options": "shown_options"}
        if _adopts(request):
            return [(None, {"fields": ("queue", "name")}), *fieldsets(instead, CHOSEN_FOR_ADOPTED)]
        if obj is None:
            return [(None, {"fields": ("name", "with_dlq", "take_over")}), *fieldsets(instead)]
        if obj.managed:
            return [*fieldsets(instead, fifo=obj.fifo), ("What belongs to it", {"fields": _KNOWN})]
        theirs = {
            "fields": (*_theirs(obj), *_READ),
            "description": "Others own the queue. What SQS holds of it is read and followed, never written.",
        }
        own = fieldsets(instead, CHOSEN_FOR_ADOPTED)
        return [*own, ("Its owner's", theirs), ("What belongs to it", {"fields": _KNOWN})]

    @admin.display(description="Handler options")
    def shown_options(self, obj: Queue) -> str:
        """The options, with secrets masked."""
        return json.dumps(
            catalogue.current().named(obj.handler).masked_options(obj.handler_options), ensure_ascii=False
        )

    def save_model(self, request: HttpRequest, obj: Queue, form: Any, change: bool) -> None:
        """Change the queue through the services. The form has created a new one."""
        if change:
            settings = {name: form.cleaned_data[name] for name in ASKED if name in form.cleaned_data}
            services.update(obj.name, {name: settings[name] for name in form.changed_data if name in settings})
        else:
            obj.pk = form.created.pk
        for warning in setting_checks.warnings(services.get(obj.name)):
            self.message_user(request, warning, messages.WARNING)

    def construct_change_message(self, request: HttpRequest, form: Any, formsets: Any, add: bool = False) -> Any:
        """Name the new values, which the log is of little use without. Options may hold secrets, and stay out."""
        if add:
            return super().construct_change_message(request, form, formsets, add)
        new = [
            name if name == "handler_options" else f"{name} = {form.cleaned_data[name]}" for name in form.changed_data
        ]
        return f"Changed {', '.join(new)}." if new else "Saved without a change."

    def response_post_save_add(self, request: HttpRequest, obj: Queue) -> HttpResponse:
        return HttpResponseRedirect(address("queues_queue_change", obj.name))

    def response_post_save_change(self, request: HttpRequest, obj: Queue) -> HttpResponse:
        return HttpResponseRedirect(address("queues_queue_change", obj.name))

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show what a service refused as a message on the same page."""
        extra_context = {"show_save_and_add_another": False, "show_save_and_continue": False, **(extra_context or {})}
        if object_id is None:
            here = extra_context.setdefault("title", "Create a queue")
            queues = {"title": "Queues", "link": address("queues_queue_changelist"), "own": True}
            extra_context["crumbs"] = [queues, {"title": here, "link": None, "own": True}]
        try:
            with mongodb_errors():
                answer: HttpResponse = super().changeform_view(request, object_id, form_url, extra_context)
                return answer
        except QueuesiteError as error:
            if request.method != "POST":
                raise
            self.message_user(request, public_text(error), messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())


def _theirs(queue: Queue) -> tuple[str, ...]:
    """The settings that SQS holds of a queue that others own, which are not changed here."""
    return tuple(
        name for name, one in ASKED.items() if name not in CHOSEN_FOR_ADOPTED and (queue.fifo or not one.fifo_only)
    )


def _adopts(request: HttpRequest) -> bool:
    return request.resolver_match is not None and request.resolver_match.url_name == "queues_queue_adopt"
