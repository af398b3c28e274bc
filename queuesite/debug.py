"""DEBUG=1: who sees Django's error pages, and what is on them."""

from __future__ import annotations

from collections.abc import Callable
from types import FrameType
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseForbidden
from django.views.debug import SafeExceptionReporterFilter

from queuesite.foundation.masking import mask_addresses
from queuesite.foundation.rules import is_loopback

#: A proxy on this machine adds one of them, and whoever is behind it is not on this machine.
_PROXIES = ("HTTP_FORWARDED", "HTTP_X_FORWARDED_FOR", "HTTP_X_REAL_IP")


class ReporterFilter(SafeExceptionReporterFilter):
    """Hides more than Django does: passwords in addresses, and secrets among the variables of the program.

    Django hides variables only with DEBUG=0, where nobody sees the page.
    """

    def cleanse_setting(self, key: Any, value: Any) -> Any:
        """`value` without the passwords of the addresses in it."""
        cleansed = super().cleanse_setting(key, value)
        return mask_addresses(str(cleansed)) if isinstance(cleansed, str) else cleansed  # str(): some are lazy

    def is_active(self, request: HttpRequest | None) -> bool:
        """Whether variables and parameters that Django or we marked as sensitive are hidden."""
        return True

    def get_traceback_frame_variables(self, request: Any, tb_frame: FrameType) -> Any:
        """The local variables of a frame."""
        found = super().get_traceback_frame_variables(request, tb_frame)
        return [(name, self.cleanse_setting(name, value)) for name, value in found]


def loopback_only(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware of DEBUG=1: answers nobody on another machine, whatever server it runs in and wherever that listens.

    A name that is not this machine's is refused too, without an error page: a web page elsewhere may have its own name
    lead to this machine and then read what it gets.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        host = request.META.get("HTTP_HOST", "localhost")
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if (
            not is_loopback(request.META.get("REMOTE_ADDR") or "127.0.0.1")  # empty: a socket of this machine
            or not is_loopback(name)
            or any(header in request.META for header in _PROXIES)
        ):
            return HttpResponseForbidden("DEBUG=1 serves this machine only; set DEBUG=0\n", content_type="text/plain")
        return get_response(request)

    return middleware
