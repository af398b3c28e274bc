"""The backlog: what the leader knows of each queue, and when it asks SQS again. No I/O.

A wake-up says that a queue has messages. The sweep finds those that nobody announced by asking SQS for the depth of
each queue, at an interval that doubles while the queue stays empty: ten thousand idle queues cost a steady trickle of
requests, and one that was just busy is looked at again within a second.

SQS's counts are late, on AWS by up to a minute, so a queue that was drained may still seem to have messages. Depth is
therefore not believed for a while after a run that received nothing; a wake-up always counts.

A queue that a worker listens to needs no sweep: it is looked at now and then, to be on the safe side.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from bson import ObjectId

from jobs.listening import may_be_listened_to, never_listened_to
from jobs.master.planner import WaitingQueue
from queues.models import Queue
from queues.sqs import Depth

#: Most first looks per second, when a master begins to lead.
FIRST_LOOKS_PER_SECOND = 500.0
#: Longest interval, in seconds, for a queue that has messages: it is being processed, and its depth is shown; or it
#: waits for a worker, and a thousand such queues must not take up the sweep; or all its messages are hidden or delayed,
#: and will come back.
NOT_EMPTY_SECONDS = 5.0
#: Interval, in seconds, at which the depth of a queue that stays empty is recorded: pages show how old a depth is.
RECORD_EMPTY_SECONDS = 300.0
#: Interval, in seconds, at which a queue that may have several consumers is looked at while it is being processed.
SCALING_SECONDS = 2.0
#: Interval, in seconds, for an empty queue that a worker listens to: 0.1 requests a minute, beside three long polls.
LISTENED_SECONDS = 600.0
#: Longest interval, in seconds, for a queue that nobody may listen to (`jobs.listening.never_listened_to`).
UNHEARD_SECONDS = 5.0
#: How long depth is not believed after a run that received nothing, in seconds. It doubles with each such run in a row,
#: up to SWEEP_MAX_SECONDS, within which a message that nobody announced must be found.
#: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueAttributes.html: counts are
#: approximate, and right only about a minute after senders and consumers have stopped.
DISBELIEF_SECONDS = 5.0


@dataclass(eq=False)
class BacklogEntry:
    """What is known of a queue."""

    queue: Queue
    interval: float
    due: float
    depth: Depth | None = None
    #: When it began to wait for a consumer (monotonic clock); None while it does not.
    since: float | None = None
    #: How many consumers it has, and when that number last fell: answers to earlier requests are out of date.
    consumers: int = 0
    released_at: float = field(default=float("-inf"))
    #: When its depth was last to be recorded.
    recorded_at: float = field(default=float("-inf"))
    #: A worker listens to it.
    listened: bool = False


class Backlog:
    """What the leader knows. Times are the monotonic clock's unless they are dates."""

    def __init__(self, sweep_min: float, sweep_max: float, backlog_per_consumer: int) -> None:
        self._min = sweep_min
        self._max = sweep_max
        self._per_consumer = backlog_per_consumer
        self._entries: dict[ObjectId, BacklogEntry] = {}
        self._by_url: dict[str, ObjectId] = {}
        self._due: list[tuple[float, int, ObjectId]] = []
        self._counter = 0
        self._busy: set[ObjectId] = set()
        #: The queues that may wait for a consumer: the only ones that a turn looks at.
        self._candidates: set[ObjectId] = set()
        self._listened: Set[ObjectId] = frozenset()
        #: Grows with each new, changed or deleted definition that decides who may listen.
        self.changes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[BacklogEntry]:
        return iter(list(self._entries.values()))

    def get(self, queue_id: ObjectId) -> BacklogEntry | None:
        """What is known of a queue."""
        return self._entries.get(queue_id)

    # --- the catalogue ---

    def replace(self, queues: Iterable[Queue], now: float) -> None:
        """Learn these queues, and forget all others."""
        queues = list(queues)
        for queue_id in set(self._entries) - {queue.id for queue in queues}:
            self.forget(queue_id)
        # The first looks are spread, so that ten thousand queues are not asked for in the same instant.
        spread = min(self._max, len(queues) / FIRST_LOOKS_PER_SECOND)
        for queue in queues:
            self.learn(queue, now, spread)

    def learn(self, queue: Queue, now: float, spread: float = 0.0) -> None:
        """Take a new or changed definition."""
        entry = self._entries.get(queue.id)
        if entry is None or _decides(entry.queue) != _decides(queue):
            self.changes += 1
        if entry is None:
            # The second look comes only when all queues had their first, or the looks would pile up.
            entry = BacklogEntry(queue, max(self._min, spread), now + random.uniform(0, spread))
            self._entries[queue.id] = entry
            self._schedule(queue.id, entry.due)
        elif entry.queue.queue_url != queue.queue_url:
            self._by_url.pop(entry.queue.queue_url, None)
        entry.queue = queue
        self._by_url[queue.queue_url] = queue.id
        self._candidates.add(queue.id)

    def forget(self, queue_id: ObjectId) -> None:
        """Drop a queue that has been deleted."""
        entry = self._entries.pop(queue_id, None)
        if entry is not None:
            self._by_url.pop(entry.queue.queue_url, None)
            self._candidates.discard(queue_id)
            self.changes += 1

    # --- the sweep ---

    def listened(self, queue_ids: Set[ObjectId], now: float) -> None:
        """Learn which queues workers listen to. Those that nobody listens to any more are swept as others are."""
        if queue_ids is self._listened:
            return
        for queue_id in queue_ids ^ self._listened:
            entry = self._entries.get(queue_id)
            if entry is None:
                continue
            entry.listened = queue_id in queue_ids
            if not entry.listened:
                entry.interval = min(entry.interval, self._max)
                soon = now + random.uniform(0, self._max)
                if entry.due != float("inf") and soon < entry.due:  # one whose answer is awaited is due after that
                    self._schedule(queue_id, soon)
        self._listened = queue_ids

    def due(self, now: float, limit: int) -> list[Queue]:
        """Up to `limit` queues whose depth should be asked for now. They are not due again before `observed`."""
        found: list[Queue] = []
        while self._due and self._due[0][0] <= now and len(found) < limit:
            due, _, queue_id = heapq.heappop(self._due)
            entry = self._entries.get(queue_id)
            if entry is None or entry.due != due:
                continue  # deleted, or scheduled again since
            entry.due = float("inf")
            found.append(entry.queue)
        return found

    def next_due(self) -> float:
        """When the next queue is due."""
        return self._due[0][0] if self._due else float("inf")

    def observed(
        self, queue_id: ObjectId, depth: Depth | None, asked_at: float, now: float, date: datetime | None = None
    ) -> bool:
        """Take the answer to a request that began at `asked_at` (None: it failed); whether it should be recorded.

        It should if it has changed, or if the recorded one would soon look old. `date` is now by the database's clock.
        """
        entry = self._entries.get(queue_id)
        if entry is None:
            return False
        news = False
        if depth is None:
            entry.interval = min(entry.interval * 2, self._longest(entry))
        elif asked_at >= entry.released_at:
            news = depth != entry.depth or now - entry.recorded_at >= (0 if depth.total else RECORD_EMPTY_SECONDS)
            if news:
                entry.recorded_at = now
            entry.interval = self._next_interval(entry, depth, date)
            entry.depth = depth
            if depth.visible:
                self._candidates.add(queue_id)
        self._schedule(queue_id, now + entry.interval * random.uniform(0.9, 1.0))
        return news

    def _next_interval(self, entry: BacklogEntry, depth: Depth, date: datetime | None) -> float:
        if entry.consumers:
            return self._busy_interval(entry)
        if depth.visible and not (entry.depth is not None and entry.depth.visible):
            return self._min
        doubled = min(entry.interval * 2, self._longest(entry))
        if entry.listened and (date is None or may_be_listened_to(entry.queue, date)):
            return doubled if depth.total else max(LISTENED_SECONDS, self._max)
        return min(doubled, NOT_EMPTY_SECONDS) if depth.total else doubled

    def _longest(self, entry: BacklogEntry) -> float:
        return self._max if never_listened_to(entry.queue) is None else min(UNHEARD_SECONDS, self._max)

    def _busy_interval(self, entry: BacklogEntry) -> float:
        return min(SCALING_SECONDS if entry.queue.max_consumers > 1 else NOT_EMPTY_SECONDS, self._max)

    def _schedule(self, queue_id: ObjectId, due: float) -> None:
        self._entries[queue_id].due = due
        self._counter += 1
        heapq.heappush(self._due, (due, self._counter, queue_id))

    # --- who waits ---

    def follow(self, consumers: Mapping[str, int], now: float) -> set[ObjectId]:
        """Take how many consumers each queue (by URL) has at present; returns the queues that have fewer than before.

        Their definitions should be read again: the worker wrote there whether messages may be left.
        """
        present = {self._by_url[url] for url in consumers if url in self._by_url}
        released = set()
        for queue_id in self._busy | present:
            entry = self._entries.get(queue_id)
            if entry is None:
                continue
            count = consumers.get(entry.queue.queue_url, 0)
            if count < entry.consumers:
                released.add(queue_id)
                self._candidates.add(queue_id)
                # It was drained or woken: either way, earlier depths say nothing any more.
                entry.released_at = now
                if count == 0:
                    entry.depth = None  # so that the next one is recorded: the last one is from before the run
                    entry.interval = self._min
                    self._schedule(queue_id, now + self._min)
            self._has(entry, count, now)
        self._busy = present
        return released

    def assigned(self, queue_id: ObjectId, now: float) -> None:
        """Count a consumer that was just assigned, so that `follow` notices its end even if it never saw it."""
        entry = self._entries.get(queue_id)
        if entry is not None:
            self._has(entry, entry.consumers + 1, now)
            self._busy.add(queue_id)

    def _has(self, entry: BacklogEntry, consumers: int, now: float) -> None:
        if consumers and not entry.consumers:
            self._schedule(entry.queue.id, now + self._busy_interval(entry))
        entry.consumers = consumers

    def waiting(
        self, now: float, date: datetime, listener: Callable[[ObjectId], str | None] = lambda queue_id: None
    ) -> list[WaitingQueue]:
        """The queues that should have more consumers than they have, at `now` (`date` by the database's clock).

        `listener` answers which worker listens to a queue.
        """
        found = []
        for queue_id in list(self._candidates):
            entry = self._entries[queue_id]
            wanted = self._wanted(entry, date)
            if wanted <= entry.consumers:
                entry.since = None
                if wanted == 0 and not self._backing_off(entry, date) and self._believes(entry, date):
                    self._candidates.discard(queue_id)
                continue
            if entry.since is None:
                entry.since = now
            queue = entry.queue
            found.append(
                WaitingQueue(
                    queue.id,
                    queue.queue_url,
                    queue.priority,
                    entry.since,
                    wanted,
                    queue.handler,
                    queue.pool,
                    listener(queue.id),
                )
            )
        return found

    def pool_of(self, queue_id: ObjectId) -> str | None:
        """The pool that a queue names; None also if it is not known."""
        entry = self._entries.get(queue_id)
        return None if entry is None else entry.queue.pool

    def _wanted(self, entry: BacklogEntry, date: datetime) -> int:
        queue = entry.queue
        if queue.paused or self._backing_off(entry, date):
            return 0
        visible = entry.depth.visible if entry.depth is not None and self._believes(entry, date) else 0
        first = 1 if entry.consumers or visible or queue.wake_pending else 0
        # One probes a tripped queue.
        most = 1 if queue.trip_count else queue.max_consumers
        return min(most, max(first, visible // self._per_consumer))

    def _believes(self, entry: BacklogEntry, date: datetime) -> bool:
        """Whether a queue's depth is reason enough for a run."""
        queue = entry.queue
        if not queue.empty_runs or queue.served_until is None:
            return True
        # Ten doublings exceed the longest pause.
        pause = min(DISBELIEF_SECONDS * 2 ** min(queue.empty_runs - 1, 10), self._max)
        return date >= queue.served_until + timedelta(seconds=pause)

    @staticmethod
    def _backing_off(entry: BacklogEntry, date: datetime) -> bool:
        return entry.queue.not_before is not None and entry.queue.not_before > date


def _decides(queue: Queue) -> tuple[object, ...]:
    """What of a definition decides who may listen to the queue."""
    return queue.queue_url, queue.paused, queue.max_receive_count, queue.handler, queue.pool
