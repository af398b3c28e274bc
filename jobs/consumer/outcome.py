"""What came of handling a message, as a value. Pure: one place decides, another acts."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from jobs.consumer.backoff import retry_delay
from jobs.failures import storable
from queues.handlers import Reject, Retry, Unavailable
from queues.handlers.calling import UNFINISHED
from queues.handlers.retrying import RetryPolicy
from queues.sqs import MAX_VISIBILITY_SECONDS

if TYPE_CHECKING:
    from jobs.consumer.settings import QueueSettings


class TimedOut(Exception):
    """A handler took longer than its time limit, in seconds."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        super().__init__(f"the handler took longer than its time limit of {limit:g} s")


class Unfinished(Exception):
    """A handler returned work in place of doing it: an awaitable, a generator, a future."""

    @classmethod
    def of(cls, result: object) -> Unfinished | None:
        """The error that `result` is, or None if it is a value like any other."""
        if not isinstance(result, UNFINISHED):
            return None
        return cls(
            f"the handler returned {type(result).__name__!r}, whose work is not done: "
            "await it, loop over it or take its result within the handler"
        )


@dataclass(frozen=True)
class Done:
    """Handled: the message is deleted."""


@dataclass(frozen=True)
class TryAgain:
    """Failed: the message is visible again after `delay` seconds."""

    delay: int
    error: str
    timed_out: bool = False
    #: The handler asked for it, which is not a failure to a breaker.
    asked: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Unreachable:
    """What the handler needs is down: the run ends as tripped, and the message waits as long as the queue does."""

    error: str
    retry_after: float | None = None
    timed_out: bool = False


@dataclass(frozen=True)
class GiveUp:
    """Rejected: the message goes to the dead-letter queue at once."""

    reason: str


Outcome = Done | TryAgain | Unreachable | GiveUp

DONE = Done()


def makes_dead_letter(outcome: Outcome, receive_count: int, queue: QueueSettings) -> bool:
    """Whether the message is in the queue's dead-letter queue once this outcome has been acted on.

    Without a dead-letter queue it is kept and tried again. On a standard queue, receives do not count while what the
    handler needs is down, see `tripping`; on a FIFO queue a copy would break the order.
    """
    if isinstance(outcome, Done) or (isinstance(outcome, Unreachable) and not queue.fifo):
        return False
    rejected = isinstance(outcome, GiveUp) and queue.dlq_url is not None
    return rejected or queue.is_last_receive(receive_count)


def judge(
    result: object, error: BaseException | None, receive_count: int, policy: RetryPolicy | None = None
) -> Outcome:
    """The outcome of a handler that returned `result`, or raised `error`, at a message's `receive_count`th receive.

    The classes `Retry`, `Reject` and `Unavailable` are as good as instances without a reason; `policy` says what other
    exceptions lead to. Raises `ValueError` if a delay is none that SQS takes, and whatever an answer of a class of the
    handler's own raises.
    """
    answer = error if error is not None else result
    if policy is not None and error is not None and not isinstance(error, Retry | Reject | Unavailable):
        return _by_policy(policy, error, receive_count)
    if answer is None:
        return DONE
    kind = answer if isinstance(answer, type) else type(answer)
    if issubclass(kind, Reject):
        return GiveUp(text_of((None if answer is kind else answer.reason) or "rejected"))  # type: ignore[attr-defined]
    if issubclass(kind, Retry):
        # A subclass need not call Retry's constructor, and may set what it likes.
        asked: Any = None if answer is kind else answer.delay  # type: ignore[attr-defined]
        reason = (None if answer is kind else answer.reason) or "retry requested"  # type: ignore[attr-defined]
        return TryAgain(retry_delay(receive_count) if asked is None else _seconds(asked), text_of(reason), asked=True)
    if issubclass(kind, Unavailable):
        after: Any = None if answer is kind else answer.retry_after  # type: ignore[attr-defined]
        name = (None if answer is kind else answer.dependency) or "a dependency"  # type: ignore[attr-defined]
        return Unreachable(text_of(f"{name} is unavailable"), None if after is None else _seconds(after))
    return failed(error, receive_count) if error is not None else DONE


def _by_policy(policy: RetryPolicy, error: BaseException, receive_count: int) -> Outcome:
    found = policy.answer(error, receive_count)
    usual = failed(error, receive_count)
    if found is None:
        return usual
    if isinstance(found, int | float):
        return replace(usual, delay=_seconds(found))
    outcome = judge(None, found() if isinstance(found, type) else found, receive_count)
    # The error is what went wrong; the answer may add a reason of its own.
    match outcome:
        case GiveUp():
            return GiveUp(usual.error if outcome.reason == "rejected" else f"{outcome.reason} ({usual.error})")
        case Unreachable():
            return replace(outcome, timed_out=usual.timed_out)
        case TryAgain():
            return replace(usual, delay=outcome.delay)
    return usual


def failed(error: BaseException, receive_count: int) -> TryAgain:
    """The outcome of an attempt that ended with an error, whatever that is."""
    return TryAgain(retry_delay(receive_count), describe(error), timed_out=isinstance(error, TimedOut))


def close(result: object) -> None:
    """End a coroutine or generator that is not going to be run: Python would warn of one that was never awaited."""
    end = getattr(result, "close", None)
    if end is not None:
        with suppress(BaseException):
            end()


def describe(error: BaseException) -> str:
    """An exception in one line; one whose own text cannot be made does no harm."""
    text = text_of(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def text_of(value: object) -> str:
    """`value`, with an exception's notes, as text that MongoDB and SQS can store: UTF-8 without lone surrogates."""
    try:
        text = str(value)
        if notes := getattr(value, "__notes__", None):
            text = f"{text} ({'; '.join(map(str, notes))})".lstrip()
    except BaseException:  # a handler's own class may raise anything here, SystemExit too
        text = "(its message cannot be shown)"
    return storable(text)


def _seconds(delay: Any) -> int:
    if not isinstance(delay, int | float) or not 0 <= delay <= MAX_VISIBILITY_SECONDS:  # NaN is not, either
        raise ValueError(
            f"a retry's delay is {delay!r}: expected 0 to {MAX_VISIBILITY_SECONDS} seconds (12 h), or None"
        )
    return math.ceil(delay)
