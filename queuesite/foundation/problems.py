"""Gathers what several checks refuse, so that one answer names all of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from queuesite.foundation.errors import InvalidInput


class Problems:
    """What was refused so far. The checks go on after each."""

    def __init__(self) -> None:
        self._found: list[InvalidInput] = []

    def __bool__(self) -> bool:
        return bool(self._found)

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Keep an `InvalidInput` that is raised within."""
        try:
            yield
        except InvalidInput as error:
            self._found.append(error)

    def raise_all(self) -> None:
        """Raise what was refused: the error itself if there is one, or else one whose `fields` has those of all."""
        if len(self._found) == 1:
            raise self._found[0]
        if self._found:
            fields = [pair for error in self._found for pair in error.by_field]
            raise InvalidInput("; ".join(dict.fromkeys(map(str, self._found))), fields=fields)
