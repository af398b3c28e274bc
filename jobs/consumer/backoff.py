"""Delays before a retry. Pure: exponential with full jitter, as measured best for contended clients by AWS.

https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
"""

from __future__ import annotations

import random

from queues.sqs import MAX_VISIBILITY_SECONDS

#: Upper bound of the first retry's delay, in seconds; each further receive doubles it.
BASE_SECONDS = 2

#: Upper bound of a queue's pause after failed runs in a row, in seconds.
LONGEST_CRASH_PAUSE = 300.0

#: A queue's pause after the first run in a row that tripped, in seconds, and the longest.
FIRST_TRIP_PAUSE = 30.0
LONGEST_TRIP_PAUSE = 900.0


def retry_delay(receive_count: int, rng: random.Random | None = None) -> int:
    """Seconds until a message that failed at its `receive_count`th receive is tried again.

    From 1 to 43,200 (12 h, SQS's limit).
    """
    exponent = min(max(receive_count, 1) - 1, 30)
    ceiling = min(BASE_SECONDS * 2**exponent, MAX_VISIBILITY_SECONDS)
    return max(1, round(rng.uniform(0, ceiling) if rng is not None else random.uniform(0, ceiling)))


def crash_pause(count: int) -> float:
    """Seconds until a queue is assigned again after its `count`th failed run in a row: none after the first."""
    return 0.0 if count <= 1 else min(2.0 ** (count - 1), LONGEST_CRASH_PAUSE)


def trip_pause(count: int, retry_after: float | None = None) -> float:
    """Seconds until a queue is tried again after its `count`th run in a row that tripped: `retry_after` at least."""
    doubled = min(FIRST_TRIP_PAUSE * 2.0 ** min(max(count, 1) - 1, 30), LONGEST_TRIP_PAUSE)
    return max(doubled, retry_after or 0.0)
