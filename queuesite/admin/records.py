"""Pages of records that the system writes itself: our own templates in the theme, which update themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode

from django import forms
from django.contrib import admin
from django.contrib.admin.options import IS_POPUP_VAR
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponsePermanentRedirect, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, include, path, reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.text import capfirst
from unfold.admin import ModelAdmin

from queuesite import live


class RecordsAdmin(ModelAdmin):
    """The base of pages with our own templates, of records that nobody adds, changes or deletes by hand."""

    #: Where the pages are below /admin/: the list, and under it each record by its id or name.
    at: str
    #: The converter of a record's id in an address; ids with slashes need `path`.
    key = "str"

    def route(self, pattern: str, view: Callable[..., HttpResponseBase], name: str) -> URLPattern:
        """A page below the list, which `address("APP_MODEL_NAME")` gives the address of."""
        made: URLPattern = path(
            pattern, self.admin_site.admin_view(view), name=f"{self.opts.app_label}_{self.opts.model_name}_{name}"
        )
        return made

    def get_urls(self) -> list[URLPattern]:
        """The pages below the list; classes put theirs in front."""
        return [
            self.route("", self.changelist_view, "changelist"),
            self.route(f"<{self.key}:object_id>/history/", self.history_view, "history"),
            self.route(f"<{self.key}:object_id>/", self.change_view, "change"),
        ]

    @property
    def urls(self) -> list[URLPattern]:
        """Nothing at Django's place: `placed` has these pages at their own."""
        return []

    def pages(self) -> list[URLPattern | URLResolver]:
        """The addresses below /admin/."""
        return [path(f"{self.at}/", include(self.get_urls()))]

    def old_pages(self) -> list[URLPattern | URLResolver]:
        """The addresses that these pages had before they had their own; they redirect."""
        moved = self.admin_site.admin_view(self.moved_view)
        old = f"{self.opts.app_label}/{self.opts.model_name}/"
        return [path(old, moved), path(f"{old}<path:rest>", moved)]

    def moved_view(self, request: HttpRequest, rest: str = "") -> HttpResponse:
        """Redirect an old address to the page that it was of."""
        return moved(request, f"{reverse('admin:index')}{self.at}/{quote(rest.removesuffix('change/'))}")

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

    def require_view(self, request: HttpRequest) -> None:
        """Raise `PermissionDenied` unless the user may see these records."""
        if not self.has_view_permission(request):
            raise PermissionDenied

    def may(self, request: HttpRequest, verb: str) -> bool:
        """Return whether the user has this permission (`change`, `delete`) for the records, as the API checks it."""
        return bool(request.user.has_perm(f"{self.opts.app_label}.{verb}_{self.opts.model_name}"))

    def page(self, request: HttpRequest, partial: str, title: str, **context: Any) -> TemplateResponse:
        """Render a page around a partial template, or only the partial if the page asks for an update.

        In the context, `poll` says whether the page updates itself.
        """
        if live.is_update(request):
            return TemplateResponse(request, partial, {"opts": self.opts, "csrf_token": live.NO_TOKEN, **context})
        everything = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": title,
            "partial": partial,
            # Not `self.media`, which also has the scripts of Django's own lists and forms.
            "media": forms.Media(getattr(self, "Media", None)),
            "is_popup": IS_POPUP_VAR in request.GET,
            "crumbs": self._crumbs(title),
            **context,
        }
        return TemplateResponse(request, "queuesite/live_page.html", everything)

    def _crumbs(self, title: str) -> list[dict[str, Any]]:
        """The list's name and, unless this is the list, the page's title, as `header_title.html` shows them."""
        plural = str(self.opts.verbose_name_plural)
        if title.lower() == plural.lower():
            return [{"title": title, "own": True}]
        listed = address(f"{self.opts.app_label}_{self.opts.model_name}_changelist")
        return [{"title": capfirst(plural), "link": listed, "own": True}, {"title": title, "own": True}]


def address(name: str, *args: object, **query: object) -> str:
    """The address of a page of the admin. Its query has the values that are not None."""
    given = {key: value for key, value in query.items() if value is not None}
    return reverse(f"admin:{name}", args=args) + (f"?{urlencode(given)}" if given else "")


def back_to(request: HttpRequest, otherwise: str) -> str:
    """The page to return to: that of the query's `next` if it is one of ours."""
    wanted = request.GET.get("next", "")
    return wanted if wanted.startswith("/") and url_has_allowed_host_and_scheme(wanted, None) else otherwise


def moved(request: HttpRequest, address: str) -> HttpResponse:
    """Redirect for good to an address, with the query of the request."""
    query = request.META.get("QUERY_STRING", "")
    return HttpResponsePermanentRedirect(f"{address}{'?' if query else ''}{query}")


def placed() -> list[URLPattern | URLResolver]:
    """The pages of records, each at its own place below /admin/, after the redirects from their old addresses."""
    found = [page for page in admin.site._registry.values() if isinstance(page, RecordsAdmin)]
    return [*(one for page in found for one in page.old_pages()), *(one for page in found for one in page.pages())]
