"""Answers that all requests to a web process share, because they are expensive."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2s
from time import monotonic
from typing import TypeVar

from django.core.cache import cache

from queuesite.foundation.config import get_config

#: Seconds beyond which an answer counts as slow.
SLOW_SECONDS = 0.2

T = TypeVar("T")


def shared(name: str, ask: Callable[[], T], about: object = None) -> T:
    """The result of `ask`. A slow result is reused for all users for ten times as long as it took.

    `about` is what the result depends on beside its name, such as filters; equal ones have the same `repr`.
    So pages that refresh every two seconds never keep a database busy, whatever the number of queues and users.
    """
    key = f"shared:{get_config().mongodb_name}:{name}"
    if about is not None:
        key += f":{blake2s(repr(about).encode(), digest_size=12).hexdigest()}"
    known: T | None = cache.get(key)
    if known is None:
        began = monotonic()
        known = ask()
        took = monotonic() - began
        if took > SLOW_SECONDS:
            cache.set(key, known, 10 * took)
    return known
