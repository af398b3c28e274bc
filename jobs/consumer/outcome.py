"""What came of handling a message, as a value. Pure: one place decides, another acts."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jobs.consumer.backoff import retry_delay
from jobs.failures import storable
from queues.handlers import Reject, Retry


class TimedOut(Exception):
    """A handler took longer than its time limit, in seconds."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        super().__init__(f"the handler took longer than its time limit of {limit:g} s")


@dataclass(frozen=True)
class Done:
    """Handled: the message is deleted."""


@dataclass(frozen=True)
class TryAgain:
    """Failed: the message is visible again after `delay` seconds."""

    delay: int
    error: str
    timed_out: bool = False


@dataclass(frozen=True)
class GiveUp:
    """Rejected: the message goes to the dead-letter queue at once."""

    reason: str


Outcome = Done | TryAgain | GiveUp


def judge(result: object, error: BaseException | None, receive_count: int) -> Outcome:
    """The outcome of a handler that returned `result`, or raised `error`, at a message's `receive_count`th receive."""
    answer = error if error is not None else result
    if isinstance(answer, Reject):
        return GiveUp(text_of(answer.reason or "rejected"))
    if isinstance(answer, Retry):
        delay = retry_delay(receive_count) if answer.delay is None else math.ceil(answer.delay)
        return TryAgain(delay, text_of(answer.reason or "retry requested"))
    if error is not None:
        return TryAgain(retry_delay(receive_count), describe(error), timed_out=isinstance(error, TimedOut))
    return Done()


def describe(error: BaseException) -> str:
    """An exception in one line; one whose own text cannot be made does no harm."""
    text = text_of(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def text_of(value: object) -> str:
    """`value` as text that MongoDB and SQS can store: UTF-8 without lone surrogates."""
    try:
        text = str(value)
    except BaseException:  # a handler's own class may raise anything here, SystemExit too
        text = "(its message cannot be shown)"
    return storable(text)
