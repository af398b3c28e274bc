"""Leadership: one of several masters leads, by a lease that it must renew in time.

The leader trusts its lease for less than the lease lives, counted from when the attempt to renew it *began*: whatever
the network does, it has stopped before another can start. An attempt whose outcome is unknown counts as lost.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from jobs.repositories import leases
from queuesite.databases import MongoError
from queuesite.logs import get_logger

log = get_logger(__name__)

#: Share of the lease's life for which it is trusted: the rest covers clocks that run at different speeds, and the time
#: between looking whether it is trusted and the end of the write that relies on it.
TRUSTED_SHARE = 0.7


class Leadership:
    """Whether this process leads. For one thread; only `term` and `lease_changed` may be used by others."""

    def __init__(self, holder: str, ttl: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.holder = holder
        self._ttl = ttl
        self._monotonic = monotonic
        self._term: int | None = None
        self._trusted_until = float("-inf")
        self.next_attempt = float("-inf")

    @property
    def term(self) -> int | None:
        """The term in which this process leads; None if it does not lead, or cannot be sure that it does."""
        return self._term if self._monotonic() < self._trusted_until else None

    def attempt(self) -> int | None:
        """Renew the lease, or try to win it; the term in which this process now leads, or None.

        Raises pymongo's errors after having stepped down.
        """
        began = self._monotonic()
        # Renewed at a third of its life, so that two attempts may fail; jittered, lest standbys move in step.
        self.next_attempt = began + self._ttl / 3 * random.uniform(0.85, 1.0)
        before = self._term
        try:
            if before is not None and leases.renew(self.holder, before, self._ttl):
                term: int | None = before
            else:
                term = leases.acquire(self.holder, self._ttl)
        except MongoError:
            self._step_down("the outcome of the attempt is unknown")
            raise
        if term is None:
            self._step_down("another master has the lease")
            return None
        self._term, self._trusted_until = term, began + self._ttl * TRUSTED_SHARE
        if term != before:
            log.info("leadership_won", holder=self.holder, term=term)
        return self.term

    def resign(self) -> None:
        """Give up the lease, so that a standby takes over at once."""
        term, self._term = self._term, None
        if term is not None:
            leases.resign(self.holder, term)
            log.info("leadership_resigned", holder=self.holder, term=term)

    def lease_changed(self) -> None:
        """Make a standby's next attempt due: the lease may be free now."""
        if self._term is None:
            self.next_attempt = float("-inf")

    def _step_down(self, why: str) -> None:
        if self._term is not None:
            log.warning("leadership_lost", holder=self.holder, term=self._term, reason=why)
        self._term, self._trusted_until = None, float("-inf")
