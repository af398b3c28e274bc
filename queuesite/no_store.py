"""Nothing that a page or the API answers is kept by a browser or a proxy, unless the view says that it may be."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase


def no_store_middleware(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Django's middleware. Static files and the admin's own views set their headers themselves."""

    def handle(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        if "no-store" not in response.get("Cache-Control", "") and "max-age" not in response.get("Cache-Control", ""):
            response.headers["Cache-Control"] = "no-store"
        return response

    return handle
