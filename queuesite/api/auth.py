"""Who calls the API and what they may do: bearer tokens and the admin's session, with Django's permissions.

Everything here runs before a request's parameters are read, so a refusal does not reveal what exists.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest
from ninja.security import HttpBearer
from ninja.security.base import AuthBase
from ninja.throttling import BaseThrottle
from ninja.utils import check_csrf

from queuesite import tokens
from queuesite.foundation.config import get_config
from queuesite.foundation.databases import database_errors
from queuesite.foundation.errors import Forbidden, Throttled, Unauthenticated
from queuesite.foundation.home import PROGRAM

if TYPE_CHECKING:
    from django.contrib.auth.models import User

    from queuesite.models import Token

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True)
class Caller:
    """A user of the API, by a token or by the admin's session (`token` is None)."""

    user: User
    token: Token | None = None

    @property
    def name(self) -> str:
        """The user's name."""
        return self.user.get_username()

    @property
    def ident(self) -> str:
        """The key under which the caller's requests are counted."""
        return f"user-{self.user.pk}" if self.token is None else f"token-{self.token.pk}"

    def may(self, *permissions: str) -> bool:
        """Whether the user has all of these permissions (`app.codename`)."""
        return self.user.has_perms(permissions)


def caller(request: HttpRequest) -> Caller:
    """Who sent the request. The operation must require authentication."""
    found: Caller = request.auth  # type: ignore[attr-defined]
    return found


def _permit(found: Caller, request: HttpRequest, permissions: Sequence[str]) -> Caller:
    if found.token is not None and found.token.read_only and request.method not in SAFE:
        raise Forbidden("this token is read-only; use one that may write")
    if not found.may(*permissions):
        raise Forbidden(f"this needs the permissions {', '.join(permissions)}, which {found.name} lacks")
    return found


class TokenAuth(HttpBearer):
    """Accepts `Authorization: Bearer qs_…`. A wrong header is refused, even if there is a valid session."""

    openapi_description = f"A token. Create it with `{PROGRAM} token create USER` or in the admin."

    def __init__(self, permissions: Sequence[str] = ()) -> None:
        self.permissions = permissions
        super().__init__()

    def __call__(self, request: HttpRequest) -> Any:
        """The caller, or None if there is no such header. Raises `Unauthenticated` and `Forbidden`."""
        header = request.headers.get(self.header)
        if header is None:
            return None
        scheme, _, text = header.partition(" ")
        if scheme.lower() != self.openapi_scheme:
            raise Unauthenticated(f"Authorization has the scheme {scheme[:20]!r}; expected 'Bearer TOKEN'")
        return self.authenticate(request, text.strip())

    def authenticate(self, request: HttpRequest, token: str) -> Any:
        """The caller. The error does not say whether a token is unknown, expired or revoked."""
        with database_errors():
            found = tokens.find(token)
            if found is None:
                raise Unauthenticated(f"the token is not valid; create one with `{PROGRAM} token create USER`")
            return _permit(Caller(found.user, found), request, self.permissions)


class SessionAuth(AuthBase):
    """Accepts the admin's session, for the admin and the docs page. Requests that change something need CSRF tokens."""

    openapi_type = "apiKey"
    openapi_in = "cookie"
    openapi_name = settings.SESSION_COOKIE_NAME
    openapi_description = "The admin's session; send `X-CSRFToken` too, unless the request is a GET."
    #: Makes the docs page send the CSRF token.
    csrf = True

    def __init__(self, permissions: Sequence[str] = ()) -> None:
        self.permissions = permissions
        super().__init__()

    def __call__(self, request: HttpRequest) -> Any:
        """The caller, or None if nobody is logged in to the admin. Raises `Forbidden`."""
        with database_errors():
            user = request.user
            if not (user.is_authenticated and user.is_active and user.is_staff):
                return None
            if request.method not in SAFE and check_csrf(request) is not None:
                raise Forbidden("the CSRF token is missing or wrong; send X-CSRFToken, or use a bearer token")
            return _permit(Caller(user), request, self.permissions)


def needs(*permissions: str) -> list[Callable[[HttpRequest], Any]]:
    """The `auth` of an operation that requires all of these permissions, or only authentication if there are none."""
    return [TokenAuth(permissions), SessionAuth(permissions)]


class _Open(AuthBase):
    """Lets everybody in if API_OPEN names the operation."""

    # ninja leaves guards without a type out of the schema.
    openapi_type = "none"

    def __init__(self, operation: str) -> None:
        self.operation = operation
        super().__init__()
        del self.openapi_security_schema

    def __call__(self, request: HttpRequest) -> Any:
        """True, or None if it is not open."""
        return True if self.operation in get_config().api_open else None


def open_or_known(operation: str, guards: list[Callable[[HttpRequest], Any]]) -> list[Callable[[HttpRequest], Any]]:
    """The `auth` of an operation that API_OPEN may open."""
    return [_Open(operation), *guards]


class CallerThrottle(BaseThrottle):
    """Allows each caller API_REQUESTS_PER_MINUTE in each minute of the clock, counted in this web process.

    Counting is atomic and keeps no state in this object, which threads share; ninja's own throttle does keep some.
    """

    def allow_request(self, request: HttpRequest) -> bool:
        """Count the request. Raises `Throttled`."""
        limit = get_config().api_requests_per_minute
        found = getattr(request, "auth", None)
        if limit == 0 or not isinstance(found, Caller):
            return True
        now = time.time()
        key = "throttle-" + hashlib.sha256(f"{found.ident}-{now // 60}".encode()).hexdigest()
        cache.add(key, 0, 120)
        return cache.incr(key) <= limit

    def wait(self) -> int:
        """Seconds to the next minute."""
        return 60 - int(time.time()) % 60


def check_throttle(request: HttpRequest) -> None:
    """Apply the throttle to a view that is not an operation of ninja's. Raises `Throttled`."""
    throttle = CallerThrottle()
    if not throttle.allow_request(request):
        raise Throttled("too many requests", wait=throttle.wait())
