"""Errors as RFC 9457 problem details, with the only map from our error classes to statuses."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ninja.errors
from django.core.exceptions import RequestDataTooBig
from django.db import DatabaseError
from django.http import Http404, HttpRequest, HttpResponse
from pydantic.alias_generators import to_camel

from queuesite.foundation import errors
from queuesite.foundation.databases import MongoError, explained
from queuesite.foundation.logs import get_logger
from queuesite.foundation.public import public_text

log = get_logger(__name__)

#: Fields whose parts have the names that handlers give them.
_OPEN = frozenset({"handler_options"})
MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True)
class Kind:
    """A kind of problem. `slug` makes its `type`, a URN that never changes; `meaning` is for the docs page."""

    status: int
    slug: str
    title: str
    meaning: str

    @property
    def type(self) -> str:
        """The problem's `type`."""
        return f"urn:queuesite:problem:{self.slug}"


MALFORMED = Kind(400, "malformed", "Malformed request", "The request cannot be parsed; for example, it is not JSON.")
UNAUTHENTICATED = Kind(401, "unauthenticated", "Not authenticated", "The request has no valid token and no session.")
FORBIDDEN = Kind(403, "forbidden", "Forbidden", "A permission is missing, the token is read-only, or CSRF failed.")
NOT_FOUND = Kind(404, "not-found", "Not found", "The named object does not exist.")
NOT_ALLOWED = Kind(405, "method-not-allowed", "Method not allowed", "The address does not support this method.")
TIMEOUT = Kind(408, "request-timeout", "Request timeout", "The request was not complete within a minute.")
CONFLICT = Kind(409, "conflict", "Conflict", "The state of the system does not allow this now.")
QUEUE_MISSING = Kind(409, "queue-missing", "Queue missing in SQS", "The queue is not in SQS; `POST …/sync` creates it.")
TOO_LARGE = Kind(413, "too-large", "Request too large", "The request is larger than allowed.")
MEDIA = Kind(
    415, "unsupported-media-type", "Unsupported media type", "The body must be JSON: `Content-Type: application/json`."
)
INVALID = Kind(422, "invalid-input", "Invalid input", "Some values are wrong; `errors` lists them.")
THROTTLED = Kind(429, "throttled", "Too many requests", "Too many requests; wait as long as `Retry-After` says.")
INTERNAL = Kind(500, "internal", "Internal error", "Queuesite failed and has logged the error.")
SERVER = Kind(502, "server-refused", "A server refused", "SQS refused the request or the credentials.")
UNAVAILABLE = Kind(503, "unavailable", "A server is away", "MongoDB, SQS or Django's database does not answer.")

#: An error has the kind of its class, or else of the nearest base class that is listed.
KINDS: Mapping[type[Exception], Kind] = {
    errors.InvalidInput: INVALID,
    errors.NotFound: NOT_FOUND,
    errors.Conflict: CONFLICT,
    errors.StaleTransition: CONFLICT,
    errors.Unauthenticated: UNAUTHENTICATED,
    errors.Forbidden: FORBIDDEN,
    errors.TooLarge: TOO_LARGE,
    errors.Throttled: THROTTLED,
    errors.QueueMissing: QUEUE_MISSING,
    errors.SqsDenied: SERVER,
    errors.SqsRejected: SERVER,
    errors.ServerError: UNAVAILABLE,
    ninja.errors.ValidationError: INVALID,
    ninja.errors.AuthenticationError: UNAUTHENTICATED,
    ninja.errors.AuthorizationError: FORBIDDEN,
    ninja.errors.Throttled: THROTTLED,
    RequestDataTooBig: TOO_LARGE,
    Http404: NOT_FOUND,
    DatabaseError: UNAVAILABLE,
    Exception: INTERNAL,
}

