"""Who acts in a request, for the events that it causes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from queuesite.api.auth import Caller
from queuesite.foundation.actor import acting


class ActingMiddleware:
    """Has the request's caller answer for what it does. Nobody is looked up unless an event asks for it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        with acting(partial(_name, request)):
            return self._get_response(request)


def _name(request: HttpRequest) -> str:
    caller = getattr(request, "auth", None)
    if isinstance(caller, Caller):
        return caller.name
    user = getattr(request, "user", None)
    return user.get_username() if user is not None and user.is_authenticated else ""
