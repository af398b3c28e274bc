"""The site's addresses."""

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.templatetags.static import static
from django.urls import path, resolve, reverse
from django.views.generic import RedirectView

from jobs.admin import palette, status
from queuesite.admin import tables
from queuesite.admin.invitations import SetPassword
from queuesite.admin.password import password_change
from queuesite.admin.records import placed
from queuesite.api.root import api

# Here and not at Django's start, since masters, workers and consumers have no pages and would start 0.2 s later.
admin.autodiscover()
# The theme's site puts these before Django's.
admin.site.extra_urls = lambda: [status.url(), *tables.addresses(), *placed()]  # type: ignore[attr-defined]


def metrics(request: HttpRequest) -> HttpResponseBase:
    """The API's metrics at the address that Prometheus scrapes by default."""
    match = resolve(reverse("api:metrics"))
    answer: HttpResponseBase = match.func(request, *match.args, **match.kwargs)
    return answer


metrics.csrf_exempt = True  # type: ignore[attr-defined]  # as all of the API: a session's requests are checked there


def no_shortcut(request: HttpRequest, rest: str) -> HttpResponseBase:
    """Replaces Django's shortcut to an object's page on the site, which fails on ids that are not ObjectIds."""
    raise Http404("objects have no page other than that in the admin")


def favicon(request: HttpRequest) -> HttpResponseBase:
    """The icon, which browsers request here for pages that name none, such as the API's manual."""
    return HttpResponseRedirect(static("queuesite/favicon.svg"))


urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index"), name="home"),
    path("favicon.ico", favicon),
    path("admin/r/<path:rest>", no_shortcut),
    path("admin/password_change/", admin.site.admin_view(password_change)),
    path("admin/invitation/<uidb64>/<token>/", SetPassword.as_view(), name="set_password"),
    path("admin/palette/", admin.site.admin_view(palette.find), name="palette"),
    path("admin/", admin.site.urls),
    path("api/v1/", api.urls),
    path("metrics", metrics, name="metrics"),
]
