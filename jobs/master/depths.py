"""Recording the observed depths of queues, for pages and metrics."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from itertools import islice

from bson import ObjectId

from queues import repository as queues
from queues.sqs import Depth
from queuesite.foundation.databases import MongoError
from queuesite.foundation.logs import get_logger
from queuesite.foundation.threads import joined, supervised

log = get_logger(__name__)

#: Seconds for which depths are gathered before they are written.
GATHER_SECONDS = 1.0
#: How many depths are written at once: the embedded server does nothing else meanwhile.
WRITTEN_AT_ONCE = 500


class DepthLog:
    """Gathers depths, and writes them in a thread: a queue may wait for the master's loop, but nobody for a figure."""

    def __init__(self) -> None:
        self._depths: dict[ObjectId, Depth] = {}
        self._due = 0.0
        self._thread = threading.Thread()

    def note(self, queue_id: ObjectId, depth: Depth) -> None:
        """Have this depth written; only a queue's last one is."""
        self._depths[queue_id] = depth

    def clear(self) -> None:
        """Forget what is not written yet: another master may have led since."""
        self._depths.clear()

    def turn(self, now: float) -> None:
        """Start writing if that is due at `now` (monotonic clock)."""
        if not self._depths or now < self._due or self._thread.is_alive():
            return
        self._due = now + GATHER_SECONDS
        some = dict(islice(self._depths.items(), WRITTEN_AT_ONCE))
        for queue_id in some:
            del self._depths[queue_id]
        self._thread = supervised("depths", lambda: write(some))
        self._thread.start()

    def join(self, timeout: float) -> bool:
        """Wait for the thread; whether it has ended, or was never started."""
        return joined(self._thread, timeout)


def write(depths: Mapping[ObjectId, Depth]) -> None:
    """Write depths. What MongoDB does not take is lost, and is seen again soon enough."""
    try:
        queues.observed(dict(depths))
    except MongoError as error:
        log.warning("depths_not_recorded", count=len(depths), error=str(error)[:300])
