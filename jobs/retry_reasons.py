"""Reasons of `Retry` as kinds: what differs from message to message is left out. Pure."""

from __future__ import annotations

import re

#: Kinds of reason that one run distinguishes, and that are kept of one queue; a handler may make up a new one each
#: time.
MOST_OF_RUN = 20
MOST_OF_QUEUE = 50
#: What counts as the reason beyond that.
OTHER = "(other reasons)"
_CHARACTERS = 200

#: What names one thing among many: UUIDs, hexadecimal ids and numbers.
_NAMES = re.compile(
    r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b|\b(?=[0-9a-fA-F]*\d)[0-9a-fA-F]{8,}\b|\d+(?:[.,:]\d+)*"
)


def kind_of(reason: str) -> str:
    """A reason without numbers and ids: `order 4711 is not ready` and `order 4712 is not ready` are one kind."""
    return _NAMES.sub("#", " ".join(reason.split()))[:_CHARACTERS]
