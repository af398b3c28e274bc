"""The registry: handlers by name. Only registered handlers can be chosen, so nobody can have any path imported."""

from __future__ import annotations

import importlib
import inspect
import json
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.util import find_spec
from typing import Any, Protocol, TypeVar

from django.apps import apps
from pydantic import BaseModel, PydanticUserError, ValidationError

from queues import declared_tasks
from queues.handlers import arguments, declaring, middleware, secrets
from queues.handlers.batch_calling import batch_caller
from queues.handlers.batching import Batch
from queues.handlers.batching import batch as checked_batch
from queues.handlers.callables import called, refusal_of
from queues.handlers.calling import caller
from queues.handlers.declaring import Invoke
from queues.handlers.envelopes import Envelope
from queues.handlers.option_errors import refused_options, takes_no_options
from queues.handlers.payloads import NOTHING, Payload
from queues.handlers.retrying import Answer, Breaker, RetryPolicy, retry_policy
from queues.handlers.retrying import breaker as checked_breaker
from queues.handlers.sendable import HandlerFunction, P, R, with_sender
from queuesite.foundation import home
from queuesite.foundation.config import get_config
from queuesite.foundation.errors import InvalidInput, QueuesiteError

Function = Callable[..., Any]
C = TypeVar("C")


class HandlerError(QueuesiteError):
    """A handler cannot be registered, or its module cannot be imported."""


