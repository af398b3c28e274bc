"""Counts a process's MongoDB commands, for benchmarks and for tests that limit their number."""

from __future__ import annotations

import threading

from pymongo import monitoring


class OperationCounter(monitoring.CommandListener):
    """Counts commands, only of `thread` if that is given. Register it before the process connects."""

    def __init__(self) -> None:
        #: The thread whose commands are counted; None: all.
        self.thread: int | None = None
        self.count = 0

    def register(self) -> None:
        """Count for all clients that are created from now on."""
        monitoring.register(self)

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        """Count the command."""
        if self.thread is None or threading.get_ident() == self.thread:
            self.count += 1

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Says nothing new."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Says nothing new."""
