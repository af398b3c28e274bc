"""Queues with messages that no worker can serve: said once in the log, when it begins and when it ends."""

from __future__ import annotations

from collections.abc import Iterable

from bson import ObjectId

from jobs.master.backlog import Backlog
from queues.fleet import Fleet
from queuesite.foundation.logs import get_logger

log = get_logger(__name__)

#: Names that one line of the log has.
_NAMED = 10


class Unserved:
    """What has been logged. A new leader logs it again."""

    def __init__(self) -> None:
        self._known: dict[ObjectId, str] = {}

    def turn(self, unserved: Iterable[ObjectId], backlog: Backlog, fleet: Fleet) -> None:
        """Take the waiting queues that no worker of the fleet can serve."""
        begun: dict[str, list[str]] = {}
        for queue_id in unserved:
            entry = backlog.get(queue_id)
            reason = None if entry is None else fleet.reason(entry.queue.handler, entry.queue.pool)
            if entry is not None and reason is not None and self._known.get(queue_id) != reason:
                self._known[queue_id] = reason
                begun.setdefault(reason, []).append(entry.queue.name)
        for reason, names in begun.items():
            log.warning("queue_unserved", reason=reason, count=len(names), queues=sorted(names)[:_NAMED])
        ended = []
        # A queue that is paused or has no message now is still one that nobody can serve.
        for queue_id in list(self._known):
            entry = backlog.get(queue_id)
            if entry is None or fleet.reason(entry.queue.handler, entry.queue.pool) is None:
                del self._known[queue_id]
                ended += [] if entry is None else [entry.queue.name]
        if ended:
            log.info("queue_served_again", count=len(ended), queues=sorted(ended)[:_NAMED])
