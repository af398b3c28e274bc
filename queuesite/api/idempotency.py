"""`Idempotency-Key`: a request that is repeated with its key within 24 hours gets the first answer again."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from queuesite.api.auth import caller
from queuesite.foundation.databases import database_errors
from queuesite.foundation.errors import Conflict, InvalidInput
from queuesite.models import IdempotentRequest

HEADER = "Idempotency-Key"
#: How long an answer is kept.
LIFETIME = timedelta(hours=24)
MAX_KEY = 255
_KEY = re.compile(rf"[!-~]{{1,{MAX_KEY}}}")

Answer = tuple[int, dict[str, Any]]


def once(request: HttpRequest, key: str | None, act: Callable[[], Answer]) -> HttpResponse:
    """The answer of `act`, which is called at most once for a user's key. If it raises, it must have done nothing.

    Raises `Conflict` while the first request with the key is under way, and if its process died before it answered,
    since nobody knows then what was done. Raises `InvalidInput` if the key came with another request before.
    """
    if key is None:
        return respond(*act())
    if not _KEY.fullmatch(key):
        raise InvalidInput(f"{HEADER} has 1 to {MAX_KEY} printable ASCII characters without spaces", field=HEADER)
    fingerprint = hashlib.sha256(f"{request.method} {request.path}\n".encode() + request.body).hexdigest()
    with database_errors():
        IdempotentRequest.objects.filter(created_at__lt=timezone.now() - LIFETIME).delete()
        row, first = IdempotentRequest.objects.get_or_create(
            owner=caller(request).user, key=key, defaults={"fingerprint": fingerprint}
        )
    if not first:
        return _repeated(row, fingerprint)
    try:
        status, answer = act()
    except BaseException:
        with database_errors():
            row.delete()
        raise
    row.status, row.answer = status, answer
    with database_errors():
        row.save(update_fields=["status", "answer"])
    return respond(status, answer)


def _repeated(row: IdempotentRequest, fingerprint: str) -> HttpResponse:
    if row.fingerprint != fingerprint:
        raise InvalidInput(
            f"{HEADER} {row.key!r} came with another request less than 24 h ago; choose a new key for a new request",
            field=HEADER,
        )
    if row.status is None:
        raise Conflict(
            f"the first request with {HEADER} {row.key!r} is under way, or its process died before it was answered; "
            "repeat this request; if the error persists, check the queue's messages"
        )
    return respond(row.status, row.answer or {}, replayed=True)


def respond(status: int, answer: dict[str, Any], *, replayed: bool = False) -> HttpResponse:
    """The answer as JSON. A repeated one has the header `Idempotent-Replayed`."""
    response = HttpResponse(json.dumps(answer), status=status, content_type="application/json; charset=utf-8")
    if replayed:
        response["Idempotent-Replayed"] = "true"
    return response
