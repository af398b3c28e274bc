"""Logs are events with fields: `log.info("job_completed", job_id=…, queue=…)`.

structlog renders them for a terminal or as JSON lines (LOG_FORMAT); what libraries log through the standard module
goes through the same renderer. Everything is written to stderr, apart from a command's output.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from contextvars import ContextVar, copy_context
from typing import Any, ParamSpec, TextIO, TypeVar, cast

import structlog
from structlog.typing import FilteringBoundLogger, Processor

from queuesite.foundation.log_tails import tails

P = ParamSpec("P")
R = TypeVar("R")


class _Stderr:
    """The error stream. Errors are swallowed: a log line must not end a process whose reader has died."""

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.flush()


_STDERR = cast(TextIO, _Stderr())

#: The id of the message that is being handled. A variable of our own, since binding a field takes a microsecond.
_message_id: ContextVar[str | None] = ContextVar("queuesite_message_id", default=None)
#: Adds `message_id` to every event of this thread's or task's context from now on.
log_message = _message_id.set


def _with_message(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    message_id = _message_id.get()
    if message_id is not None:
        event.setdefault("message_id", message_id)
    return event


def _into_tail(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    message_id = _message_id.get()
    if message_id is not None:
        tails.note(message_id, event)
    return event


_SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    _with_message,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]

_DICT_TRACEBACKS = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)


def get_logger(name: str) -> FilteringBoundLogger:
    """A logger whose events carry `source=name`."""
    return cast(FilteringBoundLogger, structlog.get_logger(source=name))


def bind(**fields: Any) -> None:
    """Add these fields to every event of this thread's context, for example the process's role and id."""
    structlog.contextvars.bind_contextvars(**fields)


def with_log_context(function: Callable[P, R]) -> Callable[P, R]:
    """Wrap `function` so that another thread runs it with this thread's log fields; a new thread has none."""
    context = copy_context()

    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        return context.run(function, *args, **kwargs)

    return run


def _without_refusals(record: logging.LogRecord) -> bool:
    """Log a refusal (403) without its traceback, which only shows our own check."""
    if getattr(record, "status_code", 500) < 500:
        record.exc_info = record.exc_text = None
    return True


def configure(level: str, fmt: str) -> None:
    """Set up structlog and the standard library's logging; called by Django with the LOGGING settings."""
    # No local variables in tracebacks: they include message bodies, passwords and tokens.
    renderer: list[Processor]
    if fmt == "json":
        renderer = [_DICT_TRACEBACKS, structlog.processors.JSONRenderer(default=str)]
    else:
        renderer = [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), pad_event_to=28, exception_formatter=structlog.dev.plain_traceback
            )
        ]
    number = logging.getLevelNamesMapping()[level]
    structlog.configure(
        processors=[*_SHARED, _into_tail, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(file=_STDERR),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(_STDERR)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_SHARED, structlog.stdlib.add_logger_name, _into_tail],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    # Django's own handlers, which it adds before it calls us, would print each line a second time.
    for name in ("django", "django.server"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    logging.getLogger("django.request").addFilter(_without_refusals)
    # These log every request, and django-q every step of every task, which would bury our own events.
    for noisy in ("boto3", "botocore", "urllib3", "pymongo", "asyncio", "uvicorn.access", "django.request", "django-q"):
        logging.getLogger(noisy).setLevel(max(number, logging.WARNING))


def configure_from_django(settings: dict[str, str]) -> None:
    """The callable of LOGGING_CONFIG."""
    configure(**settings)
