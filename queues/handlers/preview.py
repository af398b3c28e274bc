"""What a handler would make of a message, for people: the payloads out of their envelope, and whether they fit."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass

from pydantic_core import to_json

from queues.handlers.contract import Message
from queues.handlers.envelopes import Form, Piece, WrongBody, unwrap
from queues.handlers.payloads import WrongPayload
from queues.handlers.registry import Handler


@dataclass(frozen=True)
class Preview:
    """The payloads of a message as text, JSON indented; none if its handler gets the body as it is."""

    payloads: tuple[str, ...] = ()
    #: What the handler expects, such as `Order`; empty if it takes whatever its envelope holds.
    expected: str = ""
    #: Why the message would be rejected, or its envelope's function fails.
    problem: str | None = None


def preview(handler: Handler | None, message: Message) -> Preview | None:
    """What this process's code says of the message; None if the handler is not here or declares nothing."""
    if handler is None or handler.payload is None:
        return None
    declared = handler.payload
    shown: tuple[str, ...] = ()
    problem = None
    try:
        if declared.steps:
            with suppress(WrongBody):  # `of` has the reason in full
                shown = tuple(_text(piece) for piece in unwrap(declared.steps, message))
        declared.of(message)
    except WrongPayload as error:
        problem = error.reason
    except Exception as error:
        # A team's own function or validator may raise anything, in words that quote the body.
        problem = f"the handler's code for its payload raises {type(error).__name__}"
    return Preview(shown, declared.name, problem)


def _text(piece: Piece) -> str:
    if piece.form is not Form.TEXT:
        return to_json(piece.value, indent=2, fallback=repr).decode()
    try:
        return json.dumps(json.loads(piece.value), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return str(piece.value)
