"""How many consumers the queues want, by pool: what a fleet of workers is scaled by. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from jobs.master.planner import WaitingQueue
from jobs.models import Assignment
from queues.fleet import DEFAULT_POOL


def slots_wanted(
    waiting: Iterable[WaitingQueue], held: Iterable[Assignment], pool_of: Callable[[Assignment], str | None]
) -> Mapping[str, int]:
    """Consumers that queues have or wait for, by pool; pools that none wants are missing.

    `held` are the assignments, and `pool_of` answers which pool the queue of one names. A queue that names no pool
    counts for the default one, wherever it is processed. One that no worker can serve counts too: it wants a worker.
    """
    wanted: dict[str, tuple[str | None, int]] = {queue.queue_url: (queue.pool, queue.wanted) for queue in waiting}
    total: Counter[str] = Counter()
    for pool, count in wanted.values():
        total[pool or DEFAULT_POOL] += count
    for assignment in held:
        if assignment.queue_url not in wanted:
            total[pool_of(assignment) or DEFAULT_POOL] += 1
    return dict(total)
