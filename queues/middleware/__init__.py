"""Middleware that is shipped, for HANDLER_MIDDLEWARE. Each needs a package that only its users install.

- `queues.middleware.opentelemetry`: a CONSUMER span for each attempt; requirements-opentelemetry.txt.
- `queues.middleware.sentry`: errors, and a `queue.process` span for each attempt; requirements-sentry.txt.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from importlib.util import find_spec
from inspect import iscoroutinefunction
from typing import Any, Protocol

from django.utils.decorators import sync_and_async_middleware

from queues.handlers.batching import Failure, MessageBatch, failures
from queues.handlers.contract import Message, Reject, Retry, Unavailable, is_outcome
from queues.handlers.middleware import Call, MissingPackage


class Span(Protocol):
    """What learns how an attempt ended."""

    def answered(self, answer: object) -> None:
        """The handler returned `answer`."""


#: Surrounds an attempt; the error of one that fails is raised at its yield.
Around = Callable[[Any], Generator[Span, None, None]]


def opentelemetry(get_response: Call) -> Call:
    """A CONSUMER span around each attempt, below the span that sent the message."""
    _require("opentelemetry.trace", "opentelemetry-api", "requirements-opentelemetry.txt")
    from queues.middleware import consumer_spans

    opentelemetry.close = consumer_spans.flush  # type: ignore[attr-defined]
    return _layer(get_response, consumer_spans.around)


def sentry(get_response: Call) -> Call:
    """Sends what handlers raise to Sentry, and a transaction with a `queue.process` span for each attempt."""
    _require("sentry_sdk", "sentry-sdk", "requirements-sentry.txt")
    from queues.middleware import sentry_transactions

    sentry.close = sentry_transactions.flush  # type: ignore[attr-defined]
    return _layer(get_response, sentry_transactions.around)


# The decorator is untyped for functions that are no views.
sync_and_async_middleware(opentelemetry)
sync_and_async_middleware(sentry)
#: X-Ray's header, for messages that were sent by AWS's own services.
opentelemetry.system_attributes = ("AWSTraceHeader",)  # type: ignore[attr-defined]
#: One span, or transaction, for a batch.
opentelemetry.batch_capable = sentry.batch_capable = True  # type: ignore[attr-defined]


def _require(module: str, package: str, file: str) -> None:
    if find_spec(module.partition(".")[0]) is None or find_spec(module) is None:
        raise MissingPackage(f"the package {package} is missing: pip install -r {file}")


def _layer(get_response: Call, around: Around) -> Call:
    surround = contextmanager(around)

    if iscoroutinefunction(get_response):

        @functools.wraps(get_response)
        async def layer(message: Message | MessageBatch) -> Any:
            with surround(message) as span:
                answer = await get_response(message)
                span.answered(answer)
            return answer

        return layer

    @functools.wraps(get_response)
    def plain_layer(message: Message | MessageBatch) -> Any:
        with surround(message) as span:
            answer = get_response(message)
            span.answered(answer)
        return answer

    return plain_layer


def outcome_of(answer: object) -> str:
    """What an answer or an error comes to: done, retry, rejected, unavailable or failed."""
    kind = answer if isinstance(answer, type) else type(answer)
    for outcome, name in ((Retry, "retry"), (Reject, "rejected"), (Unavailable, "unavailable")):
        if issubclass(kind, outcome):
            return name
    return "failed" if isinstance(answer, BaseException) else "done"


def reason_of(answer: object) -> str:
    """The reason of a `Reject`, which may be only its class, and whose text may raise."""
    try:
        return str(getattr(answer, "reason", "")) or "rejected"
    except Exception:
        return "rejected"


def failures_in(batch: MessageBatch, answer: object) -> dict[str, Failure]:
    """The messages of a batch that are not done, by id, as its handler's answer or error says."""
    ids = [message.id for message in batch]
    if isinstance(answer, BaseException) and not is_outcome(answer):
        return dict.fromkeys(ids, answer)
    try:
        return dict(failures(answer, ids))
    except Exception as error:
        return dict.fromkeys(ids, error)


def kinds_of(failed: Iterable[Failure]) -> list[BaseException]:
    """The errors among the failures of a batch, one of each class, and ten at most: a thousand may have one cause."""
    found: dict[type, BaseException] = {}
    for one in failed:
        if isinstance(one, BaseException) and outcome_of(one) == "failed":
            found.setdefault(type(one), one)
    return list(found.values())[:10]
