"""Waiting for conditions: a test never sleeps for a fixed time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: First and longest pause between two calls, in seconds.
SHORTEST, LONGEST = 0.005, 0.25


def eventually(condition: Callable[[], T], seconds: float, what: str) -> T:
    """Call `condition` until its result is true, and return it. Fails with `what` and the last result after `seconds`.

    An `AssertionError` of the condition counts as not yet true, so that it may hold assertions.
    """
    deadline = time.monotonic() + seconds
    pause = SHORTEST
    while True:
        failed: AssertionError | None = None
        answer: T | None = None
        try:
            answer = condition()
        except AssertionError as error:
            failed = error
        else:
            if answer:
                return answer
        if time.monotonic() >= deadline:
            last = str(failed) if failed is not None else repr(answer)
            raise AssertionError(f"not within {seconds:g} s: {what} (last: {last})") from failed
        time.sleep(pause)
        pause = min(2 * pause, LONGEST)
