"""The last lines that were logged about each message that is being handled.

`logs` adds each event of a message's context here, whatever logged it: `logging` or structlog, a thread or a task. An
event of a message that nobody is handling any more is left out. A handler that logs nothing costs nothing.
"""

from __future__ import annotations

import sys
import threading
import traceback
from collections import deque
from collections.abc import Mapping
from typing import Any

#: Most bytes that are kept of a message's lines, and of one line.
TAIL_BYTES = 8_192
LINE_BYTES = 2_048
#: Most bytes of a value that a line shows.
_VALUE_BYTES = 500
#: What every line of a message has in common, or is shown elsewhere.
_LEFT_OUT = frozenset(
    {"event", "timestamp", "level", "source", "logger", "queue", "job_id", "message_id", "worker", "consumer_pid",
     "exc_info", "stack_info", "_record", "_from_structlog"}
)  # fmt: skip
#: What processing itself logs of a message is not a line of its handler's.
_OWN = "jobs.consumer."


class Tail:
    """The last lines of one message. Safe for threads."""

    __slots__ = ("_dropped", "_lines", "_lock", "_size", "trace_id")

    def __init__(self) -> None:
        self._lines: deque[str] = deque()
        self._size = self._dropped = 0
        self._lock = threading.Lock()
        #: The trace that the attempt belongs to, if middleware has begun one.
        self.trace_id: str | None = None

    def add(self, line: str) -> None:
        """Add a line; the first ones make room for it."""
        line = _cut(line, LINE_BYTES)
        with self._lock:
            self._lines.append(line)
            self._size += len(line.encode()) + 1
            while self._size > TAIL_BYTES:
                self._size -= len(self._lines.popleft().encode()) + 1
                self._dropped += 1

    def text(self) -> str:
        """The lines, the oldest first; a first line says how many are missing before them."""
        with self._lock:
            missing = [f"({self._dropped} earlier lines are not kept)"] if self._dropped else []
            return "\n".join([*missing, *self._lines])


class Tails:
    """The tails of the messages that this process handles, by their ids."""

    def __init__(self) -> None:
        #: None: nothing has been logged about it. Reads and writes of a dictionary are atomic.
        self._tails: dict[str, Tail | None] = {}

    def begin(self, message_id: str) -> None:
        """A message is being handled from now on."""
        self._tails[message_id] = None

    def end(self, message_id: str) -> Tail | None:
        """A message is handled no longer; what was logged about it, if anything was."""
        return self._tails.pop(message_id, None)

    def share(self, message_id: str, tail: Tail) -> None:
        """What was logged about another message of its batch concerns this one too."""
        if message_id in self._tails:
            self._tails[message_id] = tail

    def note(self, message_id: str, event: Mapping[str, Any]) -> None:
        """Keep an event, as the processors of `logs` have completed it."""
        source = event.get("source")
        if isinstance(source, str) and source.startswith(_OWN):
            return
        tail = self._of(message_id)
        if tail is not None:
            tail.add(line_of(event))

    def trace(self, message_id: str, trace_id: str) -> None:
        """Middleware has begun a span of this trace around the attempt."""
        tail = self._of(message_id)
        if tail is not None:
            tail.trace_id = trace_id

    def _of(self, message_id: str) -> Tail | None:
        # A batch's events have the id of its first message, and how many more there are.
        message_id = message_id.partition(" ")[0]
        tail = self._tails.get(message_id)
        if tail is None and message_id in self._tails:
            tail = self._tails[message_id] = Tail()
        return tail


#: This process's.
tails = Tails()


def line_of(event: Mapping[str, Any]) -> str:
    """An event as a line, with the traceback if it has one: time (UTC), level, logger, event, fields."""
    moment = str(event.get("timestamp", ""))[11:23]
    level = str(event.get("level", "")).upper()
    name = event.get("logger") or event.get("source") or ""
    fields = " ".join(f"{name}={_value(value)}" for name, value in event.items() if name not in _LEFT_OUT)
    line = " ".join(
        part for part in (moment, level, f"{name}:" if name else "", _text(event.get("event")), fields) if part
    )
    trace = _trace(event.get("exc_info"))
    return f"{line}\n{trace}" if trace else line


def _value(value: object) -> str:
    text = _text(value)
    return _cut(repr(text) if " " in text and isinstance(value, str) else text, _VALUE_BYTES)


def _text(value: object) -> str:
    try:
        text = value if isinstance(value, str) else str(value)
    except BaseException:  # a class of the handler's own may raise anything here
        text = "(cannot be shown)"
    return text.encode("utf-8", "backslashreplace").decode()


def _trace(exc_info: object) -> str:
    if not exc_info:
        return ""
    if isinstance(exc_info, BaseException):
        error: object = exc_info
    else:
        error = (exc_info if isinstance(exc_info, tuple) else sys.exc_info())[1]
    if not isinstance(error, BaseException):
        return ""
    try:
        text = "".join(traceback.format_exception(error)).rstrip()
    except BaseException:
        return f"{type(error).__name__} (its traceback cannot be shown)"
    return _text(text)[-(LINE_BYTES - _VALUE_BYTES) :]


def _cut(text: str, most: int) -> str:
    whole = text.encode("utf-8", "backslashreplace")
    return text if len(whole) <= most else whole[: most - 3].decode("utf-8", "ignore") + "…"
