"""Highlights tracebacks and message bodies as HTML, and escapes everything in them."""

from __future__ import annotations

import json

from django.utils.safestring import SafeString, mark_safe
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexer import Lexer
from pygments.lexers.data import JsonLexer
from pygments.lexers.python import PythonTracebackLexer


def traceback(text: str) -> SafeString:
    """A Python traceback."""
    return _highlighted(text, PythonTracebackLexer())


def body(text: str) -> SafeString | str:
    """A message's body. JSON is highlighted; anything else stays text, which a template escapes."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text
    return _highlighted(text, JsonLexer())


def _highlighted(text: str, lexer: Lexer) -> SafeString:
    return mark_safe(highlight(text, lexer, HtmlFormatter(nowrap=True)))  # noqa: S308  # pygments escapes it
