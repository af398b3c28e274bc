"""The sync of queues with SQS at the master's start, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable

from queues.sync import sync
from queuesite.databases import mongodb_errors
from queuesite.errors import ServerError
from queuesite.logs import get_logger
from queuesite.outage import Outage
from queuesite.threads import OnDeath, end_process, joined, supervised

log = get_logger(__name__)


class _Stopped(Exception):
    """The master stops, so the sync need not go on."""


class StartSync:
    """Syncs once, and tries until SQS and MongoDB have answered."""

    def __init__(self, synchronize: Callable[..., object] = sync, on_death: OnDeath = end_process) -> None:
        self._synchronize = synchronize
        self._stopping = threading.Event()
        self._thread = supervised("sync", self.run, on_death)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Break the sync off before its next queue. What is left undone the next master's start does."""
        self._stopping.set()

    def join(self, timeout: float) -> bool:
        """Wait for the thread; whether it has ended."""
        return joined(self._thread, timeout)

    def run(self) -> None:
        """Sync; what the thread does."""
        outage = Outage("sync")
        while not self._stopping.is_set():
            try:
                with mongodb_errors():
                    self._synchronize(self._check, self._check)
                return
            except ServerError as error:
                self._stopping.wait(outage.failed(error))
            except Exception:
                # An interpreter that is shutting down starts no threads any more, and says so by a `RuntimeError`.
                if not self._stopping.is_set():
                    raise
                log.info("sync_broken_off")
                return

    def _check(self, count: int) -> None:
        if self._stopping.is_set():
            raise _Stopped
