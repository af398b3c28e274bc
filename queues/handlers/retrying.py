"""What `@handler` takes for failures: `retry=`, which answers by what went wrong, and `breaker=`."""

from __future__ import annotations

import inspect
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from queues.handlers.contract import OUTCOMES, is_outcome
from queues.sqs import MAX_VISIBILITY_SECONDS

#: Most failures that a breaker counts, and the longest span of time in which it does, in seconds.
MOST_FAILURES = 10_000
LONGEST_WITHIN = 3_600.0


@dataclass(frozen=True)
class Exponential:
    """Delays that double; see `exponential`."""

    first: float
    cap: float

    def __call__(self, receive_count: int) -> int:
        """Seconds until a message that failed at its `receive_count`th receive is tried again."""
        ceiling = min(self.first * 2.0 ** min(max(receive_count, 1) - 1, 30), self.cap)
        return max(1, round(random.uniform(0, ceiling)))


def exponential(first: float, *, cap: float = MAX_VISIBILITY_SECONDS) -> Exponential:
    """A random delay of up to `first` seconds after the first receive, doubling with each, up to `cap` seconds.

    Both are above 0 and at most 43,200 (12 h); `cap` is no less than `first`. Raises `ValueError` otherwise.
    """
    if not _is_delay(first) or not _is_delay(cap) or not 0 < first <= cap:
        raise ValueError(
            f"exponential({first!r}, cap={cap!r}): expected seconds above 0, with cap at most {MAX_VISIBILITY_SECONDS} "
            "(12 h) and no less than the first"
        )
    return Exponential(first, cap)


#: What an exception may lead to: seconds, a function of the receive count that answers seconds, or an outcome as
#: handlers raise it, its class or an instance.
Answer = float | Callable[[int], float] | type[Exception] | Exception


@dataclass(frozen=True)
class RetryPolicy:
    """What happens after a handler's exceptions."""

    answers: Mapping[type[BaseException], Answer]

    def answer(self, error: BaseException, receive_count: int) -> BaseException | type[BaseException] | float | None:
        """What the nearest class of `error` that has an answer leads to: an outcome, or seconds; None without one.

        Raises what a function among the answers raises.
        """
        for kind in type(error).__mro__:
            if kind in self.answers:
                found = self.answers[kind]
                if isinstance(found, type | BaseException | int | float):
                    return found
                return found(receive_count)
        return None

    @property
    def rules(self) -> tuple[str, ...]:
        """What happens after each exception in words, such as `TimeoutError: again after 30 s`."""
        return tuple(f"{kind.__qualname__}: {_in_words(answer)}" for kind, answer in self.answers.items())


def _in_words(answer: Any) -> str:
    if isinstance(answer, int | float):
        return f"again after {answer:g} s"
    if isinstance(answer, Exponential):
        return f"again after up to {answer.first:g} s, doubling up to {answer.cap:g} s"
    kind = answer if isinstance(answer, type) else type(answer)
    if issubclass(kind, OUTCOMES):
        # An instance's dependency, or its reason.
        said = next((text for name in ("dependency", "reason") if (text := getattr(answer, name, ""))), "")
        return f"{kind.__name__} ({said})" if said else kind.__name__
    return f"again as {getattr(answer, '__qualname__', kind.__qualname__)} says"


@dataclass(frozen=True)
class Breaker:
    """How many failed attempts, within how many seconds, show that what the handler needs is down."""

    failures: int
    within: float

    def __str__(self) -> str:
        return f"{self.failures} failed attempts within {self.within:g} s"


def retry_policy(given: Any) -> RetryPolicy | None:
    """The policy that `retry=` asks for. Raises `ValueError`, whose text completes "retry=…: "."""
    if given is None:
        return None
    if not isinstance(given, Mapping) or not given:
        raise ValueError(f"expected a mapping of exception classes, as in {{ConnectionError: 30}}; got {given!r}")
    for kind, answer in given.items():
        if not isinstance(kind, type) or not issubclass(kind, BaseException):
            raise ValueError(f"{kind!r} is not an exception class")
        if issubclass(kind, OUTCOMES):
            raise ValueError(f"{kind.__name__} is an outcome already, which a handler raises itself")
        _check_answer(kind, answer)
    return RetryPolicy(dict(given))


def _check_answer(kind: type[BaseException], answer: Any) -> None:
    if is_outcome(answer) or _is_delay(answer):
        return
    if callable(answer) and not isinstance(answer, type):
        if inspect.iscoroutinefunction(answer):
            raise ValueError(f"{kind.__name__} has {answer!r}: expected a plain function, not one that is async")
        try:
            inspect.signature(answer).bind(1)
        except TypeError as error:
            raise ValueError(
                f"{kind.__name__} has {answer!r}, which cannot be called with a receive count: {error}"
            ) from None
        except ValueError:  # some of C's have no signature
            pass
        return
    raise ValueError(
        f"{kind.__name__} has {answer!r}: expected 0 to {MAX_VISIBILITY_SECONDS} seconds (12 h), exponential(…), "
        "a function of the receive count, Reject, Retry or Unavailable"
    )


def breaker(given: Any) -> Breaker | None:
    """The breaker that `breaker=` asks for. Raises `ValueError`, whose text completes "breaker=…: "."""
    if given is None:
        return None
    if not isinstance(given, Mapping) or set(given) != {"failures", "within"}:
        raise ValueError(f'expected {{"failures": 20, "within": 60}}, both of them and nothing else; got {given!r}')
    failures, within = given["failures"], given["within"]
    if not isinstance(failures, int) or isinstance(failures, bool) or not 1 <= failures <= MOST_FAILURES:
        raise ValueError(f"failures is {failures!r}: expected a whole number from 1 to {MOST_FAILURES:,}")
    if not _is_number(within) or not 0 < within <= LONGEST_WITHIN:
        raise ValueError(f"within is {within!r}: expected seconds above 0 and at most {LONGEST_WITHIN:,.0f}")
    return Breaker(failures, float(within))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_delay(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= MAX_VISIBILITY_SECONDS
