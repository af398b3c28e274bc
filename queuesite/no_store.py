"""Keeps browsers and proxies from caching pages and API answers, unless the view allows it."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase


def no_store_middleware(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware. Static files and the admin's own views set their own headers."""

    def handle(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        if "no-store" not in response.get("Cache-Control", "") and "max-age" not in response.get("Cache-Control", ""):
            response.headers["Cache-Control"] = "no-store"
        return response

    return handle
