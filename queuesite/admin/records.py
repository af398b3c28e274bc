"""Pages of records that the system writes itself: our own templates in the theme, which update themselves."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib.admin.options import IS_POPUP_VAR
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.admin import ModelAdmin


class RecordsAdmin(ModelAdmin):
    """The base of pages with our own templates, of records that nobody adds, changes or deletes by hand."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Deny it: Django's own pages delete no records."""
        return False

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Redirect to the record's page, which shows what the system did; what people did is in the log."""
        self.require_view(request)
        return HttpResponseRedirect(address(f"{self.opts.app_label}_{self.opts.model_name}_change", object_id))

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Refuse it. Django's page would first read the record, in a way that some records do not support."""
        raise PermissionDenied

    def require_view(self, request: HttpRequest) -> None:
        """Raise `PermissionDenied` unless the user may see these records."""
        if not self.has_view_permission(request):
            raise PermissionDenied

    def may(self, request: HttpRequest, verb: str) -> bool:
        """Return whether the user has this permission (`change`, `delete`) for the records, as the API checks it."""
        return bool(request.user.has_perm(f"{self.opts.app_label}.{verb}_{self.opts.model_name}"))

    def page(self, request: HttpRequest, partial: str, title: str, **context: Any) -> TemplateResponse:
        """Render a page around a partial template, or only the partial if the page asks for an update.

        In the context, `poll` says whether the page updates itself, and `original` is the last part of its breadcrumb.
        """
        everything = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": title,
            "partial": partial,
            "media": self.media,
            "is_popup": IS_POPUP_VAR in request.GET,
            **context,
        }
        template = partial if request.headers.get("HX-Request") else "queuesite/live_page.html"
        return TemplateResponse(request, template, everything)


def address(name: str, *args: object, **query: object) -> str:
    """The address of a page of the admin. Its query has the values that are not None."""
    given = {key: value for key, value in query.items() if value is not None}
    return reverse(f"admin:{name}", args=args) + (f"?{urlencode(given)}" if given else "")
