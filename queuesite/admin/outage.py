"""A page that says which server is away, instead of an internal error."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from django.http import HttpRequest
from django.http.response import HttpResponse, HttpResponseBase
from django.shortcuts import render

from queuesite.foundation.databases import database_errors, mongodb_errors
from queuesite.foundation.errors import DatabaseUnavailable, MongoUnavailable, ServerError
from queuesite.foundation.logs import get_logger

log = get_logger(__name__)

_NAMES: Mapping[type[ServerError], str] = {MongoUnavailable: "MongoDB", DatabaseUnavailable: "Django's database"}


class OutageMiddleware:
    """Answers 503 if a server that we depend on is at fault. The API answers its own errors itself."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self._get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Return the page. Anybody may see it, so it names neither address nor reason; the log has them."""
        try:
            with mongodb_errors(), database_errors():
                raise exception
        except ServerError as error:
            log.error("page_failed", path=request.path, error=str(error))
            server = next((name for kind, name in _NAMES.items() if isinstance(error, kind)), "SQS")
            return render(request, "503.html", {"server": server}, status=503)
        except Exception:
            return None
