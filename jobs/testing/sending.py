"""What was sent in the sandbox."""

from __future__ import annotations

import json
from typing import Any

from jobs.testing.sandbox import Sandbox, SentMessage, active
from queues.handlers import registry
from queues.sending.outgoing import text_body
from queuesite.foundation.errors import InvalidInput

ANY: Any = object()


def sent(queue: str | None = None) -> list[SentMessage]:
    """What was sent to this queue, or to all, in order; what has been handled since stays in it."""
    return [message for message in active().sent if queue in (None, message.queue)]


def assert_sent(queue: str, body: Any = ANY, *, count: int | None = None, **expected: Any) -> list[SentMessage]:
    """Return the messages to `queue` that carry `body` and have these options; `AssertionError` if there is none.

    `body` is text, or what was sent: it is compared as JSON. `expected` are `delay`, `group`, `deduplication_id` and
    `attributes`, of which a message may have more. `count` is how many such messages there must be (0: none).
    """
    sandbox = active()
    unknown = set(expected) - {"delay", "group", "deduplication_id", "attributes"}
    if unknown:
        raise TypeError(f"unexpected argument {sorted(unknown)[0]!r}")
    body_wanted = ANY if body is ANY else _value(_written(sandbox, queue, body))
    found = [
        message
        for message in sent(queue)
        if (body_wanted is ANY or _value(message.body) == body_wanted) and _matches(message, expected)
    ]
    if len(found) != count if count is not None else not found:
        wanted = ", ".join([*([] if body is ANY else [repr(body)]), *(f"{k}={v!r}" for k, v in expected.items())])
        lines = "".join(f"\n  {_described(message)}" for message in sandbox.sent) or "\n  nothing"
        what = f"{'a message' if count is None else f'{count} messages'} to {queue!r}{' with ' * bool(wanted)}{wanted}"
        raise AssertionError(f"expected {what}, found {len(found)}; sent were:{lines}")
    return found


def _written(sandbox: Sandbox, queue: str, body: Any) -> str:
    handler = registry.all_handlers().get(sandbox.queue(queue).handler)
    if handler is not None and handler.payload is not None and not isinstance(body, str):
        try:
            return handler.payload.body(body)
        except InvalidInput:
            pass  # what was sent to the queue by its name need not fit
    return text_body(body)


def _value(body: str) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body


def _matches(message: SentMessage, expected: dict[str, Any]) -> bool:
    wanted = dict(expected)
    attributes = {
        name: value if isinstance(value, bytes) else str(value)
        for name, value in (wanted.pop("attributes", None) or {}).items()
    }
    return attributes.items() <= dict(message.attributes).items() and all(
        getattr(message, name) == value for name, value in wanted.items()
    )


def _described(message: SentMessage) -> str:
    shown = {
        "delay": message.delay,
        "group": message.group,
        "attributes": dict(message.attributes) or None,
    }
    options = "".join(f", {name}={value!r}" for name, value in shown.items() if value is not None)
    return f"{message.queue}: {message.body[:200]}{options}"
