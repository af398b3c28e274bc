"""Limits the body of every API request before anything reads it, and makes every error a problem document.

While a request is handled, its body is in memory several times (bytes, text, objects). Three limits keep a web process
small: API_MAX_BODY_MB, the number of values in a body, and one large body at a time.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from queuesite.api import problems
from queuesite.foundation.config import get_config
from queuesite.foundation.errors import QueuesiteError, ServerError, TooLarge

PREFIXES = ("/api/", "/metrics")

#: Most values in a body. A thousand messages with ten attributes each have about 45,000; a dictionary takes 200 bytes.
MAX_VALUES = 100_000
#: In bytes: a larger body waits until no other large one is being handled, with no more than this in memory. The
#: second number is how long it waits, in seconds.
LARGE = 256 << 10
LARGE_WAIT = 30.0

_large_bodies = threading.Semaphore(1)
# A character class instead of alternatives: for each repetition of a group, re keeps a mark of 100 bytes.
_STRING = re.compile(rb'"[^"]*"')


class _Busy(ServerError):
    """Another large request is being handled."""

    public = "other large requests are being handled; try again"


def api_middleware(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware for the API's requests. It passes all others on unchanged."""

    def handle(request: HttpRequest) -> HttpResponseBase:
        if not request.path.startswith(PREFIXES):
            return get_response(request)
        try:
            with _body(request) as body:
                if body and request.content_type != "application/json":
                    return problems.problem(
                        problems.MEDIA, f"the body is {request.content_type or 'of no type'}; expected application/json"
                    )
                charset = (request.content_params or {}).get("charset", "utf-8")
                if body and charset.lower() not in {"utf-8", "utf8"}:
                    return problems.problem(problems.MEDIA, f"the body is in {charset[:40]}; JSON is in UTF-8")
                _refuse_too_many_values(body)
                return _as_problem(get_response(request))
        except QueuesiteError as error:
            return problems.answer(request, error)

    return handle


@contextmanager
def _body(request: HttpRequest) -> Iterator[bytes]:
    """Read the body, at most up to the limit. Without `Content-Length`, its length is not known before."""
    limit = get_config().api_max_body_mb << 20
    stated = request.META.get("CONTENT_LENGTH") or "0"
    if stated.isdigit() and int(stated) > limit:
        raise _too_large(f"{int(stated):,} bytes", limit)
    body = request.read(LARGE + 1)
    with _turn(len(body)):
        if len(body) > LARGE:
            body += request.read(limit - LARGE)
        if len(body) > limit:
            raise _too_large(f"more than {limit:,} bytes", limit)
        request._body = body  # as HttpRequest.body does, which has no limit for requests without a Content-Length
        yield body


def _too_large(size: str, limit: int) -> TooLarge:
    return TooLarge(f"the request has {size}; the API reads at most {limit:,} (API_MAX_BODY_MB): send several requests")


def _refuse_too_many_values(body: bytes) -> None:
    # Most bodies are too small to hold so many values.
    if len(body) > MAX_VALUES:
        skeleton = _STRING.sub(b"", body.replace(b"\\\\", b"").replace(b'\\"', b""))
        values = skeleton.count(b",") + skeleton.count(b"[") + skeleton.count(b"{")
        if values > MAX_VALUES:
            raise TooLarge(
                f"the request has {values:,} JSON values; the API accepts at most {MAX_VALUES:,}: "
                "send several requests, or message bodies as text"
            )


@contextmanager
def _turn(size: int) -> Iterator[None]:
    if size <= LARGE:
        yield
        return
    if not _large_bodies.acquire(timeout=LARGE_WAIT):
        raise _Busy(_Busy.public)
    try:
        yield
    finally:
        _large_bodies.release()


def _as_problem(response: HttpResponseBase) -> HttpResponseBase:
    """Replace Django's own HTML answers (no such address, wrong method, wrong host) by problem documents."""
    if response.status_code < 400 or response.headers.get("Content-Type") == problems.MEDIA_TYPE:
        return response
    kind = problems.BY_STATUS.get(response.status_code)
    if kind is None:
        kind = problems.INTERNAL if response.status_code >= 500 else problems.MALFORMED
    headers = {name: response.headers[name] for name in ("Allow", "Retry-After") if name in response.headers}
    answer: HttpResponse = problems.problem(kind, kind.meaning, headers=headers)
    return answer
