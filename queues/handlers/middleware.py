"""HANDLER_MIDDLEWARE: code of the team's around each attempt, in Django's idiom.

    def timed(get_response):
        def middleware(message):
            began = time.monotonic()
            try:
                return get_response(message)
            finally:
                report(message.queue, time.monotonic() - began)
        return middleware

A factory gets the next layer, or the handler, and returns what is called with each message. What that returns or raises
is the attempt's outcome, as if the handler had. Django's decorators `async_only_middleware` and
`sync_and_async_middleware` mark what a factory takes: a plain one takes functions, not coroutine functions. Where a
layer and the handler differ, the layer is adapted as Django does it, which costs a change of threads for each message.

Around a handler of batches a layer is called once with the whole `MessageBatch`. So a factory must say whether its
layer takes one: `batch_capable = True`, or False to be left out there.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import time
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from asgiref.sync import async_to_sync, sync_to_async
from django.core.exceptions import MiddlewareNotUsed

from queues.handlers.batching import MessageBatch
from queues.handlers.contract import Message
from queues.sqs import NEEDED_ATTRIBUTES
from queuesite.foundation.config import get_config
from queuesite.foundation.errors import InvalidInput, QueuesiteError
from queuesite.foundation.logs import get_logger
from queuesite.foundation.threads import supervised

log = get_logger(__name__)

#: How long the end of a process waits for middleware to send what it has, in seconds.
CLOSE_SECONDS = 2.0

#: Takes a message, or a batch.
Call = Callable[[Any], Any]


class MiddlewareError(InvalidInput):
    """An entry of HANDLER_MIDDLEWARE cannot be used."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"HANDLER_MIDDLEWARE: {path}: {reason}")


class MissingPackage(QueuesiteError):
    """A package that a factory needs, and that only its users install, is missing."""


@dataclass(frozen=True)
class Middleware:
    """An entry of HANDLER_MIDDLEWARE, imported."""

    path: str
    factory: Callable[[Call], Any]

    def takes(self, *, is_async: bool) -> bool:
        """Whether it can surround coroutine functions, or plain ones."""
        marker, default = ("async_capable", False) if is_async else ("sync_capable", True)
        return bool(getattr(self.factory, marker, default))

    @property
    def takes_batches(self) -> bool | None:
        """Whether it surrounds handlers of batches; None: it does not say."""
        found = getattr(self.factory, "batch_capable", None)
        return found if isinstance(found, bool) else None

    def around(self, call: Call, *, is_async: bool) -> Call | None:
        """What it makes of the next layer; None if it says that it is not used."""
        try:
            made = self.factory(call)
        except MiddlewareNotUsed:
            return None
        except MissingPackage as error:
            raise MiddlewareError(self.path, str(error)) from error
        except Exception as error:
            raise MiddlewareError(self.path, f"it failed when it was built: {_told(error)}") from error
        if not callable(made):
            raise MiddlewareError(
                self.path, f"it returned {made!r}; expected a function that takes a message, as Django's middleware is"
            )
        if not is_async and inspect.iscoroutinefunction(made):
            raise MiddlewareError(
                self.path,
                "it returned a coroutine function; mark it with django.utils.decorators.async_only_middleware, or with "
                "sync_and_async_middleware and have it return a plain function for a plain get_response",
            )
        return made  # type: ignore[no-any-return]


def load() -> tuple[Middleware, ...]:
    """Import what HANDLER_MIDDLEWARE names, the outermost first. Raises `MiddlewareError`."""
    return _load(get_config().handler_middleware)


@functools.cache
def _load(paths: tuple[str, ...]) -> tuple[Middleware, ...]:
    return tuple(_imported(path) for path in paths)


def _imported(path: str) -> Middleware:
    module, _, name = path.rpartition(".")
    if not module:
        raise MiddlewareError(path, "expected a dotted path, as in shop.middleware.timed")
    try:
        factory = getattr(importlib.import_module(module), name)
    except AttributeError:
        raise MiddlewareError(path, f"module {module} has no {name!r}") from None
    except Exception as error:
        raise MiddlewareError(path, f"{module} cannot be imported: {_told(error)}") from error
    if not callable(factory):
        raise MiddlewareError(path, f"it is {factory!r}; expected a function that takes get_response")
    found = Middleware(path, factory)
    if not found.takes(is_async=False) and not found.takes(is_async=True):
        raise MiddlewareError(path, "at least one of sync_capable and async_capable must be True")
    return found


