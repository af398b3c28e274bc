"""Answers to pages that keep themselves up to date: only what has changed, and nothing that a page must keep secret.

live.js asks for a page's own address with a header and the digests of the parts that it shows. The answer is the page's
live part, in which those parts are empty (`{% part %}`), or 304 if the answer would be the same as the last one.

Answers are compressed. Attackers could find out a secret in a compressed answer from its length if they also had a say
in the answer (BREACH), so these answers hold no CSRF token: the page puts its own into their forms.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2s

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import get_conditional_response

#: The header of a request for an update, as htmx sends it, and the header with the digests of a page's parts.
HEADER = "HX-Request"
PARTS = "X-Parts"
#: What stands in place of a CSRF token. Live pages fill in their own.
NO_TOKEN = "the-page-has-it"  # noqa: S105


def is_update(request: HttpRequest) -> bool:
    """Whether a page asks for its live part."""
    return request.headers.get(HEADER) == "true"


def shown_parts(request: HttpRequest) -> frozenset[str]:
    """The digests of the parts that the asking page shows. Empty unless it asks for an update."""
    return frozenset(request.headers.get(PARTS, "").split(",")) if is_update(request) else frozenset()


def digest(text: str) -> str:
    """A short digest of a part: 64 bits, since a page holds a few hundred parts."""
    return blake2s(text.encode(), digest_size=8).hexdigest()


def live_middleware(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware that answers 304 to an update that would change nothing."""

    def handle(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        if not (isinstance(response, HttpResponse) and request.method == "GET" and is_update(request)):
            return response
        if response.status_code != 200:
            return response
        etag = f'W/"{blake2s(response.content, digest_size=12).hexdigest()}"'
        response.headers["ETag"] = etag
        found = get_conditional_response(request, etag, None, response)
        assert found is not None
        return found

    return handle
