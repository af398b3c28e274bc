"""Queues in the admin: defined and changed through the same services as on the command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldAdminSelectWidget

from queues import naming, services
from queues.handlers import registry
from queues.models import Queue
from queuesite.config import get_config
from queuesite.errors import InvalidInput, QueuesiteError

if TYPE_CHECKING:
    QueueModelForm = forms.ModelForm[Queue]
else:
    QueueModelForm = forms.ModelForm  # which takes no parameter at run time


class QueueForm(QueueModelForm):
    """A queue's settings, checked by the rules of the services."""

    with_dlq = forms.BooleanField(
        label="with a dead-letter queue",
        required=False,
        initial=True,
        help_text="created beside the queue, as NAME-dlq",
    )

    class Meta:
        model = Queue
        fields = ("name", *services.SETTINGS)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        handlers = registry.all_handlers()
        names = set(handlers) | ({self.instance.handler} if self.instance.pk else set())
        widget = UnfoldAdminSelectWidget(
            choices=[
                (name, f"{name}: {handlers[name].summary}" if name in handlers else f"{name} (not registered)")
                for name in sorted(names)
            ]
        )
        if "handler" in self.fields:
            self.fields["handler"].widget = widget
        if self.instance.pk is None and "concurrency" in self.fields:
            self.fields["concurrency"].initial = get_config().default_concurrency

    def clean(self) -> dict[str, Any]:
        """The rules of the services, as errors of their fields."""
        cleaned = super().clean() or self.cleaned_data
        settings = {name: cleaned[name] for name in services.SETTINGS if name in cleaned}
        try:
            if self.instance.pk is None and "name" in cleaned:
                prefix = get_config().queue_name_prefix
                naming.validate_name(cleaned["name"], prefix=prefix, with_dlq=cleaned.get("with_dlq", True))
            services.validate_settings(settings, current=self.instance if self.instance.pk else None)
        except InvalidInput as error:
            self.add_error(error.field if error.field in self.fields else None, str(error))
        return cleaned


@admin.register(Queue)
class QueueAdmin(ModelAdmin):
    """Definitions of queues; saving one creates or changes it in SQS too."""

    form = QueueForm
    list_display = (
        "name",
        "handler",
        "concurrency",
        "priority",
        "paused",
        "depth_visible",
        "depth_observed_at",
        "crash_count",
    )
    list_filter = ("paused", "handler")
    search_fields = ("name",)
    actions = ("pause", "resume", "notify")

    def get_readonly_fields(self, request: HttpRequest, obj: Queue | None = None) -> tuple[str, ...]:
        """A queue's name is fixed in SQS; what is observed is not edited."""
        return () if obj is None else ("name", "queue_url", "dlq_url", "created_at", "updated_at", "synced_at")

    def get_fields(self, request: HttpRequest, obj: Queue | None = None) -> tuple[str, ...]:
        """The settings, and for a queue that exists what belongs to it."""
        if obj is None:
            return ("name", "with_dlq", *services.SETTINGS)
        return ("name", *services.SETTINGS, "queue_url", "dlq_url", "created_at", "updated_at", "synced_at")

    def save_model(self, request: HttpRequest, obj: Queue, form: forms.ModelForm[Queue], change: bool) -> None:
        """Create or change the queue through the services."""
        settings = {name: form.cleaned_data[name] for name in services.SETTINGS}
        if change:
            services.update(obj.name, {name: settings[name] for name in form.changed_data if name in settings})
        else:
            created = services.create(obj.name, with_dlq=form.cleaned_data["with_dlq"], settings=settings)
            obj.pk = created.pk

    def delete_model(self, request: HttpRequest, obj: Queue) -> None:
        """Delete the queue here and in SQS."""
        services.delete(obj.name)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Queue]) -> None:
        """Delete the chosen queues here and in SQS."""
        for queue in queryset:
            services.delete(queue.name)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show what a service refused as a message, on the same page."""
        return self._explaining(
            request, lambda: super(QueueAdmin, self).changeform_view(request, object_id, form_url, extra_context)
        )

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Likewise."""
        return self._explaining(request, lambda: super(QueueAdmin, self).delete_view(request, object_id, extra_context))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, str] | None = None) -> HttpResponse:
        """Likewise."""
        return self._explaining(request, lambda: super(QueueAdmin, self).changelist_view(request, extra_context))

    @admin.action(description="Pause", permissions=["change"])
    def pause(self, request: HttpRequest, queryset: QuerySet[Queue]) -> None:
        """Pause the chosen queues."""
        self._each(request, queryset, lambda name: services.set_paused(name, True), "paused")

    @admin.action(description="Resume", permissions=["change"])
    def resume(self, request: HttpRequest, queryset: QuerySet[Queue]) -> None:
        """Resume the chosen queues."""
        self._each(request, queryset, lambda name: services.set_paused(name, False), "resumed")

    @admin.action(description="Notify (look at it now)", permissions=["change"])
    def notify(self, request: HttpRequest, queryset: QuerySet[Queue]) -> None:
        """Have the chosen queues looked at."""
        self._each(request, queryset, lambda name: services.notify(name) is not None, "notified")

    def _each(self, request: HttpRequest, queryset: QuerySet[Queue], act: Callable[[str], bool], done: str) -> None:
        names = [queue.name for queue in queryset]
        changed = [name for name in names if act(name)]
        skipped = [name for name in names if name not in changed]
        self.message_user(request, f"{len(changed)} {done}" + (f", unchanged: {', '.join(skipped)}" if skipped else ""))

    def _explaining(self, request: HttpRequest, view: Callable[[], HttpResponse]) -> HttpResponse:
        try:
            return view()
        except QueuesiteError as error:
            if request.method != "POST":
                raise
            self.message_user(request, str(error), messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())
