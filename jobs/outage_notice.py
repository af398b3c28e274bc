"""The notices that MongoDB does not answer and that it does again, and when a master sends them.

The background tasks send them (`mongodb_notice`), and in their place a master, if they were away before.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from datetime import datetime

from django.utils import timezone

from jobs import notices, silences
from jobs.alert_models import NoticeKind
from jobs.repositories.alerts import SYSTEM
from queuesite.foundation.config import get_config
from queuesite.foundation.quantities import duration

_PROBLEM = f"{SYSTEM}: no-mongodb"


def tell_begun(reason: str) -> bool:
    """Send the notice that MongoDB is away; whether an address took it."""
    text = f"{_PROBLEM}: {reason}. Nothing is assigned, recorded or shown meanwhile"
    return not notices.deliver(NoticeKind.BEGUN, "Queuesite: 1 problem", text)


def tell_over(seconds: float) -> None:
    """Send the notice that MongoDB answers again, which it has not done for so long."""
    text = f"over: {_PROBLEM}: it lasted {duration(seconds)}"
    notices.deliver(NoticeKind.OVER, "Queuesite: 1 problem over", text)


def silent_until() -> datetime | None:
    """Until when there are no notices of anything, by a silence that holds. Raises pymongo's errors."""
    return next((one.until for one in silences.current() if one.id == SYSTEM), None)


class OutageNotice:
    """What one master knows of it. Only the master that sent last in the background tasks' place tells of an outage.

    Without MongoDB no other master can be asked. If the background tasks come back during the outage, they tell of it
    too; if the master dies during the outage, nobody tells of its end.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._stands_in = False
        self._silent_until: datetime | None = None
        self._since: float | None = None
        self._told = False

    def answers(self, *, stands_in: bool) -> None:
        """MongoDB answers; `stands_in`: this master sends for the background tasks. Raises pymongo's errors."""
        silent = silent_until() if stands_in else None
        if self._told and self._since is not None:
            tell_over(self._monotonic() - self._since)
        self._stands_in = stands_in
        self._silent_until = silent
        self._since, self._told = None, False

    def away(self) -> None:
        """MongoDB does not answer: send the notice, once, if that has lasted and there is no silence of everything."""
        if self._since is None:
            self._since = self._monotonic()
        lasts = self._monotonic() - self._since >= get_config().alert_after_seconds
        silent = self._silent_until is not None and self._silent_until > timezone.now()
        if self._stands_in and lasts and not silent and not self._told:
            self._told = tell_begun(
                f"MongoDB does not answer the master on {socket.gethostname()}, and nobody runs the background tasks "
                "(qcluster)"
            )