@dataclass(frozen=True)
class Handler:
    """A registered handler."""

    name: str
    function: Function
    options: type[BaseModel] | None = None
    #: Time limit for one message in seconds, unless its queue has another; None: no limit.
    timeout: float | None = None
    #: What it gets in place of the body; None: the message only.
    payload: Payload | None = None
    #: How its function is called with a payload and the message; None: with the message only.
    invoke: Invoke | None = None
    #: The queue that its `send` sends to; None: the one that has this handler.
    queue: str | None = None
    #: What comes of its exceptions, if that is not the usual.
    retry: RetryPolicy | None = None
    breaker: Breaker | None = None
    #: It takes batches.
    batch: Batch | None = None

    @cached_property
    def call(self) -> Callable[[Any], Any]:
        """Takes the message, or the batch: the function itself, unless there is a payload."""
        if self.payload is None or self.invoke is None:
            return self.function
        calls = caller if self.batch is None else batch_caller
        return calls(self.payload, self.invoke, is_async=self.is_async)

    @property
    def kind(self) -> str:
        """How it takes messages: `sync`, `async`, or `batch` for several at once."""
        if self.batch is not None:
            return "batch"
        return "async" if self.is_async else "sync"

    @cached_property
    def is_async(self) -> bool:
        """Whether calling it makes a coroutine."""
        return inspect.iscoroutinefunction(called(self.function))

    @cached_property
    def attempt(self) -> Callable[[Any], Any]:
        """What a slot calls with each message or batch: the function, in HANDLER_MIDDLEWARE. Raises `MiddlewareError`.

        The error names a layer that does not say whether it takes batches, if the handler does.
        """
        return middleware.around(self.call, is_async=self.is_async, batches_of=self.batches_of)

    @property
    def batches_of(self) -> str | None:
        """Its name if it takes batches, as `middleware.around` wants it."""
        return None if self.batch is None else self.name

    @cached_property
    def _named(self) -> Any:
        """Its function, or the class of a callable object."""
        named: Any = self.function
        while isinstance(named, partial):
            named = named.func
        return named if hasattr(named, "__qualname__") else type(named)

    @property
    def module(self) -> str:
        """The name of the module that its function is in."""
        return str(self._named.__module__)

    @property
    def path(self) -> str:
        """The path of its function; for a callable object, the path of its class."""
        return f"{self.module}.{self._named.__qualname__}"

    @cached_property
    def schema_text(self) -> str | None:
        """The JSON Schema of its options as JSON, with what `secrets.keep` has to know; None: it takes none.

        A model that pydantic has no schema for accepts any object, as far as others can know.
        """
        if self.options is None:
            return None
        try:
            schema = self.options.model_json_schema()
        except PydanticUserError:
            schema = {"type": "object"}
        targets = getattr(self.options, "secrets_go_to", ())
        if targets:
            schema[secrets.GO_TO] = list(targets)
        return json.dumps(schema)

    @property
    def summary(self) -> str:
        """The first line of its docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    @cached_property
    def schema(self) -> dict[str, Any] | None:
        """The same as a mapping."""
        return None if self.schema_text is None else dict(json.loads(self.schema_text))

    def masked_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options as they may be shown."""
        return secrets.mask(self.schema, options)

    def kept_options(self, given: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
        """The options to store, with the stored value in place of each mask. Raises `InvalidInput`."""
        return secrets.keep(self.schema, given, stored, self.name)

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Raise `InvalidInput` that names each wrong option. The worker's environment is not known here."""
        self._parse(options, secrets.references(options))

    def parse_options(self, options: Mapping[str, Any]) -> BaseModel | None:
        """The options as the handler's model, for the consumer: with its environment's values for each `env:NAME`.

        Raises `InvalidInput` that names each wrong option and each missing variable.
        """
        return self._parse(secrets.resolve(options), secrets.references(options), resolved=True)

    def _parse(
        self, options: Mapping[str, Any], named: Mapping[secrets.Path, str], *, resolved: bool = False
    ) -> BaseModel | None:
        """Parse the options. `named` holds the values from the environment, which error messages do not show."""
        if self.options is None:
            if options:
                raise takes_no_options(self.name, options)
            return None
        try:
            return self.options.model_validate(dict(options))
        except ValidationError as error:
            problems = []
            for item in error.errors():
                path = tuple(map(str, item["loc"]))
                variable = next((name for at, name in named.items() if path[: len(at)] == at), None)
                if variable is None:
                    problems.append((path, item["msg"].removeprefix("Value error, ")))
                elif resolved:
                    problems.append((path, f"the value of env:{variable} is refused ({item['type']})"))
            if not problems:
                return None  # the names of variables are no values yet
            raise refused_options(self.name, problems) from None


_handlers: dict[str, Handler] = {}
_discovered = False
_lock = threading.RLock()


class Register(Protocol):
    """A decorator that registers a function, and returns it with the methods of a `Sender`."""

    def __call__(self, function: Callable[P, R], /) -> HandlerFunction[P, R]:
        """Register the function."""


def handler(
    name: str,
    *,
    options: type[BaseModel] | None = None,
    timeout: float | None = None,
    payload: Any = NOTHING,
    envelope: Envelope | None = None,
    queue: str | None = None,
    retry: Mapping[type[BaseException], Answer] | None = None,
    breaker: Mapping[str, float] | None = None,
    batch: int | None = None,
    linger: float | None = None,
) -> Register:
    """Register the decorated function under `name`; `options` is the pydantic model of a queue's options for it.

    `timeout` is the handler's time limit for one message or batch, in seconds (above 0, at most 43,200: SQS hides no
    message for longer); a queue may set another. `payload` is a type that pydantic takes: the function gets the body
    parsed as that type, and the message as its second argument if it has one. `envelope` names what the payload comes
    in (see `queues.handlers.envelopes`). `queue` is the name of the queue that the function's `send` sends to, unless
    it is the only one with this handler.

    `retry` says by exception class what comes of an exception: seconds until the next try, `exponential(…)`, a function
    of the receive count, `Reject`, `Retry` or `Unavailable`. `breaker` says how many failed attempts of a run, within
    how many seconds, are taken for `Unavailable`, as in `{"failures": 20, "within": 60}`.

    With `batch`, the function gets a list of up to so many messages (1 to 1,000), which are gathered for at most
    `linger` seconds (0 to 60; 0 if it is None); with `payload`, it gets the list of their payloads, and that of the
    messages second. `queues.handlers.batching.failures` says what it may answer.

    Raises `HandlerError` if another function has the name, if calling this one would do no work (a generator function,
    a class), or if its parameters do not fit the payload.
    """
    frame = sys._getframe(1)
    place = f"({frame.f_code.co_filename}:{frame.f_lineno})"
    try:
        arguments.check(name, timeout=timeout, options=options, queue=queue)
        policy = _checked(name, "retry=…): ", retry_policy, retry)
        limit = _checked(name, "breaker=…): ", checked_breaker, breaker)
        gathered = _checked(name, "", lambda most: checked_batch(most, linger), batch)
    except ValueError as error:
        raise HandlerError(f"{error} {place}") from None

    def register(function: Callable[P, R], /) -> HandlerFunction[P, R]:
        refusal = refusal_of(function)
        if refusal is not None:
            raise HandlerError(f"@handler({name!r}) cannot take {_shown(function)}: {refusal}")
        try:
            declared = declaring.declared(payload, envelope)
            invoke = declaring.invoker(function, declared, batched=gathered is not None)
        except ValueError as error:
            raise HandlerError(f"@handler({name!r}) of {_shown(function)}: {error}") from error
        new = Handler(name, function, options, timeout, declared, invoke, queue, policy, limit, gathered)
        with _lock:
            old = _handlers.get(name)
            if old is not None and old.path != new.path:
                raise HandlerError(f"handler {name!r} is registered twice: by {old.path} and by {new.path}; rename one")
            _handlers[name] = new
        return with_sender(function, new)

    return register


def _shown(function: Any) -> str:
    """The function with its place, for an error."""
    shown = getattr(function, "__qualname__", None) or repr(function)
    code = getattr(called(function), "__code__", None)
    return shown if code is None else f"{shown} ({code.co_filename}:{code.co_firstlineno})"


def _checked(name: str, argument: str, check: Callable[[Any], C], given: Any) -> C:
    try:
        return check(given)
    except ValueError as error:
        raise ValueError(f"@handler({name!r}, {argument}{error}") from None


def discover() -> None:
    """Import every module that may register handlers, once. Raises `HandlerError`, which names a module that fails."""
    global _discovered
    with _lock:
        if _discovered:
            return
        importlib.import_module("queues.handlers.builtin")
        for config in apps.get_app_configs():
            module = f"{config.name}.handlers"
            if find_spec(module) is not None:
                _import(module, "an installed app's")
        if home.own_module("handlers"):
            _import("handlers", f"in {home.home()}")
        for module in get_config().handler_modules:
            _import(module, "named in HANDLER_MODULES")
        for module, origin in declared_tasks.modules():
            _import(module, origin)
        _discovered = True


# Frames that do not show where a module failed.
_IMPORT_MACHINERY = {
    __file__,
    importlib.__file__,
    "<frozen importlib._bootstrap>",
    "<frozen importlib._bootstrap_external>",
}


def _import(module: str, origin: str) -> None:
    try:
        importlib.import_module(module)
    except HandlerError:
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename not in _IMPORT_MACHINERY]
        place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
        raise HandlerError(f"handler module {module} ({origin}) cannot be imported: {reason}{place}") from error


def registered() -> dict[str, Handler]:
    """The registry itself: what has been registered so far, by name. Tests inspect it, and remove their own."""
    return _handlers


def all_handlers() -> dict[str, Handler]:
    """Every handler, by name."""
    discover()
    return dict(sorted(_handlers.items()))


def get(name: str) -> Handler:
    """The handler of this name. Raises `InvalidInput`, which lists the registered ones."""
    discover()
    try:
        return _handlers[name]
    except KeyError:
        known = ", ".join(sorted(_handlers))
        raise InvalidInput(f"there is no handler {name!r}; registered handlers: {known}", field="handler") from None
