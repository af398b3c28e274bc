"""The worker's side of listening: which queues its listener holds, and where its messages go."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from bson import ObjectId

from jobs.consumer.held import Batch
from jobs.consumer.windows import window
from jobs.listener.orders import Brought, GiveBack, Hold, Target
from jobs.listening import POLL_SECONDS, may_be_listened_to
from jobs.listening_model import Listening
from jobs.repositories import leases, listening
from jobs.worker.admission import is_stale
from jobs.worker.hand_over import Begin, HandOver
from jobs.worker.listener import ListenerProcess
from jobs.worker.runs import Runs
from jobs.worker.stats_buffer import StatsBuffer
from queues import repository as queues
from queues.models import Queue
from queuesite.foundation.addresses import sqs_address
from queuesite.foundation.config import Config
from queuesite.foundation.databases import database_clock
from queuesite.foundation.rules import is_loopback

#: Seconds between readings of everything, with and without a change stream that reports what changes.
READ_LIVE_SECONDS = 30.0
READ_BLIND_SECONDS = 1.5
#: Seconds between looks at what changes only with time: the ends of backoffs and pauses.
STEER_SECONDS = 1.0
#: A worker that was full listens again once it has had a place left for so many seconds.
RESUME_SECONDS = 1.0
#: Pause, in seconds, of a queue whose messages were given back, or that SQS does not know: it is not received from
#: again and again.
REST_SECONDS = 30.0
#: Seconds between counts of the listener's requests in the statistics.
COUNT_SECONDS = 600.0


class WorkerListening:
    """Steers the listener of one worker. Nothing here waits for it; times are the monotonic clock's."""

    def __init__(
        self,
        config: Config,
        process: ListenerProcess,
        runs: Runs,
        begin: Begin,
        free: Callable[[], int],
        serves: Callable[[Queue], bool],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`free` answers how many more consumers the worker may run now, `serves` whether it can process a queue."""
        self.limit = 0 if _proxy_speaks_tls() else config.listen_queues
        self._config = config
        self._process = process
        self._runs = runs
        self._free = free
        self._serves = serves
        self._monotonic = monotonic
        self.hand_over = HandOver(runs, begin, self._give_back, free, serves)
        self._entries: dict[ObjectId, Listening] = {}
        self._definitions: dict[ObjectId, Queue] = {}
        #: Definitions that are to be read again before their queues are listened to.
        self._stale: set[ObjectId] = set()
        self._busy: frozenset[ObjectId] = frozenset()
        self._read_all = True
        self._next_read = 0.0
        #: What the process was asked to hold.
        self._told: dict[str, Target] = {}
        self._serial = 0
        self._resting: dict[str, float] = {}
        self._next_steer = 0.0
        self._steered: object = None
        self._version = 0
        self._full_until = float("-inf")
        self._leave_by = float("inf")
        self._next_count = monotonic() + COUNT_SECONDS

    @property
    def announced(self) -> int:
        """How many queues it announces to the masters: none while its listener cannot work."""
        return self.limit if self._process.works else 0

    # --- what wakes the worker ---

    def sources(self) -> tuple[list[Any], list[Any]]:
        """What to wait on, as `Pool.sources` says it."""
        return self._process.sources()

    def next_due(self, *, registered: bool) -> float:
        """When there is something to do."""
        moments = [0.0 if self.hand_over.has_more else self.hand_over.next_due]
        if self.limit and registered:
            moments.append(self._next_read)
        if self._entries or self._told or not self._process.works:
            moments.append(self._next_steer)
        if self._leave_by < float("inf"):
            moments.append(self._leave_by)
        return min(moments)

    def holds(self, queue_id: ObjectId) -> bool:
        """Whether the worker has the queue for its listener; may be asked by any thread."""
        return queue_id in self._entries

    def has_entry(self, entry_id: ObjectId) -> bool:
        """Whether an entry of the collection is the worker's; may be asked by any thread."""
        return any(one.id == entry_id for one in list(self._entries.values()))

    def changed(self, queue_id: ObjectId | None = None) -> None:
        """Have a definition read again, or (None) everything; may be called by any thread."""
        if queue_id is None:
            self._read_all = True
        else:
            self._stale.add(queue_id)

    # --- the turn ---

    def take_note(self, declined: Iterable[Batch]) -> None:
        """Take what the listener brought, and what consumers did not take."""
        self._process.kill_silent()
        found, died = self._process.read()
        if died:
            self._told.clear()
            self._steered = None
        for message in found:
            if isinstance(message, Brought):
                self._told.pop(message.batch.queue_url, None)
                self.hand_over.take(message.batch)
            else:
                self._told.pop(message.queue_url, None)
                self._rest(message.queue_url)
            self._steered = None
        for batch in declined:
            self.hand_over.take(batch)
        self.hand_over.expire(self._monotonic())

    def talk_to_mongodb(self, worker_id: str, now: float, *, live: bool) -> None:
        """Settle what is pending, and read what has changed. Raises pymongo's errors."""
        if self.hand_over.unsettled:
            self.hand_over.settle(worker_id)
        if not self.limit:
            return
        if self._read_all or now >= self._next_read:
            self._next_read = now + (READ_LIVE_SECONDS if live else READ_BLIND_SECONDS) * random.uniform(0.9, 1.0)
            self._read(worker_id, everything=True)
        elif self._stale:
            self._read(worker_id, everything=False)

    def _read(self, worker_id: str, *, everything: bool) -> None:
        # Taken before the reading: what changes meanwhile is read again.
        stale, self._stale = self._stale, set()
        try:
            if everything:
                self._read_all = False
                found = listening.of_worker(worker_id)
                lease = leases.current()  # after the entries
                self._entries = {one.queue_id: one for one in found if not is_stale(one, lease)}
                self._definitions = {key: one for key, one in self._definitions.items() if key in self._entries}
                stale = stale | self._entries.keys()
            read = {queue.id: queue for queue in queues.by_ids(stale & self._entries.keys())}
        except BaseException:
            self._stale |= stale
            self._read_all = self._read_all or everything
            raise
        for queue_id in stale - read.keys():
            self._definitions.pop(queue_id, None)
        self._definitions.update(read)
        self._version += 1

    def steer(self, *, able: bool) -> None:
        """Send the listener what to hold; `able` says whether the worker can take what it brings. Needs no server."""
        now = self._monotonic()
        if self._free() <= 0:
            self._full_until = now + RESUME_SECONDS
        able = able and now >= self._full_until
        busy = frozenset(run.queue.id for run in self._runs.active.values())
        self._stale |= (self._busy - busy) & self._entries.keys()  # a run may have ended in a backoff
        self._busy = busy
        seen = (able, busy, self._version, len(self._stale), len(self.hand_over.pending))
        if seen == self._steered and now < self._next_steer:
            return
        self._steered, self._next_steer = seen, now + STEER_SECONDS
        wanted = self._wanted(now) if able else {}
        # One that did not work is tried again though the masters have taken its queues away.
        missing = (wanted or (able and not self._process.works)) and not self._process.running
        if missing and not self._process.start():
            return
        add = tuple(target for url, target in wanted.items() if self._told.get(url) != target)
        drop = tuple(url for url in self._told if url not in wanted)
        if add or drop:
            self._serial += 1
            self._process.send(Hold(self._serial, add, drop))
            self._told = wanted

    def _wanted(self, now: float) -> dict[str, Target]:
        date = database_clock.now()
        self._resting = {url: until for url, until in self._resting.items() if until > now}
        pending = {batch.queue_url for batch in self.hand_over.pending}
        wanted = {}
        for queue_id, entry in self._entries.items():
            queue = self._definitions.get(queue_id)
            url = entry.queue_url
            if queue is None or queue_id in self._stale or queue_id in self._busy:
                continue
            if url in pending or url in self._resting or not self._serves(queue):
                continue
            if not may_be_listened_to(queue, date):
                continue
            wanted[url] = Target(queue_id, url, window(queue.visibility_timeout, 0.0, queue.max_receive_count))
        return wanted

    # --- its end ---

    def forget(self) -> None:
        """The worker is registered no longer, or ends: it listens to nothing."""
        self._entries = {}
        self._stale.clear()
        self._version += 1
        self.hand_over.give_all_back()
        self._read_all = True

    def is_quiet(self) -> bool:
        """Whether a worker that ends need not wait for polls that are open.

        What SQS gives to a connection that is closed stays hidden for its window. An emulator on this machine is for
        development and tests, in which nobody waits 20 s for the end of a worker.
        """
        alive = self._process.alive
        if not self._process.running or (alive.serial == self._serial and not alive.open_polls):
            return True
        now = self._monotonic()
        if self._leave_by == float("inf"):
            local = self._config.embedded_sqs or is_loopback(_host(sqs_address(self._config)))
            self._leave_by = now + (0.0 if local else min(POLL_SECONDS + 5.0, self._config.shutdown_grace_seconds))
        return now >= self._leave_by

    def count_requests(self, stats: StatsBuffer, now: float, *, last: bool = False) -> None:
        """Have the listener's requests counted, by queue, each ten minutes: an idle worker writes next to nothing."""
        if not last and now < self._next_count:
            return
        self._next_count = now + COUNT_SECONDS * random.uniform(0.9, 1.0)
        by_url = {queue.queue_url: queue for queue in self._definitions.values()}
        by_queue: dict[str, dict[str, int]] = {}
        for (url, purpose), count in self._process.requests.items():
            by_queue.setdefault(url, {})[purpose] = count
        self._process.requests.clear()
        for url, purposes in by_queue.items():
            if url in by_url:
                stats.requested(by_url[url], purposes, now)

    def close(self, timeout: float) -> None:
        """End the process."""
        self._process.close(timeout)

    def as_document(self) -> dict[str, Any]:
        """The listener's part of the worker's heartbeat."""
        if not self._process.running:
            return {}
        alive = self._process.alive
        return {
            "pid": str(self._process.pid),
            "queues": len(self._told),
            "polls": alive.open_polls,
            "memory": alive.memory,
            "requests": self._process.made,
        }

    def _give_back(self, batch: Batch) -> None:
        self._process.send(GiveBack(batch))
        self._rest(batch.queue_url)

    def _rest(self, queue_url: str) -> None:
        self._resting[queue_url] = self._monotonic() + REST_SECONDS


def _host(address: str | None) -> str:
    return urlsplit(address or "").hostname or ""


def _proxy_speaks_tls() -> bool:
    """Whether SQS is reached by a proxy that speaks TLS itself, which the listener's sockets cannot do twice."""
    return getproxies().get("https", "").startswith("https:")
