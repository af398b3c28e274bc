"""The steps of docs/tutorial.md: files that the reader writes, commands with their output, and what `up` prints."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tests.support.processes import ROOT

TUTORIAL = ROOT / "docs" / "tutorial.md"
_BLOCK = re.compile(r"^```(\w+)(?: title=\"([\w.]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class File:
    """A file that the reader writes, or writes again."""

    name: str
    text: str


@dataclass(frozen=True)
class Command:
    """A command, and the lines that it prints."""

    text: str
    output: tuple[str, ...]


@dataclass(frozen=True)
class Shown:
    """Lines that `up` prints in its shell."""

    lines: tuple[str, ...]


Step = File | Command | Shown


def steps() -> Iterator[Step]:
    """The steps in their order."""
    for language, title, text in _BLOCK.findall(TUTORIAL.read_text()):
        if language == "python":
            yield File(title, text)
        elif language == "text":
            yield Shown(tuple(text.splitlines()))
        else:
            assert language == "console"
            for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                command, *output = part.splitlines()
                yield Command(command, tuple(output))


def fits(line: str, wanted: str) -> bool:
    """Whether a line is what the tutorial shows; `…` is any text, and the width of columns may differ."""
    parts = (re.escape(part) for part in " ".join(wanted.split()).split("…"))
    return re.fullmatch(".*".join(parts), " ".join(line.split())) is not None
