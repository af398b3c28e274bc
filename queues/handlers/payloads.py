"""Typed payloads: what a handler declares of its messages' bodies, and how a body becomes what the handler gets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUserError
from pydantic_core import to_json

from queues.handlers.contract import Message, Reject
from queues.handlers.envelopes import Form, Piece, Step, WrongBody, unwrap
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
