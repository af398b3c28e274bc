"""Dead letters, counted in the background: the master's sweep looks at what is to be processed, not at these."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from bson import ObjectId

from queues import repository, services
from queues.models import Queue
from queuesite.databases import mongodb_errors

#: Queues whose dead letters are counted in one go, and how many at once. A count is a request that AWS charges for:
#: 200 a minute are nine million a month.
OBSERVED_AT_ONCE = 200
_PARALLEL = 16


def observe_dead_letters() -> int:
    """Count the dead letters of those queues that were not counted for the longest time; how many were."""

    def count(queue: Queue) -> tuple[ObjectId, int | None]:
        if queue.dlq_url is None:
            return queue.id, None
        return queue.id, services.dead_letters(queue)

    with mongodb_errors():
        queues = repository.least_observed(OBSERVED_AT_ONCE)
        with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="dead-letters") as pool:
            counts = dict(pool.map(count, queues))
        repository.dead_letters_observed({queue_id: found for queue_id, found in counts.items() if found is not None})
    return len(counts)
