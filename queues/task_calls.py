"""A call of a task as a message carries it, and the attempts at it, as they are reported. Pure.

The body is JSON: `{"task": "shop.tasks.invoice", "args": [7], "kwargs": {}, "id": …, "enqueued_at": …, "backend": …}`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

#: Longest path of a task, and longest name of an alias and of a queue, in characters.
MAX_NAME = 500
#: Longest id of a result, as in Django's documentation.
MAX_ID = 64


class ConsumerDied(Exception):
    """The process that ran a task has died; appears in the errors of a result."""


class NoCall(ValueError):
    """A message is not a call of a task."""


@dataclass(frozen=True)
class Call:
    """One call of a task."""

    id: str
    #: Module and name of its function.
    task: str
    #: The queue's name and the alias in TASKS that it was enqueued with.
    queue: str
    backend: str
    #: Its arguments as JSON: an array and an object.
    args: str
    kwargs: str
    enqueued_at: datetime | None = None

    @classmethod
    def of(
        cls, key: str, task: str, queue: str, backend: str, args: Sequence[Any], kwargs: Mapping[str, Any], at: datetime
    ) -> Call:
        """The call with these arguments, which must be what JSON has."""
        return cls(key, task, queue, backend, json.dumps(list(args)), json.dumps(dict(kwargs)), at)

    @property
    def body(self) -> str:
        """The message's body: ASCII only, since SQS refuses some characters."""
        facts = {
            "id": self.id,
            "enqueued_at": self.enqueued_at.isoformat() if self.enqueued_at else None,
            "backend": self.backend,
        }
        return (
            f'{{"task": {json.dumps(self.task)}, "args": {self.args}, "kwargs": {self.kwargs}, {json.dumps(facts)[1:]}'
        )

    @classmethod
    def parse(cls, body: str, queue: str) -> Call:
        """The call in a body. Raises `NoCall`, which says what is wrong with it."""
        try:
            found = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise NoCall(f"the body is not JSON ({error})") from None
        if not isinstance(found, dict):
            raise NoCall(
                f"the body is a JSON {type(found).__name__}, expected an object with task, args, kwargs and id"
            )
        for name, kind, longest in (
            ("task", str, MAX_NAME), ("id", str, MAX_ID), ("args", list, None), ("kwargs", dict, None),
        ):  # fmt: skip
            value = found.get(name)
            if not isinstance(value, kind):
                what = "is missing" if name not in found else f"is {json.dumps(value)[:100]}"
                raise NoCall(f"{name} {what}: expected {_WORDS[kind]}")
            if isinstance(value, str) and not (len(value) <= (longest or 0) and _NAME.fullmatch(value)):
                raise NoCall(f"{name} is {value[:100]!r}: expected 1 to {longest} letters, digits, - . and _")
        backend = found.get("backend")
        return cls(
            id=found["id"],
            task=found["task"],
            queue=queue,
            backend=backend if isinstance(backend, str) and _NAME.fullmatch(backend) else "default",
            args=json.dumps(found["args"]),
            kwargs=json.dumps(found["kwargs"]),
            enqueued_at=_moment(found.get("enqueued_at")),
        )


_NAME = re.compile(r"[\w.-]+")
_WORDS = {str: "text", list: "an array", dict: "an object"}


def _moment(value: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return found if found is None or found.tzinfo is not None else None


@dataclass(frozen=True)
class Attempt:
    """One attempt at a call. Moments are the monotonic clock's, which all processes of a machine share.

    `status` is what the call's status is after it, by Django's words: RUNNING, SUCCESSFUL, FAILED, or READY if it is
    going to be tried again.
    """

    id: str
    worker: str
    started: float
    status: str = "RUNNING"
    ended: float | None = None
    #: Path of the exception's class, and the traceback.
    error: tuple[str, str] | None = None
    #: What the function returned, as JSON.
    returned: str | None = None
    #: Its message becomes a dead letter unless the attempt ends; and the job that it is part of, if so.
    last: bool = False
    job: str = ""


@dataclass(frozen=True)
class Change:
    """What is to be recorded of a call: an attempt at it, or without one that it was enqueued."""

    call: Call
    attempt: Attempt | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Of two changes with the same key, the later one says all."""
        return self.call.id, self.attempt.id if self.attempt is not None else ""

    @property
    def size(self) -> int:
        """About how much memory it takes, in characters of text."""
        call, attempt = self.call, self.attempt
        size = 500 + len(call.args) + len(call.kwargs)
        if attempt is not None:
            size += len(attempt.returned or "") + (len(attempt.error[1]) if attempt.error else 0)
        return size
