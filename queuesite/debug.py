"""With DEBUG=1: who sees Django's error pages, and what they hide."""

from __future__ import annotations

from collections.abc import Callable
from types import FrameType
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseForbidden
from django.views.debug import SafeExceptionReporterFilter

from queuesite.foundation.masking import mask_addresses
from queuesite.foundation.rules import is_loopback

#: A proxy on this machine adds one of these headers for clients that may be on other machines.
_PROXIES = ("HTTP_FORWARDED", "HTTP_X_FORWARDED_FOR", "HTTP_X_REAL_IP")


class ReporterFilter(SafeExceptionReporterFilter):
    """Hides more than Django does: passwords in addresses, and secrets among the variables of the program.

    Django hides variables only with DEBUG=0, where nobody sees the page.
    """

    def cleanse_setting(self, key: Any, value: Any) -> Any:
        """`value` without the passwords of the addresses in it."""
        cleansed = super().cleanse_setting(key, value)
        return mask_addresses(str(cleansed)) if isinstance(cleansed, str) else cleansed  # some are lazy strings

    def is_active(self, request: HttpRequest | None) -> bool:
        """Hide variables and parameters that are marked as sensitive, even with DEBUG=1."""
        return True

    def get_traceback_frame_variables(self, request: Any, tb_frame: FrameType) -> Any:
        """The local variables of a frame."""
        found = super().get_traceback_frame_variables(request, tb_frame)
        return [(name, self.cleanse_setting(name, value)) for name, value in found]


def loopback_only(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware for DEBUG=1 that refuses requests from other machines, whatever address the server listens on.

    It also refuses host names that are not this machine's, without an error page: a web page from elsewhere could make
    its own name resolve to this machine and read the answer (DNS rebinding).
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        host = request.META.get("HTTP_HOST", "localhost")
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if (
            not is_loopback(request.META.get("REMOTE_ADDR") or "127.0.0.1")  # empty for a Unix socket
            or not is_loopback(name)
            or any(header in request.META for header in _PROXIES)
        ):
            return HttpResponseForbidden("DEBUG=1 serves this machine only; set DEBUG=0\n", content_type="text/plain")
        return get_response(request)

    return middleware
