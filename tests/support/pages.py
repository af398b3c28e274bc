"""What pages of the admin show, read from the answers to a test's client."""

from __future__ import annotations

import html
import re
from typing import Any


def rows(answer: Any) -> list[Any]:
    """The rows of the list on a page."""
    return [row for row, _ in answer.context["table"].rows]


def problems(answer: Any) -> dict[str, str]:
    """What stands at each option's input, by its path below the handler's name."""
    found = re.findall(r'id="handler_options\.([^"]+)\.wrong">(.+?)</p>', answer.content.decode())
    return {path: html.unescape(text) for path, text in found}
