"""The sweeper: asks SQS for depths in a few threads, so that the master's loop never waits for it."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from dataclasses import dataclass

from bson import ObjectId

from queues.models import Queue
from queues.sqs import DataPlane, Depth
from queues.sqs.regions import gateway_in
from queuesite.foundation.errors import QueueMissing, QueuesiteError, SqsUnavailable
from queuesite.foundation.logs import get_logger
from queuesite.foundation.outage import Outage
from queuesite.foundation.threads import joined, supervised

log = get_logger(__name__)

#: Threads, and so requests at once. At SQS's 10 ms per answer they make 800 requests a second.
THREADS = 8
#: Requests that may wait for a thread: enough to keep them busy while the loop waits for the database.
QUEUED = 256


@dataclass(frozen=True)
class Observation:
    """What a look found in a queue; `depth` is None if SQS did not answer."""

    queue_id: ObjectId
    depth: Depth | None
    asked_at: float


class Sweeper:
    """Asks for the depths of the queues that it is given, and calls `wake` when one has messages."""

    def __init__(
        self,
        gateway: DataPlane,
        wake: Callable[[], None],
        monotonic: Callable[[], float] = time.monotonic,
        elsewhere: Callable[[str], DataPlane] = gateway_in,
    ) -> None:
        """`gateway` is for the configured region; `elsewhere` gives that of another one."""
        self._gateway = gateway
        self._elsewhere = elsewhere
        self._wake = wake
        self._monotonic = monotonic
        self._tasks: queue.SimpleQueue[Queue | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Observation] = queue.SimpleQueue()
        self._under_way = 0
        self._outage = Outage("SQS (sweep)")
        #: Queues that SQS does not have, or that their owners do not let us see; each is logged once.
        self._missing: set[ObjectId] = set()
        #: Regions that do not answer, and when each is asked again (monotonic clock).
        self._away: dict[str, tuple[Outage, float]] = {}
        self._threads = [supervised("sweep", self._run) for _ in range(THREADS)]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Have the threads end after their current request. They are daemons and hold nothing."""
        for _ in self._threads:
            self._tasks.put(None)

    def join(self, timeout: float) -> bool:
        """Wait for the threads; whether all have ended, or were never started."""
        deadline = time.monotonic() + timeout
        return all(joined(thread, max(0.0, deadline - time.monotonic())) for thread in self._threads)

    @property
    def free(self) -> int:
        """How many more queues it takes at present."""
        return QUEUED - self._under_way

    def ask(self, target: Queue) -> None:
        """Have a queue's depth asked for."""
        self._under_way += 1
        self._tasks.put(target)

    def answers(self) -> list[Observation]:
        """The answers since the last call."""
        found = []
        while True:
            try:
                found.append(self._answers.get_nowait())
            except queue.Empty:
                self._under_way -= len(found)
                return found

    def _run(self) -> None:
        while (target := self._tasks.get()) is not None:
            asked_at = self._monotonic()
            depth = self._depth(target)
            self._answers.put(Observation(target.id, depth, asked_at))
            if depth is not None and depth.visible:
                self._wake()

    def _depth(self, target: Queue) -> Depth | None:
        return self._own_depth(target) if target.managed else self._adopted_depth(target)

    def _adopted_depth(self, target: Queue) -> Depth | None:
        """Ask for the depths of adopted queues.

        Neither a refusal nor an unreachable region may delay the sweep of the others.
        """
        region = target.region or ""
        outage, again_at = self._away.get(region, (None, 0.0))
        if outage is not None and self._monotonic() < again_at:
            return None
        try:
            depth = (self._elsewhere(region) if region else self._gateway).depth(target.queue_url)
        except SqsUnavailable as error:
            outage = outage or Outage(f"SQS in {region} (sweep)")
            self._away[region] = outage, self._monotonic() + outage.failed(error)
            return None
        except QueuesiteError as error:
            if target.id not in self._missing:
                self._missing.add(target.id)
                log.error("queue_not_observed", queue=target.name, arn=target.queue_arn, error=str(error))
            return None
        self._missing.discard(target.id)
        if outage is not None:
            outage.over()
            self._away.pop(region, None)
        return depth

    def _own_depth(self, target: Queue) -> Depth | None:
        pause = 0.0
        depth = None
        try:
            depth = self._gateway.depth(target.queue_url)
        except QueueMissing as error:
            if target.id not in self._missing:
                self._missing.add(target.id)
                log.error("queue_missing", queue=target.name, queue_url=target.queue_url, error=str(error))
        except QueuesiteError as error:
            pause = self._outage.failed(error)
        else:
            self._missing.discard(target.id)
            self._outage.over()
        if pause:
            time.sleep(pause)  # in the sweeper's own thread: SQS is away, and its other threads pause too
        return depth