def around(call: Call, *, is_async: bool, batches_of: str | None = None) -> Call:
    """`call` with all middleware around it; `call` itself if there is none. Raises `MiddlewareError`.

    `batches_of` names the handler if `call` takes batches.
    """
    mode = is_async
    for middleware in reversed(load()):
        if batches_of is not None and middleware.takes_batches is False:
            continue
        if mode and not inspect.iscoroutinefunction(call):
            call = _coroutine_function(call)
        wanted = is_async if middleware.takes(is_async=is_async) else not is_async
        made = middleware.around(_adapted(call, mode, wanted, threads=is_async), is_async=wanted)
        if made is None:
            continue
        if batches_of is not None and middleware.takes_batches is None:
            raise MiddlewareError(
                middleware.path,
                f"handler {batches_of!r} takes batches, and this factory does not say whether it does: set its "
                "attribute batch_capable to True if its layer takes a queues.handlers.MessageBatch in place of one "
                "message, or to False to have it left out around batches",
            )
        call, mode = made, wanted
    return _adapted(call, mode, is_async, threads=is_async)


def _adapted(call: Call, is_async: bool, wanted: bool, *, threads: bool) -> Call:
    """A layer that is called as `wanted`. `threads`: a plain function needs one, since none waits further out."""
    if is_async == wanted:
        return call
    if not is_async:
        # Without a thread of its own it runs in its slot's, which waits in `async_to_sync`.
        return _coroutine_function(
            sync_to_async(call, thread_sensitive=not threads, executor=_threads() if threads else None)
        )
    return async_to_sync(_coroutine_function(call))


def _coroutine_function(call: Call) -> Call:
    """`call`, which returns awaitables, as a function that factories recognize as such."""

    async def layer(message: Message | MessageBatch) -> Any:
        return await call(message)

    return layer


@functools.cache
def _threads() -> ThreadPoolExecutor:
    """Threads for layers that take no coroutines: one for each layer of each message, or some would wait forever."""
    return ThreadPoolExecutor(get_config().max_concurrency * max(1, len(load())), thread_name_prefix="middleware")


def check(modes: Iterable[tuple[bool, str | None]]) -> None:
    """Build all middleware around a handler that does nothing, in each of `modes`, as `around` takes them.

    Raises `MiddlewareError` for the first that cannot be used.
    """

    def nothing(message: Message) -> None:
        pass

    async def nothing_async(message: Message) -> None:
        pass

    for is_async, batches_of in modes:
        around(nothing_async if is_async else nothing, is_async=is_async, batches_of=batches_of)


def system_attributes() -> tuple[str, ...]:
    """The attributes of SQS's own that a receive must ask for: those that messages need, and what middleware names."""
    asked = [name for middleware in load() for name in getattr(middleware.factory, "system_attributes", ())]
    return tuple(dict.fromkeys((*NEEDED_ATTRIBUTES, *asked)))


def close() -> None:
    """Call the `close` of each factory that has one, since the process ends; wait for `CLOSE_SECONDS` at most."""
    closing = [
        supervised("middleware-close", partial(_close, middleware), on_death=lambda error: None)  # the process ends
        for middleware in load()
    ]
    for thread in closing:
        thread.start()
    deadline = time.monotonic() + CLOSE_SECONDS
    for thread in closing:
        thread.join(max(0.0, deadline - time.monotonic()))


def _close(middleware: Middleware) -> None:
    try:
        getattr(middleware.factory, "close", lambda: None)()
    except Exception:
        log.exception("middleware_not_closed", middleware=middleware.path)


def _told(error: Exception) -> str:
    """An error of the team's code in one line, with its place."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename not in (__file__, importlib.__file__) and not frame.filename.startswith("<frozen")
    ]
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return " ".join(f"{type(error).__name__}: {error}".split()) + place
