"""Kinds of failure: what a handler raised, and where. Pure values: consumers count them, workers record them."""

from __future__ import annotations

import hashlib
import sysconfig
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from types import TracebackType

#: How much of a body and of a traceback is kept, in bytes and in characters (its end, which names the place).
SAMPLE_BYTES = 4_096
TRACEBACK_CHARACTERS = 16_384
MESSAGE_CHARACTERS = 2_000
NAME_CHARACTERS = 200
PLACE_CHARACTERS = 500
#: Kinds of failure that one run counts between two reports; a handler that makes up a new one each time has no more.
MAX_KINDS = 100

#: Where the interpreter's library and installed packages are: an error in them is put down to the code that called.
_LIBRARY = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})

#: What calls handlers.
_CALLERS = ("jobs.consumer.", "queues.handlers.calling", "queues.handlers.middleware", "queues.middleware")

#: Makes a traceback's text, if one is wanted.
Trace = Callable[[], str]


@dataclass(frozen=True)
class FailureGroup:
    """One kind of failure, `count` times between `first_at` and `last_at` (monotonic clock), with a sample."""

    exception_type: str
    place: str
    message: str
    traceback: str
    first_at: float
    last_at: float
    count: int = 1
    message_id: str | None = None
    receive_count: int | None = None
    sample_body: str | None = None
    #: Of a retry that the handler asked for: its kind of reason (`jobs.retry_reasons`). None: it is a failure.
    retry_reason: str | None = None

    @property
    def fingerprint(self) -> str:
        """What makes it one kind: the exception's type and its place, not what it says; of a retry, its reason too."""
        return fingerprint(self.exception_type, self.place, self.retry_reason)

    def and_again(self, other: FailureGroup) -> FailureGroup:
        """Both together: the counts of both, and the sample of the later one."""
        later = other if other.last_at >= self.last_at else self
        return replace(
            later,
            count=self.count + other.count,
            first_at=min(self.first_at, other.first_at),
            last_at=max(self.last_at, other.last_at),
        )


class FailureGroups:
    """Failures counted by kind, up to `MAX_KINDS` kinds. Not thread-safe."""

    def __init__(self) -> None:
        self._groups: dict[str, FailureGroup] = {}

    def __len__(self) -> int:
        return len(self._groups)

    def seen(self, key: str, at: float) -> bool:
        """Count one more of a known kind; False if it is not known, so that a sample is wanted."""
        known = self._groups.get(key)
        if known is not None:
            self._groups[key] = replace(known, count=known.count + 1, last_at=at)
        return known is not None or len(self._groups) >= MAX_KINDS

    def add(self, failures: Iterable[FailureGroup]) -> None:
        """Count these."""
        for failure in failures:
            known = self._groups.get(failure.fingerprint)
            if known is not None:
                self._groups[failure.fingerprint] = known.and_again(failure)
            elif len(self._groups) < MAX_KINDS:
                self._groups[failure.fingerprint] = failure

    def take(self) -> tuple[FailureGroup, ...]:
        """Return what was counted, and start again."""
        taken, self._groups = tuple(self._groups.values()), {}
        return taken


def fingerprint(exception_type: str, place: str, retry_reason: str | None = None) -> str:
    """A short name for (exception type, place, reason of a retry): 32 hexadecimal digits."""
    kind = f"{exception_type}\n{place}" if retry_reason is None else f"{exception_type}\n{place}\n{retry_reason}"
    return hashlib.blake2b(kind.encode("utf-8", "replace"), digest_size=16).hexdigest()


def type_name(error: BaseException) -> str:
    """An exception's type with its module, as in a traceback."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def place_of(trace: TracebackType | None, otherwise: str) -> str:
    """The function in which an error arose: the innermost that is not of a library, else the innermost."""
    place = innermost = None
    while trace is not None:
        code = trace.tb_frame.f_code
        module = trace.tb_frame.f_globals.get("__name__", "?")
        innermost = f"{module}.{code.co_qualname}" if hasattr(code, "co_qualname") else f"{module}.{code.co_name}"
        # The frames that call every handler say nothing.
        if not code.co_filename.startswith((*_LIBRARY, "<")) and not module.startswith(_CALLERS):
            place = innermost
        trace = trace.tb_next
    return place or innermost or otherwise


def trace_text(error: BaseException) -> str:
    """The traceback as text, without the executor's frames; an exception that cannot be shown does no harm."""
    try:
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith(_CALLERS):
            trace = trace.tb_next
        text = "".join(traceback.format_exception(type(error), error, trace))
    except BaseException:  # a handler's own class may raise anything from its __str__, SystemExit too
        text = f"{type_name(error)} (its traceback cannot be shown)"
    return storable(text)[-TRACEBACK_CHARACTERS:]


def sample(body: str) -> str:
    """The beginning of a body, `SAMPLE_BYTES` of it at the most."""
    return body.encode("utf-8", "backslashreplace")[:SAMPLE_BYTES].decode("utf-8", "ignore")


def storable(text: str) -> str:
    """`text` as MongoDB and SQS can store it: UTF-8, without lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode()
