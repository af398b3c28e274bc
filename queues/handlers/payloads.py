"""Typed payloads: what a handler declares of its messages' bodies, and how a body becomes what the handler gets."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUserError
from pydantic_core import to_json

from queues.handlers.contract import Message, Reject
from queues.handlers.envelopes import Envelope, Form, Piece, Step, WrongBody, name_of, steps_of, unwrap
from queues.sending.outgoing import text_body
from queuesite.foundation.errors import InvalidInput


class _Nothing:
    """The value of `payload` if none is declared: `None` is a type."""

    def __repr__(self) -> str:
        return "NOTHING"


NOTHING = _Nothing()
#: Most wrong fields that one reason names.
_NAMED = 5


class WrongPayload(Reject):
    """A body does not fit what its handler declares. The reason names the fields, and shows none of their values."""


@dataclass(frozen=True)
class Payload:
    """What a handler gets in place of the body: a type (`NOTHING`: whatever the envelope holds) and an envelope."""

    type: Any
    adapter: TypeAdapter[Any] | None
    steps: tuple[Step, ...]
    #: The envelope in words; empty if there is none.
    envelope: str
    #: Whether a body in no envelope is read as well, so that code can send one.
    sendable: bool

    @property
    def name(self) -> str:
        """The type's name, as messages show it."""
        return "" if self.adapter is None else getattr(self.type, "__name__", str(self.type))

    def schema(self) -> dict[str, Any] | None:
        """The type's JSON Schema; None if it has none."""
        if self.adapter is None:
            return None
        try:
            return self.adapter.json_schema()
        except (PydanticInvalidForJsonSchema, PydanticUserError):
            return None

    def of(self, message: Message) -> list[tuple[Any, Message]]:
        """The payloads of a message, each with the message as the handler sees it. Raises `WrongPayload`.

        All are checked before the first is returned. It also raises what a function of the envelope raises.
        """
        try:
            pieces = unwrap(self.steps, message)
        except WrongBody as error:
            raise WrongPayload(f"the body is not in the envelope {self.envelope}: {error}") from None
        return [
            (self._check(piece, place, len(pieces)), piece.within(message)) for place, piece in enumerate(pieces, 1)
        ]

    def _check(self, piece: Piece, place: int, count: int) -> Any:
        if self.adapter is None:
            return piece.value
        try:
            return self._parse(piece)
        except ValidationError as error:
            subject = "the body" if count == 1 else f"record {place} of {count}"
            raise WrongPayload(f"{subject} does not fit {self.name}: {problems_of(error)}") from None

    def _parse(self, piece: Piece) -> Any:
        assert self.adapter is not None
        if piece.form is Form.VALUE or (piece.form is Form.TEXT and self._is_text):
            return self.adapter.validate_python(piece.value)
        # JSON's rules for what was parsed, too: a date is text there, even for a strict model.
        return self.adapter.validate_json(piece.value if piece.form is Form.TEXT else to_json(piece.value))

    @property
    def _is_text(self) -> bool:
        """Whether the payload is the text itself."""
        return self.adapter is not None and self.adapter.core_schema["type"] == "str"

    def body(self, value: object) -> str:
        """The body that carries `value`. Raises `InvalidInput`, which names each wrong field."""
        if not self.sendable:
            raise InvalidInput(
                f"a body in the envelope {self.envelope} comes from elsewhere: send the whole of it with "
                "queues.send('QUEUE', body)"
            )
        if self.adapter is None:
            return text_body(value)
        try:
            checked = self.adapter.validate_python(value)
        except ValidationError as error:
            raise InvalidInput(f"the payload does not fit {self.name}: {problems_of(error)}", field="body") from None
        return checked if self._is_text else self.adapter.dump_json(checked, by_alias=True).decode()


def problems_of(error: ValidationError) -> str:
    """The wrong fields with their paths, in one line without any of the input."""
    items = error.errors(include_url=False, include_input=False)
    shown = []
    for item in items[:_NAMED]:
        path = ".".join(map(str, item["loc"]))
        text = item["msg"].removeprefix("Value error, ")
        if item["type"] == "union_tag_invalid":  # pydantic's own text quotes the input
            context = item.get("ctx", {})
            text = f"{context.get('discriminator')} is none of {context.get('expected_tags')}"
        shown.append(f"{path}: {text}" if path else text)
    if len(items) > _NAMED:
        shown.append(f"and {len(items) - _NAMED} more")
    return "; ".join(shown)


# --- at registration ---


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


Invoke = Callable[[Any, Message], Any]


def invoker(function: Callable[..., Any], payload: Payload | None) -> Invoke | None:
    """How `function` is called with a payload and its message; None if it gets the message only.

    Raises `ValueError` if its parameters or their annotations do not fit what is declared.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # some of C's
        return None if payload is None else lambda value, message: function(value)
    _check_annotation(function, parameters, payload)
    places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    starred = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    named = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    missing = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty}
    required = sum(1 for p in places if p.default is p.empty)
    if payload is None:
        if required > 1 or missing or not (places or starred):
            raise ValueError(
                f"its parameters are {_shown(function)}, but without payload= or envelope= it is called with the "
                "message only"
            )
        return None
    if required > 2 or missing - {"message"} or not (places or starred):
        raise ValueError(
            f"its parameters are {_shown(function)}: expected the payload, and if it is wanted the message, as in "
            "(payload, message)"
        )
    if required == 2 or (len(places) > 1 and places[1].name == "message") or (starred and len(places) < 2):
        return function
    if "message" in named:
        return lambda value, message: function(value, message=message)
    return lambda value, message: function(value)


def _check_annotation(
    function: Callable[..., Any], parameters: list[inspect.Parameter], payload: Payload | None
) -> None:
    """Raise `ValueError` if the first parameter is annotated with another class than what it gets."""
    if not parameters:
        return
    annotation = _hints(function).get(parameters[0].name, parameters[0].annotation)
    if not isinstance(annotation, type) or annotation in (inspect.Parameter.empty, Any):
        return  # a union or the like: what it takes is for a type checker to say
    if payload is None:
        if not _is_a(Message, annotation):
            raise ValueError(
                f"{parameters[0].name} is annotated {annotation.__name__}, but it gets a Message: declare "
                f"payload={annotation.__name__}, or annotate it Message"
            )
    elif annotation is Message:
        raise ValueError(f"{parameters[0].name} is annotated Message, but it gets the payload; the message is second")
    elif isinstance(payload.type, type) and not _is_a(payload.type, annotation):
        raise ValueError(
            f"{parameters[0].name} is annotated {annotation.__name__}, but payload={payload.name} is declared"
        )


def _is_a(kind: type, other: type) -> bool:
    try:
        return kind is other or issubclass(kind, other)
    except TypeError:  # a protocol or a TypedDict
        return True


def _hints(function: Callable[..., Any]) -> Mapping[str, Any]:
    try:
        return get_type_hints(function if inspect.isroutine(function) else type(function).__call__)
    except Exception:  # names that only a type checker knows
        return {}


def _shown(function: Callable[..., Any]) -> str:
    return "(" + ", ".join(inspect.signature(function).parameters) + ")"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
