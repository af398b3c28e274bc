"""What live workers announce, as `queues.handlers.catalogue` asks for it."""

from __future__ import annotations

from jobs import services
from jobs.placement import announced
from jobs.repositories import handlers, workers
from queues.fleet import DEFAULT_POOL
from queues.handlers.announcement import Announced
from queues.handlers.catalogue import Live
from queuesite.foundation.databases import database_clock

#: How many of the workers that left last are looked at for their pools.
_DEPARTED = 1_000


def live() -> Live:
    """The announcements of the live workers. Raises pymongo's errors."""
    now = database_clock.now()
    present = [worker for worker in services.list_workers() if services.is_alive(worker, now)]
    found: dict[str, dict[str, Announced]] = {}
    for worker in present:
        for one in announced(worker):
            found.setdefault(one.name, {})[one.version] = one
    several = any(len(versions) > 1 for versions in found.values())
    order = {(one.name, one.version): -place for place, one in enumerate(handlers.versions())} if several else {}

    def pools() -> frozenset[str]:
        now_and_lately = (*(one.pool for one in present), *(one.pool for one in workers.departures(_DEPARTED)))
        return frozenset(pool or DEFAULT_POOL for pool in now_and_lately)

    return Live(
        {
            name: sorted(
                versions.values(), key=lambda one: order.get((one.name, one.version), -len(order) - 1), reverse=True
            )
            for name, versions in found.items()
        },
        pools,
        len(present),
    )
