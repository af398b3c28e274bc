"""Writes the output of several processes to one stream: whole lines, each after the name of its process."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from typing import TextIO

# Readable on dark and light backgrounds: green, yellow, blue, magenta, cyan.
_COLOURS = (32, 33, 34, 35, 36)
#: A line longer than this is broken, so that a program that never ends one cannot fill our memory.
MAX_LINE_BYTES = 65_536


class LineBuffer:
    """Splits the bytes that come from a pipe into lines."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[str]:
        """The lines that `data` completes."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE_BYTES:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            yield _text(line)

    def end(self) -> Iterator[str]:
        """The last line, if the program ended without a newline."""
        if self._rest:
            yield _text(self._rest)
        self._rest = b""


class PrefixedOutput:
    """Writes lines after the names of their processes, in colours if `stream` is a terminal and NO_COLOR is not set.

    `broken` is true once the reader has left (a closed terminal, `… | head`); what is written then is dropped.
    """

    def __init__(self, stream: TextIO, width: int) -> None:
        self._stream = stream
        self._width = width
        self._coloured = stream.isatty() and "NO_COLOR" not in os.environ
        self._colours: dict[str, int] = {}
        self.broken = False

    def write(self, name: str, line: str) -> None:
        """Write one line of the process `name`."""
        if self.broken:
            return
        try:
            self._stream.write(f"{self._prefix(name)} {line}\n")
            self._stream.flush()
        except OSError:
            self.broken = True

    def _prefix(self, name: str) -> str:
        prefix = f"{name:<{self._width}} |"
        if not self._coloured:
            return prefix
        colour = self._colours.setdefault(name, _COLOURS[len(self._colours) % len(_COLOURS)])
        return f"\x1b[{colour}m{prefix}\x1b[0m"


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip("\r")


def keep_lines_whole() -> None:
    """Have what threads print come line by line, if Python is unbuffered too.

    Unbuffered, `print` writes a line and its end apart, so another thread's line comes in between.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, write_through=False)
