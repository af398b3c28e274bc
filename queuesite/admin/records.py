"""Pages of records that the system writes itself: our own templates within the theme, which ask for themselves anew."""

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
    """A model whose pages are our own, and which nobody adds, changes or deletes by hand."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Records are not deleted by Django's own pages."""
        return False

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """What the system does with its records is on their own pages; what people did is in the log."""
        self.require_view(request)
        return HttpResponseRedirect(address(f"{self.opts.app_label}_{self.opts.model_name}_change", object_id))

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Nobody deletes one. Django's page would read it before it says so, in a way that not all records allow."""
        raise PermissionDenied

    def require_view(self, request: HttpRequest) -> None:
        """Raises `PermissionDenied` where the user may not see these records."""
        if not self.has_view_permission(request):
            raise PermissionDenied

    def may(self, request: HttpRequest, verb: str) -> bool:
        """Whether the user has this permission (`change`, `delete`) for the records, as the API would ask."""
        return bool(request.user.has_perm(f"{self.opts.app_label}.{verb}_{self.opts.model_name}"))

    def page(self, request: HttpRequest, partial: str, title: str, **context: Any) -> TemplateResponse:
        """A page around a partial template, or the partial alone where the page itself asks for it anew.

        `poll` in the context: whether it does so. `original`: what its breadcrumb ends in.
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
    """The address of a page of the admin, with a query of what is not None."""
    given = {key: value for key, value in query.items() if value is not None}
    return reverse(f"admin:{name}", args=args) + (f"?{urlencode(given)}" if given else "")
