"""The arguments of `@handler` that are checked before its function is known. Each refusal is a `ValueError`."""

from __future__ import annotations

import math
from typing import Any

from pydantic import BaseModel

from queues import naming
from queues.settings import MAX_HANDLER_NAME
from queues.sqs import MAX_VISIBILITY_SECONDS
from queuesite.foundation.errors import InvalidInput


def check(name: Any, *, timeout: Any, options: Any, queue: Any) -> None:
    """Raise `ValueError`, whose text begins with the decorator, for an argument that makes no sense."""
    # `@handler` without its brackets passes the function.
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_HANDLER_NAME:
        raise ValueError(
            f"@handler({name!r}): expected a name of 1 to {MAX_HANDLER_NAME} characters, as in @handler('orders')"
        )
    if timeout is not None and not (_is_number(timeout) and 0 < timeout <= MAX_VISIBILITY_SECONDS):
        raise ValueError(
            f"@handler({name!r}, timeout={timeout!r}): expected above 0 and at most {MAX_VISIBILITY_SECONDS} seconds "
            "(12 h), or None for no limit"
        )
    if options is not None and not (isinstance(options, type) and issubclass(options, BaseModel)):
        raise ValueError(f"@handler({name!r}, options={options!r}): expected a class of pydantic's BaseModel")
    if queue is not None:
        _check_queue(name, queue)


def _check_queue(name: str, queue: Any) -> None:
    if isinstance(queue, str) and queue.startswith(("http://", "https://")):
        return
    try:
        if not isinstance(queue, str):
            raise InvalidInput("expected a queue's name or URL")
        naming.check(queue)
    except InvalidInput as error:
        raise ValueError(f"@handler({name!r}, queue={queue!r}): {error}") from None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
