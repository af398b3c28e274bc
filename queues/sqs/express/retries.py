"""What is tried again, and when: botocore's standard mode, but for sends that might then be sent twice.

Three attempts in all; between them a random pause, up to an exponentially growing one; and a quota for the whole
client, so that an outage is not answered with three times the load. (`botocore.retries.standard` and `quota`.)
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from email.utils import mktime_tz, parsedate_tz
from enum import Enum

from queues.sqs.express.protocol import Refusal
from queues.sqs.refusals import THROTTLED, about_credentials
from queuesite.foundation.logs import get_logger

log = get_logger(__name__)

#: Attempts at one request, the first included.
ATTEMPTS = 3
#: Longest pause before an attempt, in seconds, and how many seconds an answer may ask for beyond the usual pause.
_LONGEST_PAUSE, _MOST_ASKED_FOR = 20.0, 5.0
#: SQS takes a signature that is five minutes old; the header Date is in whole seconds, and was on its way.
_SKEW = 240.0


class Kind(Enum):
    """Why to try again: seconds of the first pause at most, and what it costs of the quota."""

    TRANSIENT = (0.05, 14)
    THROTTLED = (1.0, 5)

    def __init__(self, base: float, cost: int) -> None:
        self.base, self.cost = base, cost

    def pause(self, attempt: int, luck: float, retry_after: str | None = None) -> float:
        """Seconds to wait after the attempt (1 for the first). `luck` is random, from 0 to 1.

        `retry_after` is the header `x-amz-retry-after` of the answer, in milliseconds.
        """
        seconds = luck * min(self.base * 2.0 ** (attempt - 1), _LONGEST_PAUSE)
        if retry_after is not None and retry_after.isascii() and retry_after.isdigit():
            return max(seconds, min(int(retry_after) / 1_000, seconds + _MOST_ASKED_FOR))
        return seconds


def of_refusal(refusal: Refusal, *, repeatable: bool) -> Kind | None:
    """Whether SQS may answer differently a moment later.

    What is throttled, or answered with 503, has not been done. After any other error of the server nobody knows, so
    that only what is `repeatable` is.
    """
    if refusal.code in THROTTLED or (refusal.status == 429 and not refusal.code):
        return Kind.THROTTLED
    if refusal.code == "RequestTimeout" or refusal.status == 503:
        return Kind.TRANSIENT
    return Kind.TRANSIENT if repeatable and refusal.status in (500, 502, 504) else None


class Quota:
    """What may be spent on repetitions. A success pays back what its last repetition cost, or one. Safe for threads."""

    CAPACITY = 500

    def __init__(self) -> None:
        self._left = self.CAPACITY
        self._lock = threading.Lock()

    def spend(self, kind: Kind) -> bool:
        """Spend what a repetition costs. False: there is not enough left, and nothing is spent."""
        with self._lock:
            if kind.cost > self._left:
                return False
            self._left -= kind.cost
            return True

    def success(self, last: Kind | None) -> None:
        """A request succeeded; `last` is why it was repeated for the last time, or None."""
        if self._left < self.CAPACITY:
            with self._lock:
                self._left = min(self.CAPACITY, self._left + (last.cost if last else 1))


class ServerClock:
    """SQS's time: ours, and how far it has turned out to be off."""

    def __init__(self, ours: Callable[[], float] = time.time) -> None:
        self._ours = ours
        self._offset = 0.0

    def now(self) -> float:
        """SQS's time, in seconds since 1970."""
        return self._ours() + self._offset

    def learn(self, refusal: Refusal, date: str) -> bool:
        """Whether SQS refused the signature because our clock is wrong; from now on its time is known.

        `date` is the answer's header of that name.
        """
        parsed = parsedate_tz(date) if date and about_credentials(refusal.code) else None
        if parsed is None:
            return False
        offset = mktime_tz(parsed) - self._ours()
        if abs(offset - self._offset) < _SKEW:
            return False
        self._offset = offset
        log.warning("clock_is_wrong", seconds=round(-offset), remedy="set this machine's clock, or have NTP do it")
        return True
