"""Requests that SQS refuses: an outage passes on its own, a missing permission or a disabled key does not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from queuesite.foundation.errors import ServerError, SqsUnavailable

#: For how long SQS may refuse every request of one kind, in seconds, before the run ends as an error. Permissions and
#: renewed credentials take some seconds to apply everywhere.
REFUSED_SECONDS = 10.0


class Refusals:
    """The refusals in a row of one kind of request; `give_up` is called once they have lasted `REFUSED_SECONDS`."""

    def __init__(
        self,
        give_up: Callable[[ServerError], None] = lambda error: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._give_up = give_up
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._since: float | None = None

    def note(self, error: ServerError, *, passes: bool | None = None) -> None:
        """Note a request that failed. `passes`: it is not a refusal; None: judge by the error."""
        if isinstance(error, SqsUnavailable) if passes is None else passes:
            self.over()
            return
        now = self._monotonic()
        with self._lock:
            if self._since is None:
                self._since = now
            lasted = now - self._since
        if lasted >= REFUSED_SECONDS:
            self._give_up(error)

    def over(self) -> None:
        """Note a request that was not refused."""
        self._since = None
