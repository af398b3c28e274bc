"""The leader's reading of the queues' definitions: everything at times, and in between what has changed."""

from __future__ import annotations

import random
import threading
from collections.abc import Set
from datetime import UTC, datetime, timedelta

from bson import ObjectId

from jobs.master.backlog import Backlog
from queues import repository as queues
from queuesite.foundation.databases import database_clock

#: Seconds between readings of all definitions, in case a change stream has missed one.
RELOAD_SECONDS = 60.0
#: How many seconds polling for changes looks back beyond its last look: our reading of the database's clock may be
#: ahead of it by half a slow round trip, and a change that was dated in between would not be seen.
LOOK_BACK_SECONDS = 2.0


class Definitions:
    """Keeps a backlog's definitions up to date. `changed` and `reload` may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed: set[ObjectId] = set()
        self._reload = True
        self._next_reload = 0.0
        #: Up to when polling has seen all changes; has no meaning before the first reading of everything.
        self._blind_since = datetime.now(UTC)

    def changed(self, queue_id: ObjectId) -> None:
        """Have a definition read again."""
        with self._lock:
            self._changed.add(queue_id)

    def reload(self) -> None:
        """Have all definitions read again."""
        self._reload = True

    def read(self, backlog: Backlog, also: Set[ObjectId], now: float, *, live: bool) -> None:
        """Read what has changed, and the definitions in `also`. Raises pymongo's errors.

        `live` says that a change stream names what changed. Otherwise the definitions with newer dates are read.
        """
        if self._reload or now >= self._next_reload:
            self._reload = False
            self._next_reload = now + RELOAD_SECONDS * random.uniform(0.9, 1.1)
            with self._lock:
                self._changed.clear()
            self._blind_since = database_clock.now()
            backlog.replace(queues.all_queues(), now)
            return
        with self._lock:
            changed, self._changed = self._changed | also, set()
        if changed:
            found = queues.by_ids(changed)
            for queue in found:
                backlog.learn(queue, now)
            for queue_id in changed - {queue.id for queue in found}:
                backlog.forget(queue_id)
        if not live:
            since, self._blind_since = self._blind_since, database_clock.now()
            for queue in queues.changed_since(since - timedelta(seconds=LOOK_BACK_SECONDS)):
                backlog.learn(queue, now)
