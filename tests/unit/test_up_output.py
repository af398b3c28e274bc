"""What `up` shows of its children's output."""

from __future__ import annotations

import io

import pytest

from queuesite.foundation.output import MAX_LINE_BYTES, LineBuffer, PrefixedOutput


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Closed(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def lines_of(*chunks: bytes) -> list[str]:
    buffer = LineBuffer()
    found = [line for chunk in chunks for line in buffer.feed(chunk)]
    return found + list(buffer.end())


@pytest.mark.parametrize(
    ("chunks", "lines"),
    [
        ([b"one\ntwo\n"], ["one", "two"]),
        ([b"o", b"ne\nt", b"wo"], ["one", "two"]),
        ([b"\n\n"], ["", ""]),
        ([b"windows\r\n"], ["windows"]),
        (["Zürich\n".encode()[:2], "Zürich\n".encode()[2:]], ["Zürich"]),
        ([b"\xff\n"], ["�"]),
        ([], []),
    ],
)
def test_chunks_become_whole_lines(chunks: list[bytes], lines: list[str]) -> None:
    assert lines_of(*chunks) == lines


def test_an_endless_line_is_broken() -> None:
    first, rest = lines_of(b"x" * (MAX_LINE_BYTES + 1), b"y\n")
    assert len(first) == MAX_LINE_BYTES + 1
    assert rest == "y"


def test_each_line_has_the_name_of_its_process() -> None:
    stream = io.StringIO()
    output = PrefixedOutput(stream, width=8)
    output.write("web", "ready")
    output.write("worker-1", "busy")
    assert stream.getvalue() == "web      | ready\nworker-1 | busy\n"


def test_names_are_coloured_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    output = PrefixedOutput(stream, width=3)
    for name in ("one", "two", "one"):
        output.write(name, "x")
    first, second, third = stream.getvalue().splitlines()
    assert first == "\x1b[32mone |\x1b[0m x"
    assert second != first.replace("one", "two"), "the colours differ"
    assert third == first, "a process keeps its colour"


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    PrefixedOutput(stream, width=3).write("one", "x")
    assert stream.getvalue() == "one | x\n"


def test_a_reader_that_left_is_noted() -> None:
    output = PrefixedOutput(Closed(), width=3)
    output.write("one", "x")
    assert output.broken
    output.write("one", "y")
