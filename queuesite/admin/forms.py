"""The base of Django's own lists and forms in the admin, with the product's words and form of times.

What Django's templates say is translated in `queuesite/locale`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from unfold.admin import ModelAdmin

from queuesite.templatetags.moments import moment


def at(field: str, words: str, otherwise: str = "never") -> Callable[[Any], SafeString | str]:
    """A column with a time in the viewer's zone, sorted by the field; `otherwise` is shown if there is none."""

    @admin.display(description=words, ordering=field)
    def shown(record: Any) -> SafeString | str:
        return moment(getattr(record, field), otherwise)

    return shown


class FormsAdmin(ModelAdmin):
    """The base of the pages of what people make: users, groups, tokens, …."""

    #: What is said if a record cannot be deleted.
    instead_of_deletion = ""

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list, under the name of what it lists."""
        title = capfirst(self.opts.verbose_name_plural)
        return super().changelist_view(request, {"title": title, **(extra_context or {})})  # type: ignore[no-any-return]

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """A form with one button that saves."""
        context |= {"show_save_and_add_another": False, "show_save_and_continue": False}
        return super().render_change_form(request, context, *args, **kwargs)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The question before a record is deleted."""
        record = self.get_object(request, unquote(object_id))
        context = {
            "instead": self.instead_of_deletion,
            "before": "" if record is None else self.before_deletion(record),
            **(extra_context or {}),
        }
        return super().delete_view(request, object_id, context)  # type: ignore[no-any-return]

    def before_deletion(self, record: Any) -> str:
        """What the question says before a record is deleted."""
        return ""

    def get_deleted_objects(
        self, objs: Iterable[models.Model], request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[Any]]:
        """What goes with these records, without the rows that only join two tables."""
        found, counts, lacking, protected = super().get_deleted_objects(objs, request)
        joining = [one._meta for one in apps.get_models(include_auto_created=True) if one._meta.auto_created]
        hidden = {str(self.opts.verbose_name_plural), *(str(one.verbose_name_plural) for one in joining)}
        shown = {name: count for name, count in counts.items() if str(name) not in hidden}
        return found, shown, lacking, protected
