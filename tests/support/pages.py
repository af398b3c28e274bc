"""What pages of the admin show, read from the answers to a test's client."""

from __future__ import annotations

from typing import Any


def rows(answer: Any) -> list[Any]:
    """The rows of the list on a page."""
    return [row for row, _ in answer.context["table"].rows]