#: The kinds of errors that are not ours, by their status.
BY_STATUS: Mapping[int, Kind] = {
    kind.status: kind
    for kind in (
        MALFORMED,
        UNAUTHENTICATED,
        FORBIDDEN,
        NOT_FOUND,
        NOT_ALLOWED,
        TIMEOUT,
        TOO_LARGE,
        MEDIA,
        THROTTLED,
        UNAVAILABLE,
    )
}


def kind_of(error: Exception) -> Kind:
    """The kind of an error."""
    if type(error) is ninja.errors.HttpError:
        return BY_STATUS.get(error.status_code, MALFORMED)
    return next(KINDS[ancestor] for ancestor in type(error).__mro__ if ancestor in KINDS)


def problem(
    kind: Kind,
    detail: str,
    *,
    fields: Sequence[tuple[str, str]] = (),
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> HttpResponse:
    """An answer of this kind. `fields` says for each field what is wrong with it; `more` has further members."""
    content: dict[str, Any] = {"type": kind.type, "title": kind.title, "status": kind.status, "detail": detail}
    if fields:
        content["errors"] = [{"field": name, "message": message} for name, message in fields]
    content.update(more)
    return HttpResponse(json.dumps(content), status=kind.status, content_type=MEDIA_TYPE, headers=headers)


def answer(request: HttpRequest, error: Exception, **more: Any) -> HttpResponse:
    """The answer to a request that ended in `error`, which is logged unless it is the caller's fault.

    `more` has further members.
    """
    if isinstance(error, MongoError):
        error = explained(error)
    kind = kind_of(error)
    detail, fields, headers = _described(error, kind)
    if kind is INTERNAL:
        log.error("api_failed", method=request.method, path=request.path, exc_info=error)
    elif isinstance(error, errors.ServerError | DatabaseError):
        log.warning("api_server_away", method=request.method, path=request.path, error=str(error))
    return problem(kind, detail, fields=fields, headers=headers, **more)


def _described(error: Exception, kind: Kind) -> tuple[str, list[tuple[str, str]], dict[str, str]]:
    headers: dict[str, str] = {}
    if isinstance(error, ninja.errors.ValidationError):
        fields = [(_field_of(item["loc"]), _message_of(item)) for item in error.errors]
        return f"{len(fields)} {'value is' if len(fields) == 1 else 'values are'} wrong", fields, headers
    if kind is UNAUTHENTICATED:
        headers["WWW-Authenticate"] = 'Bearer realm="queuesite"'
    if isinstance(error, errors.Throttled):
        headers["Retry-After"] = str(error.wait)
    if isinstance(error, ninja.errors.Throttled):
        return "more requests than API_REQUESTS_PER_MINUTE allows; wait", [], headers
    if isinstance(error, ninja.errors.AuthenticationError):
        return "send a token: Authorization: Bearer TOKEN", [], headers
    if isinstance(error, errors.InvalidInput):
        fields = [*error.fields] or ([(error.field, str(error))] if error.field else [])
        return str(error), [(camel(name), message) for name, message in fields], headers
    if kind is not INTERNAL and isinstance(error, errors.QueuesiteError):
        return public_text(error), [], headers
    if kind is not INTERNAL and isinstance(error, ninja.errors.HttpError):
        return str(error), [], headers
    return kind.meaning, [], headers


def camel(name: str) -> str:
    """The name of a field, or the path to it, as in requests and answers."""
    first, _, rest = name.partition(".")
    if first in _OPEN:
        return f"{to_camel(first)}.{rest}" if rest else to_camel(first)
    return ".".join(to_camel(part) if "_" in part else part for part in name.split("."))


def _field_of(location: Sequence[str | int]) -> str:
    source, *path = location
    if source == "body" and len(path) > 1:
        path = path[1:]  # the name of our function's parameter means nothing to callers
    elif source == "body":
        return "body"
    elif path:
        path = path[-1:]  # parameters are not nested
    return ".".join(part for part in map(str, path) if not part.startswith("<"))


def _message_of(item: Mapping[str, Any]) -> str:
    text = str(item["msg"]).removeprefix("Value error, ")
    return text[:1].lower() + text[1:]
