"""The acknowledger: settles messages with SQS in full batches.

A handled message is deleted, a failed one is released: made visible again after its delay. Each waits for nine others,
for at most the linger; nothing waits if the consumer is idle or ends, or the queue is FIFO.

While SQS cannot be reached everything waits. An entry that SQS refuses does not affect the others: a throttled one is
tried again by itself, after a pause of its own; any other is given up, and its message comes back when it is visible.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from jobs.consumer.held import Held
from jobs.consumer.refused import Refusals
from jobs.consumer.visibility import VisibilityKeeper
from jobs.consumer.waits import LOOK_AGAIN_SECONDS
from jobs.consumer.windows import STEP_SECONDS
from queues.sqs import MAX_BATCH, BatchFailure, DataPlane
from queuesite.foundation import outage
from queuesite.foundation.errors import QueueMissing, ServerError, SqsUnavailable
from queuesite.foundation.logs import get_logger
from queuesite.foundation.outage import Outage
from queuesite.foundation.threads import OnDeath, end_process, supervised

log = get_logger(__name__)


@dataclass(eq=False, slots=True)
class Settlement:
    """What to do with a held message: deleted (`delay` None), or visible again after `delay` seconds."""

    held: Held
    delay: int | None
    due: float
    settled: Callable[[], None] | None = None
    #: How often SQS has refused it.
    refused: int = 0


#: Threads that settle: while one waits for an answer, the other sends the next full batch.
THREADS = 2


class Acknowledger:
    """Takes settlements from any thread and carries them out in its own.

    Its threads are woken for a batch that is full or due, not for each message.
    """

    def __init__(
        self,
        gateway: DataPlane,
        queue_url: str,
        keeper: VisibilityKeeper,
        linger: float,
        not_deleted: Callable[[Held], None] = lambda held: None,
        refusals: Refusals | None = None,
        *,
        on_death: OnDeath = end_process,
    ) -> None:
        """`not_deleted` is called with each handled message that cannot be deleted; `linger` is in seconds."""
        self._gateway = gateway
        self._queue_url = queue_url
        self._keeper = keeper
        self._linger = linger
        #: Those to be deleted, and those to be released.
        self._pending: tuple[deque[Settlement], deque[Settlement]] = (deque(), deque())
        #: Refused ones that wait for their next try, and how many are on their way here from the keeper.
        self._later: list[Settlement] = []
        self._awaited = 0
        self._not_deleted = not_deleted
        self._refusals = refusals or Refusals()
        self._flushing = False
        self._closing_deadline: float | None = None
        self._paused_until = 0.0
        self._changed = threading.Condition()
        self._threads = [supervised(f"acknowledger-{n}", self._run, on_death) for n in range(THREADS)]
        self._outage = Outage("SQS (delete)")
        self._throttled = Outage("SQS (entries of batches)")

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def delete(self, held: Held, *, at_once: bool = False, settled: Callable[[], None] | None = None) -> None:
        """Delete a handled message; `settled` is called once SQS has confirmed it, or never will."""
        self._add(Settlement(held, None, self._due(at_once), settled))

    def release(self, held: Held, delay: int, *, at_once: bool = False) -> None:
        """Make a message visible again after `delay` seconds, or when SQS's 12 h from its receive end.

        Its visibility is no longer kept. An extension that is under way is waited for: it could overwrite the delay.
        """
        settlement = Settlement(held, delay, self._due(at_once))
        with self._changed:
            self._awaited += 1
        self._keeper.stop_extending(held, lambda: self._arrived(settlement))

    def flush(self) -> None:
        """Settle what there is without waiting for more, because nothing else is under way."""
        with self._changed:
            if any(self._pending):
                self._flushing = True
                self._changed.notify_all()

    def close(self, deadline: float) -> None:
        """Settle everything, until `deadline` (monotonic clock) at the latest, and end the threads."""
        with self._changed:
            self._closing_deadline = deadline
            self._paused_until = 0.0
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()) + 1.0)
        if left := sum(map(len, self._pending)) + len(self._later):
            log.warning("messages_not_settled", queue_url=self._queue_url, count=left)

    def _due(self, at_once: bool) -> float:
        return 0.0 if at_once else time.monotonic() + self._linger

    def _arrived(self, settlement: Settlement) -> None:
        with self._changed:
            self._awaited -= 1
            self._add(settlement)
            if self._closing_deadline is not None:
                self._changed.notify_all()

    def _add(self, settlement: Settlement) -> None:
        kind = self._pending[settlement.delay is not None]
        with self._changed:
            kind.append(settlement)
            # The first sets a timer, and the tenth makes a batch full.
            if not settlement.due or len(kind) == 1 or len(kind) % MAX_BATCH == 0:
                self._changed.notify()

    def _run(self) -> None:
        while (batch := self._next_batch()) is not None:
            pause = self._settle(batch)
            if pause:
                with self._changed:
                    # For both threads: SQS is away. New settlements do not cut it short.
                    self._paused_until = time.monotonic() + pause

    def _next_batch(self) -> list[Settlement] | None:
        """The next settlements of one kind, when it is time for them; None at the end."""
        with self._changed:
            while True:
                now = time.monotonic()
                closing = self._closing_deadline is not None
                if now < self._paused_until:
                    if self._closing_deadline is not None and self._paused_until >= self._closing_deadline:
                        return None
                    self._changed.wait(self._paused_until - now)
                    continue
                if self._closing_deadline is not None and now >= self._closing_deadline:
                    return None
                retry = self._resume_refused(now)
                if not any(self._pending):
                    self._flushing = False
                    if closing and not self._later and not self._awaited:
                        return None
                    self._changed.wait(self._until(retry, now))
                    continue
                first = float("inf")
                for kind in self._pending:
                    # Those that are due at once may stand behind others.
                    due = min((s.due for s in islice(kind, MAX_BATCH)), default=float("inf"))
                    first = min(first, due)
                    if kind and (closing or self._flushing or len(kind) >= MAX_BATCH or due <= now):
                        return [kind.popleft() for _ in range(min(MAX_BATCH, len(kind)))]
                self._changed.wait(self._until(min(first, retry), now))

    def _resume_refused(self, now: float) -> float:
        """Queue the refused ones whose pause is over; when the next one's is (monotonic clock)."""
        if not self._later:
            return float("inf")
        for settlement in reversed(self._later):
            if settlement.due <= now:
                self._pending[settlement.delay is not None].appendleft(settlement)
        self._later = [settlement for settlement in self._later if settlement.due > now]
        return min((settlement.due for settlement in self._later), default=float("inf"))

    def _until(self, moment: float, now: float) -> float:
        moment = min(moment, self._closing_deadline or float("inf"))
        return min(max(0.001, moment - now), LOOK_AGAIN_SECONDS)

    def _settle(self, batch: list[Settlement]) -> float:
        """Carry out a batch. Answers how long both threads are to wait before the next one: SQS is away."""
        asked_at = time.monotonic()
        handles = [settlement.held.message.receipt_handle for settlement in batch]
        try:
            failures = self._request(batch, handles, asked_at)
        except QueueMissing:
            failures = ()  # the queue is gone, and its messages with it
        except ServerError as error:
            with self._changed:
                self._pending[batch[0].delay is not None].extendleft(reversed(batch))
            self._refusals.note(error)
            return self._outage.failed(error)
        self._outage.over()
        self._refusals.over()
        failed = {failure.index: failure for failure in failures}
        jitter = random.uniform(0.5, 1.0)  # one for the batch: what is refused together is tried again together
        again: list[Settlement] = []
        for index, settlement in enumerate(batch):
            failure = failed.get(index)
            if failure is not None and self._may_succeed(settlement, failure, asked_at, jitter):
                again.append(settlement)
            elif not self._keeper.confirm(settlement.held, handles[index]):
                again.append(settlement)  # it came back during the request, which named its old handle
            else:
                self._end(settlement, failure)
        if not any(failure.transient for failure in failures):
            self._throttled.over()
        if again:
            with self._changed:
                self._later.extend(again)
                self._changed.notify()
        return 0.0

    def _request(self, batch: list[Settlement], handles: list[str], now: float) -> tuple[BatchFailure, ...]:
        if batch[0].delay is None:
            return self._gateway.delete(self._queue_url, handles)
        for settlement in batch:
            settlement.delay = min(settlement.delay or 0, settlement.held.left(now))
        changes = [(handle, settlement.delay or 0) for handle, settlement in zip(handles, batch, strict=True)]
        return self._gateway.change_visibility(self._queue_url, changes)

    def _may_succeed(self, settlement: Settlement, failure: BatchFailure, asked_at: float, jitter: float) -> bool:
        """Whether a refused entry is to be tried again, and when."""
        if failure.transient:
            pause = min(outage.FIRST_PAUSE * 2.0**settlement.refused, outage.LONGEST_PAUSE)
            settlement.due = asked_at + pause * jitter
            self._throttled.failed(SqsUnavailable(f"{failure.code}: {failure.message}"))
        elif failure.beyond_limit and settlement.delay:
            # Our reckoning of its 12 h is wrong by a little: step back from it, further each time.
            settlement.held.limit = asked_at + settlement.delay - STEP_SECONDS * 2**settlement.refused
        else:
            return False
        settlement.refused += 1
        return True

    def _end(self, settlement: Settlement, failure: BatchFailure | None) -> None:
        if failure is not None:
            log.warning(
                "message_not_ours" if failure.gone else "message_not_settled",
                message_id=settlement.held.message.message_id,
                queue_url=self._queue_url,
                code=failure.code,
                error=failure.message,
                meaning="it comes back when its visibility runs out",
            )
            if settlement.delay is None:
                self._not_deleted(settlement.held)
        if settlement.settled is not None:
            settlement.settled()
