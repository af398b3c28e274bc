"""What `@handler(payload=…, envelope=…, batch=…)` declares, checked against the function when it is registered."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping
from typing import Any, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter

from queues.handlers.batching import MessageBatch
from queues.handlers.contract import Message
from queues.handlers.envelopes import Envelope, name_of, steps_of
from queues.handlers.payloads import NOTHING, Payload

#: Calls a function with a payload and its message; of a batch, with the list of payloads and that of their messages.
Invoke = Callable[[Any, Any], Any]


def declared(payload: Any, envelope: Envelope | None) -> Payload | None:
    """What `@handler(payload=…, envelope=…)` declares; None if nothing. Raises `ValueError` for what makes no sense."""
    steps = steps_of(envelope)
    for part in envelope if isinstance(envelope, list | tuple) else (envelope,):
        if inspect.iscoroutinefunction(part) or inspect.isasyncgenfunction(part):
            raise ValueError(f"envelope={envelope!r}: expected a plain function, not one that is async")
    adapter: TypeAdapter[Any] | None = None
    if payload is not NOTHING:
        if isinstance(payload, str):
            raise ValueError(f"payload={payload!r}: expected a type, not its name")
        try:
            adapter = TypeAdapter(payload)
            if not adapter.pydantic_complete:
                adapter.rebuild(raise_errors=True)
        # Of pydantic's own, and what a type's own hooks raise.
        except Exception as error:
            raise ValueError(
                f"payload={payload!r}: expected a type that pydantic takes ({_one_line(error)})"
            ) from error
    if adapter is None and not steps:
        return None
    sendable = envelope in (None, "sns", ("sns",), ["sns"])
    return Payload(payload, adapter, steps, name_of(envelope), sendable)


def invoker(function: Callable[..., Any], payload: Payload | None, *, batched: bool = False) -> Invoke | None:
    """How `function` is called with a payload and its message; None if it gets the message only.

    `batched`: with the list of payloads, and that of their messages. Raises `ValueError` if its parameters or their
    annotations do not fit what is declared.
    """
    word, gets = ("messages", "the payloads") if batched else ("message", "the payload")
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # some of C's
        return None if payload is None else lambda value, message: function(value)
    places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    starred = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    named = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    missing = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty}
    required = sum(1 for p in places if p.default is p.empty)
    annotations = _Annotations(function, parameters, batched=batched)
    if payload is None:
        if required > 1 or missing or not (places or starred):
            raise ValueError(
                f"its parameters are {_shown(function)}, but without payload= or envelope= it is called with the "
                f"{word} only"
            )
        annotations.check_message(parameters[0].name, "declare payload={}, or annotate it {}")
        return None
    if required > 2 or missing - {word} or not (places or starred):
        raise ValueError(
            f"its parameters are {_shown(function)}: expected {gets}, and if wanted the {word}, as in "
            f"({gets.removeprefix('the ')}, {word})"
        )
    annotations.check_payload(parameters[0].name, payload)
    if required == 2 or (len(places) > 1 and places[1].name == word) or (starred and len(places) < 2):
        if len(places) > 1:
            annotations.check_message(places[1].name)
        return function
    if word in named:
        annotations.check_message(word)
        return lambda value, message: function(value, **{word: message})
    return lambda value, message: function(value)


class _Annotations:
    """The annotations of a function's parameters. What is not a plain class or list is for a type checker to judge."""

    def __init__(self, function: Callable[..., Any], parameters: list[inspect.Parameter], *, batched: bool) -> None:
        hints = _hints(function)
        self._given = {p.name: hints.get(p.name, p.annotation) for p in parameters}
        self._batched = batched

    def check_message(self, name: str, remedy: str = "annotate it {1}") -> None:
        """Raise `ValueError` if the parameter is annotated with another class than the message's."""
        given = self._given[name]
        wanted = "list[Message]" if self._batched else "Message"
        if self._fits(given, Message, MessageBatch):
            return
        if not self._batched and _class_of(given) is list:
            raise ValueError(
                f"{name} is annotated {_name(given)}, but it gets one Message: declare batch=, or annotate it Message"
            )
        gets = "a list of messages" if self._batched else "a Message"
        raise ValueError(
            f"{name} is annotated {_name(given)}, but it gets {gets}: {remedy.format(_item_name(given), wanted)}"
        )

    def check_payload(self, name: str, payload: Payload) -> None:
        """Raise `ValueError` if the parameter is annotated with another class than the payload's."""
        given = self._given[name]
        item = _class_of(given)
        if self._batched and item is not None and issubclass(list, item) and len(get_args(given)) == 1:
            item = _class_of(get_args(given)[0])
        if item in (Message, MessageBatch):
            gets, word = ("the payloads", "messages are") if self._batched else ("the payload", "message is")
            raise ValueError(f"{name} is annotated {_name(given)}, but it gets {gets}; the {word} second")
        if not self._fits(given, _class_of(payload.type, of_payload=True), list):
            declared = f"payload={payload.name} is declared"
            if self._batched:
                declared += f", and it gets a list: annotate it list[{payload.name}]"
            raise ValueError(f"{name} is annotated {_name(given)}, but {declared}")

    def _fits(self, given: Any, item: type | None, container: type) -> bool:
        """Whether the annotation takes an `item` (None: any class), or of a batch a list of them."""
        found = _class_of(given)
        if found is None:
            return True
        if not self._batched:
            return item is None or _is_a(item, found)
        if not _is_a(container, found):
            return False
        arguments = get_args(given)
        inner = _class_of(arguments[0]) if len(arguments) == 1 else None
        return inner is None or item is None or _is_a(item, inner)


#: Generic types whose values pydantic makes of just that class; a `Sequence` may become a list, for one.
_CONCRETE = (list, dict, set, frozenset, tuple)


def _class_of(annotation: Any, *, of_payload: bool = False) -> type | None:
    """The class that is annotated, `list` for `list[int]`; None for unions and whatever else is not a class."""
    origin = get_origin(annotation)
    if origin is not None and of_payload and origin not in _CONCRETE:
        return None
    found = annotation if origin is None else origin
    if not isinstance(found, type) or found in (inspect.Parameter.empty, Any, types.UnionType):
        return None
    return None if of_payload and inspect.isabstract(found) else found


def _is_a(kind: type, other: type) -> bool:
    try:
        return kind is other or issubclass(kind, other)
    except TypeError:  # a protocol or a TypedDict
        return True


def _name(annotation: Any) -> str:
    if get_origin(annotation) is None and isinstance(annotation, type):
        return annotation.__name__
    return str(annotation).replace("queues.handlers.contract.", "")


def _item_name(annotation: Any) -> str:
    """What a list is of, as `payload=` would name it."""
    arguments = get_args(annotation)
    return _name(arguments[0] if _class_of(annotation) is list and len(arguments) == 1 else annotation)


def _hints(function: Callable[..., Any]) -> Mapping[str, Any]:
    try:
        return get_type_hints(function if inspect.isroutine(function) else type(function).__call__)
    except Exception:  # names that only a type checker knows
        return {}


def _shown(function: Callable[..., Any]) -> str:
    return "(" + ", ".join(inspect.signature(function).parameters) + ")"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
