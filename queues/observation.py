"""Background observations: dead letters, which the master's sweep does not count, and past depths."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from bson import ObjectId

from queues import repository, services
from queues.models import Queue
from queues.sqs import Depth
from queuesite.foundation.databases import database_clock
from queuesite.foundation.errors import QueuesiteError
from queuesite.foundation.logs import get_logger

log = get_logger(__name__)

#: Queues whose dead letters one run counts, and how many it counts in parallel. AWS charges for each count: 200 a
#: minute are nine million a month.
OBSERVED_AT_ONCE = 200
_PARALLEL = 16


def observe_dead_letters() -> int:
    """Count the dead letters of the queues whose last count is the oldest; return how many queues were counted."""

    def count(queue: Queue) -> tuple[ObjectId, int | None]:
        if queue.dlq_url is None:
            return queue.id, None
        try:
            return queue.id, services.dead_letters(queue)
        except QueuesiteError as error:
            if queue.managed:
                raise  # it concerns every queue
            # Its owner, or its region, must not keep the others from being counted.
            log.warning("dead_letters_not_counted", queue=queue.name, error=str(error))
            return queue.id, None

    queues = repository.least_observed(OBSERVED_AT_ONCE)
    with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="dead-letters") as pool:
        counts = dict(pool.map(count, queues))
    repository.dead_letters_observed({queue_id: found for queue_id, found in counts.items() if found is not None})
    return len(counts)


def sample_depths() -> None:
    """Record what queues were last seen to hold, as the sample of this minute."""
    repository.sample_depths(database_clock.now().replace(second=0, microsecond=0))


def depths(
    queue_id: ObjectId | None, since: datetime, until: datetime, step: timedelta
) -> dict[datetime, Depth | None]:
    """The most that a queue (None: all together) held in each step from `since` to before `until`.

    None means that nobody recorded it: `manage.py qcluster` records each minute, which is kept for seven days. Steps
    begin at multiples of `step` since the epoch, as `since` must.
    """
    whole = repository.depth_samples(None, since, until, step)
    found = whole if queue_id is None else repository.depth_samples(queue_id, since, until, step)
    nothing = Depth(0, 0, 0)
    moments = [since + place * step for place in range(-((since - until) // step))]
    return {at: found.get(at, nothing) if at in whole else None for at in moments}
