"""A page that says which server is away, in place of a fault of ours."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponse, HttpResponseBase
from django.shortcuts import render

from queuesite.databases import database_errors, mongodb_errors
from queuesite.errors import DatabaseUnavailable, MongoUnavailable, ServerError
from queuesite.logs import get_logger

log = get_logger(__name__)


class OutageMiddleware:
    """Answers 503 where a server that we depend on was at fault. The API answers its own errors before."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Pass on."""
        return self._get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """The page; its address and reason are for the log, since anybody may see it."""
        try:
            with mongodb_errors(), database_errors():
                raise exception
        except ServerError as error:
            log.error("page_failed", path=request.path, error=str(error))
            server = {MongoUnavailable: "MongoDB", DatabaseUnavailable: "Django's database"}.get(type(error), "SQS")
            return render(request, "503.html", {"server": server}, status=503)
        except Exception:
            return None
