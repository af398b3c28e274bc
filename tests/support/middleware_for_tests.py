"""Middleware for the tests' real processes, which notes in LEDGER_DIR what becomes of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from queues.handlers import Message


def noted(get_response: Any) -> Any:
    """Writes a line to the file `middleware` when it is built, around each message, and when its process ends."""
    _note("built")

    def layer(message: Message) -> Any:
        _note(f"around {message.body}")
        return get_response(message)

    return layer


noted.close = lambda: _note("closed")  # type: ignore[attr-defined]


def _note(what: str) -> None:
    with (Path(os.environ["LEDGER_DIR"]) / "middleware").open("a") as file:
        file.write(f"{os.getpid()} {what}\n")
