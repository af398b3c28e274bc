"""The backlog: what the leader knows of each queue, and when to ask SQS again. No I/O.

A wake-up says that a queue has messages. Of messages that nobody announced the sweep learns by asking SQS for the depth
of each queue, at an interval that doubles while the queue stays empty: ten thousand idle queues cost a steady trickle
of requests, one that was just busy is looked at again within a second.

SQS's counts are late, on AWS by up to a minute: a queue that was drained seems to have messages still. A run that
received nothing therefore makes depth weak evidence for a while; a wake-up counts as ever.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from bson import ObjectId

from jobs.master.planner import WaitingQueue
from queues.models import Queue
from queues.sqs import Depth

#: First looks a second at the most, when a master begins to lead.
FIRST_LOOKS_PER_SECOND = 500.0
#: Longest interval, in seconds, for a queue that has messages: it is being processed, and its depth is shown; it waits
#: for a slot, and a thousand that do must not take up the sweep; or all are hidden or delayed, and will come back.
NOT_EMPTY_SECONDS = 5.0
#: Interval, in seconds, at which it is recorded that a queue is still empty: with what it holds its age is shown.
TELL_EMPTY_SECONDS = 300.0
#: Interval, in seconds, at which a queue that may have several consumers is looked at while it is being processed.
SCALING_SECONDS = 2.0
#: For so long, in seconds, depth is not believed after a run that received nothing; it doubles with each such run in a
#: row, up to SWEEP_MAX_SECONDS, within which a message that nobody announced is to be found.
#: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueAttributes.html: counts are
#: approximate, and right only about a minute after senders and consumers have stopped.
DISBELIEF_SECONDS = 5.0


@dataclass(eq=False)
class Known:
    """What is known of a queue."""

    queue: Queue
    interval: float
    due: float
    depth: Depth | None = None
    #: When it began to wait for a consumer (monotonic clock); None while it does not.
    since: float | None = None
    #: Consumers that it has, and when that last became fewer: what was asked before then is out of date.
    consumers: int = 0
    released_at: float = field(default=float("-inf"))
    #: When its depth was last news.
    told_at: float = field(default=float("-inf"))


class Backlog:
    """The leader's memory. All times are readings of the monotonic clock unless they are dates."""

    def __init__(self, sweep_min: float, sweep_max: float, backlog_per_consumer: int) -> None:
        self._min = sweep_min
        self._max = sweep_max
        self._per_consumer = backlog_per_consumer
        self._known: dict[ObjectId, Known] = {}
        self._by_url: dict[str, ObjectId] = {}
        self._due: list[tuple[float, int, ObjectId]] = []
        self._counter = 0
        self._busy: set[ObjectId] = set()
        #: The queues that may wait for a consumer: the only ones that a turn looks at.
        self._candidates: set[ObjectId] = set()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, queue_id: ObjectId) -> Known | None:
        """What is known of a queue."""
        return self._known.get(queue_id)

    # --- the catalogue ---

    def replace(self, queues: Iterable[Queue], now: float) -> None:
        """Take these as all the queues there are."""
        queues = list(queues)
        for queue_id in set(self._known) - {queue.id for queue in queues}:
            self.forget(queue_id)
        # The first looks are spread, or ten thousand queues would be asked for in the same instant.
        spread = min(self._max, len(queues) / FIRST_LOOKS_PER_SECOND)
        for queue in queues:
            self.learn(queue, now, spread)

    def learn(self, queue: Queue, now: float, spread: float = 0.0) -> None:
        """Take a new or changed definition."""
        known = self._known.get(queue.id)
        if known is None:
            # The second look comes no sooner than all had their first, or the looks would pile up.
            known = Known(queue, max(self._min, spread), now + random.uniform(0, spread))
            self._known[queue.id] = known
            self._schedule(queue.id, known.due)
        elif known.queue.queue_url != queue.queue_url:
            self._by_url.pop(known.queue.queue_url, None)
        known.queue = queue
        self._by_url[queue.queue_url] = queue.id
        self._candidates.add(queue.id)

    def forget(self, queue_id: ObjectId) -> None:
        """Drop a queue that has been deleted."""
        known = self._known.pop(queue_id, None)
        if known is not None:
            self._by_url.pop(known.queue.queue_url, None)
            self._candidates.discard(queue_id)

    # --- the sweep ---

    def due(self, now: float, limit: int) -> list[Queue]:
        """Up to `limit` queues whose depth is to be asked for now; they are not due again before `observed`."""
        found: list[Queue] = []
        while self._due and self._due[0][0] <= now and len(found) < limit:
            due, _, queue_id = heapq.heappop(self._due)
            known = self._known.get(queue_id)
            if known is None or known.due != due:
                continue  # deleted, or scheduled anew since
            known.due = float("inf")
            found.append(known.queue)
        return found

    def next_due(self) -> float:
        """When the next queue is due."""
        return self._due[0][0] if self._due else float("inf")

    def observed(self, queue_id: ObjectId, depth: Depth | None, asked_at: float, now: float) -> bool:
        """Take the answer to a request that began at `asked_at` (None: it failed); whether it should be recorded.

        It should where it is another than before, or people would take it for old.
        """
        known = self._known.get(queue_id)
        if known is None:
            return False
        news = False
        if depth is None:
            known.interval = min(known.interval * 2, self._max)
        elif asked_at >= known.released_at:
            news = depth != known.depth or now - known.told_at >= (0 if depth.total else TELL_EMPTY_SECONDS)
            if news:
                known.told_at = now
            known.interval = self._next_interval(known, depth)
            known.depth = depth
            if depth.visible:
                self._candidates.add(queue_id)
        self._schedule(queue_id, now + known.interval * random.uniform(0.9, 1.0))
        return news

    def _next_interval(self, known: Known, depth: Depth) -> float:
        if known.consumers:
            return self._busy_interval(known)
        if depth.visible and not (known.depth is not None and known.depth.visible):
            return self._min
        doubled = min(known.interval * 2, self._max)
        return min(doubled, NOT_EMPTY_SECONDS) if depth.total else doubled

    def _busy_interval(self, known: Known) -> float:
        return min(SCALING_SECONDS if known.queue.max_consumers > 1 else NOT_EMPTY_SECONDS, self._max)

    def _schedule(self, queue_id: ObjectId, due: float) -> None:
        self._known[queue_id].due = due
        self._counter += 1
        heapq.heappush(self._due, (due, self._counter, queue_id))

    # --- who waits ---

    def follow(self, consumers: Mapping[str, int], now: float) -> set[ObjectId]:
        """Take how many consumers each queue (by URL) has at present; answers the queues that have fewer than before.

        Of these the definition should be read again: who released them wrote there whether messages may be left.
        """
        present = {self._by_url[url] for url in consumers if url in self._by_url}
        released = set()
        for queue_id in self._busy | present:
            known = self._known.get(queue_id)
            if known is None:
                continue
            count = consumers.get(known.queue.queue_url, 0)
            if count < known.consumers:
                released.add(queue_id)
                self._candidates.add(queue_id)
                # It was drained, or it was woken: either way what was seen before says nothing any more.
                known.released_at = now
                if count == 0:
                    known.depth = None  # so that the next one is news: what was recorded last is from before the run
                    known.interval = self._min
                    self._schedule(queue_id, now + self._min)
            self._has(known, count, now)
        self._busy = present
        return released

    def assigned(self, queue_id: ObjectId, now: float) -> None:
        """Count a consumer that was just assigned, so that its end is noticed even if no reading ever showed it."""
        known = self._known.get(queue_id)
        if known is not None:
            self._has(known, known.consumers + 1, now)
            self._busy.add(queue_id)

    def _has(self, known: Known, consumers: int, now: float) -> None:
        if consumers and not known.consumers:
            self._schedule(known.queue.id, now + self._busy_interval(known))
        known.consumers = consumers

    def waiting(self, now: float, date: datetime) -> list[WaitingQueue]:
        """The queues that should have more consumers than they have, at `now` (`date` by the database's clock)."""
        found = []
        for queue_id in list(self._candidates):
            known = self._known[queue_id]
            wanted = self._wanted(known, date)
            if wanted <= known.consumers:
                known.since = None
                if wanted == 0 and not self._backing_off(known, date) and self._believes(known, date):
                    self._candidates.discard(queue_id)
                continue
            if known.since is None:
                known.since = now
            queue = known.queue
            found.append(WaitingQueue(queue.id, queue.queue_url, queue.priority, known.since, wanted))
        return found

    def _wanted(self, known: Known, date: datetime) -> int:
        queue = known.queue
        if queue.paused or self._backing_off(known, date):
            return 0
        visible = known.depth.visible if known.depth is not None and self._believes(known, date) else 0
        first = 1 if known.consumers or visible or queue.wake_pending else 0
        return min(queue.max_consumers, max(first, visible // self._per_consumer))

    def _believes(self, known: Known, date: datetime) -> bool:
        """Whether what SQS says of a queue is reason enough for a run."""
        queue = known.queue
        if not queue.empty_runs or queue.served_until is None:
            return True
        # Past ten doublings the longest pause has long been reached.
        pause = min(DISBELIEF_SECONDS * 2 ** min(queue.empty_runs - 1, 10), self._max)
        return date >= queue.served_until + timedelta(seconds=pause)

    @staticmethod
    def _backing_off(known: Known, date: datetime) -> bool:
        return known.queue.not_before is not None and known.queue.not_before > date
