"""The ledger: what was sent and what handlers did, written to files outside the system, for the tests to compare.

A line is one `write` to a file opened with O_APPEND, so that any number of processes may write. Times are the monotonic
clock's, which all processes of a machine share.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from queues.handlers import Message


@dataclass(frozen=True)
class Event:
    """A line: handling of a message started, ended, or failed (the handler raised)."""

    event: str
    queue: str
    id: str
    body: str
    pid: int
    at: float
    receive_count: int
    thread: int


@dataclass(frozen=True)
class Sent:
    """A message that was sent, whose body has this key (`key_of`). If SQS gave no answer, it may exist or not."""

    key: str
    queue: str
    group: str | None
    at: float
    certain: bool = True


def key_of(body: str) -> str | None:
    """The value of `n` in a body that is a JSON object. It identifies a message, even if a copy has another id."""
    try:
        value = json.loads(body)
    except ValueError:
        return None
    return value.get("n") if isinstance(value, dict) else None


class Ledger:
    """Writes and reads the files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "ledger.jsonl"
        self.sent_path = directory / "sent.jsonl"

    @classmethod
    def of_environment(cls) -> Ledger:
        """The ledger of the process that a handler runs in."""
        return cls(Path(os.environ["LEDGER_DIR"]))

    def write(self, event: str, message: Message) -> None:
        """Add a line."""
        line = {
            "event": event,
            "queue": message.queue,
            "id": message.id,
            "body": message.body,
            "pid": os.getpid(),
            "at": time.monotonic(),
            "receiveCount": message.receive_count,
            "thread": threading.get_native_id(),
        }
        _append(self.path, line)

    def note_sent(self, sent: Iterable[Sent]) -> None:
        """Record messages that were sent."""
        for message in sent:
            _append(self.sent_path, asdict(message))

    def sent(self, queue: str | None = None) -> list[Sent]:
        """The messages that were sent so far, in order."""
        found = [Sent(**line) for line in _lines(self.sent_path)]
        return [message for message in found if queue is None or message.queue == queue]

    @contextmanager
    def handling(self, message: Message) -> Iterator[None]:
        """Record the start of handling, and its end or failure."""
        self.write("start", message)
        try:
            yield
        except BaseException:
            self.write("fail", message)
            raise
        self.write("end", message)

    def release(self, name: str) -> None:
        """Let the handlers that wait for `name` continue."""
        (self.directory / name).touch()

    def clear(self) -> None:
        """Remove everything from the directory, for the next test."""
        for path in self.directory.iterdir():
            if path.is_file() and path.suffix != ".log":
                path.unlink()

    def events(self, event: str | None = None, queue: str | None = None) -> list[Event]:
        """The lines so far, in order."""
        return [
            _event(line)
            for line in _lines(self.path)
            if (event is None or line["event"] == event) and (queue is None or line["queue"] == queue)
        ]

    def handled(self, queue: str | None = None) -> Counter[str]:
        """How often each message was handled to its end, by id."""
        return Counter(event.id for event in self.events("end", queue))

    def most_at_once(self, queue: str | None = None) -> int:
        """The largest number of messages that were handled at the same time."""
        changes = sorted((event.at, 1 if event.event == "start" else -1) for event in self.events(queue=queue))
        most = now = 0
        for _, change in changes:
            now += change
            most = max(most, now)
        return most


def _append(path: Path, line: dict[str, Any]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, json.dumps(line).encode() + b"\n")
    finally:
        os.close(descriptor)


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    # Read at once: what follows the last line's end is a line that is being written.
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


def _event(line: dict[str, Any]) -> Event:
    return Event(
        line["event"],
        line["queue"],
        line["id"],
        line["body"],
        line["pid"],
        line["at"],
        line["receiveCount"],
        line["thread"],
    )
