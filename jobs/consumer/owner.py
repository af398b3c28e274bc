"""Noticing, while a queue is processed that others own, that its owner has changed it.

A message that was received more often than the redrive policy allows, and a dead-letter queue that is not there, show
that the attributes which Queuesite knows are out of date. They are read again and followed at once; the worker hears
what was found, and writes it down for all others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from jobs.consumer.current_settings import CurrentSettings
from jobs.consumer.held import Held
from queuesite.foundation.errors import QueuesiteError
from queuesite.foundation.logs import get_logger
from queuesite.foundation.threads import OnDeath, supervised

log = get_logger(__name__)

#: Shortest time between two readings, in seconds: SQS takes up to a minute to apply an attribute everywhere.
READ_AGAIN_SECONDS = 60.0

#: Reads what SQS holds of the queue, by the names of the model's fields (`queues.following.read`).
ReadHeld = Callable[[], dict[str, Any]]


class OwnerWatch:
    """Reads the attributes again when there is a reason. `look` and `doubt` may be called by any thread."""

    def __init__(
        self,
        read: ReadHeld,
        current: CurrentSettings,
        on_death: OnDeath,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read
        self._current = current
        self._on_death = on_death
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._next = 0.0
        self._found: dict[str, Any] | None = None

    def look(self, messages: list[Held]) -> None:
        """Doubt the redrive policy if SQS gave out a message that it should have sent to the dead-letter queue."""
        queue = self._current.queue
        if queue.dlq_url is not None and any(one.message.receive_count > queue.max_receive_count for one in messages):
            self.doubt()

    def doubt(self) -> None:
        """Have the attributes read again, unless that was done a moment ago."""
        with self._lock:
            now = self._monotonic()
            if now < self._next:
                return
            self._next = now + READ_AGAIN_SECONDS
        supervised("owner", self._read_again, self._on_death).start()

    def _read_again(self) -> None:
        try:
            found = self._read()
            changed = self._current.follow(found)
        except QueuesiteError as error:
            log.warning("attributes_not_read", error=str(error), meaning="the queue is processed by those known")
            return
        with self._lock:
            self._found = found
        log.info("attributes_read_again", changed=changed)

    def take(self) -> dict[str, Any] | None:
        """What was found since the last call, if anything was."""
        with self._lock:
            found, self._found = self._found, None
        return found
