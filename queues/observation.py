"""What is observed in the background: dead letters, which the master's sweep does not count, and past depths."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from bson import ObjectId

from queues import repository, services
from queues.models import Queue
from queues.sqs import Depth
from queuesite.databases import database_clock

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

    queues = repository.least_observed(OBSERVED_AT_ONCE)
    with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="dead-letters") as pool:
        counts = dict(pool.map(count, queues))
    repository.dead_letters_observed({queue_id: found for queue_id, found in counts.items() if found is not None})
    return len(counts)


def sample_depths() -> None:
    """Record what queues were last seen to hold as that of this minute. Raises `MongoUnavailable`."""
    repository.sample_depths(database_clock.now().replace(second=0, microsecond=0))


def depths(
    queue_id: ObjectId | None, since: datetime, until: datetime, step: timedelta
) -> dict[datetime, Depth | None]:
    """What a queue (None: all together) held at the most, for each step from `since` to before `until`.

    None stands where nobody recorded it (`manage.py qcluster` does each minute, and it is kept seven days). Steps begin
    at multiples of `step` since the epoch, as must `since`. Raises `MongoUnavailable`.
    """
    whole = repository.depth_samples(None, since, until, step)
    found = whole if queue_id is None else repository.depth_samples(queue_id, since, until, step)
    nothing = Depth(0, 0, 0)
    moments = [since + place * step for place in range(-((since - until) // step))]
    return {at: found.get(at, nothing) if at in whole else None for at in moments}
