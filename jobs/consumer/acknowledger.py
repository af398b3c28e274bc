"""The acknowledger: settles messages with SQS in full batches.

A handled message is deleted, a failed one is made visible again after its delay. Either waits for nine others, for at
most the linger; at once where the consumer is idle or ends, or the queue is FIFO. What SQS refuses is tried again for
as long as the message is ours.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from jobs.consumer.buffer import Held
from jobs.consumer.visibility import VisibilityKeeper
from queues.sqs import MAX_BATCH, BatchFailure, SqsGateway
from queuesite.errors import QueueMissing, ServerError, SqsUnavailable
from queuesite.logs import get_logger
from queuesite.outage import Outage
from queuesite.threads import OnDeath, end_process, supervised

log = get_logger(__name__)

# The receipt handle is of no use any more: the message was deleted, or its visibility ran out.
_GONE = frozenset(
    {
        "ReceiptHandleIsInvalid",
        "InvalidParameterValue",
        "MessageNotInflight",
        "AWS.SimpleQueueService.MessageNotInflight",
    }
)


@dataclass(eq=False, slots=True)
class Settlement:
    """What is to become of a held message: deleted (`delay` None), or visible again after `delay` seconds."""

    held: Held
    delay: int | None
    due: float
    settled: Callable[[], None] | None = None


#: Threads that settle: while one waits for an answer the other sends the next full batch.
THREADS = 2


class Acknowledger:
    """Takes settlements from any thread and carries them out in its own.

    Its threads are woken for a batch that is full or due, not for each message.
    """

    def __init__(
        self,
        gateway: SqsGateway,
        queue_url: str,
        keeper: VisibilityKeeper,
        linger: float,
        on_death: OnDeath = end_process,
    ) -> None:
        self._gateway = gateway
        self._queue_url = queue_url
        self._keeper = keeper
        self._linger = linger
        #: Those to be deleted, and those to be shown again.
        self._pending: tuple[deque[Settlement], deque[Settlement]] = (deque(), deque())
        self._hurry = False
        self._closing_deadline: float | None = None
        self._paused_until = 0.0
        self._changed = threading.Condition()
        self._threads = [supervised(f"acknowledger-{n}", self._run, on_death) for n in range(THREADS)]
        self._outage = Outage("SQS (delete)")

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def delete(self, held: Held, *, at_once: bool = False, settled: Callable[[], None] | None = None) -> None:
        """Delete a handled message; `settled` is called once SQS has confirmed it, or never will."""
        self._add(Settlement(held, None, self._due(at_once), settled))

    def show_again(self, held: Held, delay: int, *, at_once: bool = False) -> None:
        """Make a message visible again after `delay` seconds. Its visibility is no longer kept."""
        self._keeper.forget(held)
        self._add(Settlement(held, delay, self._due(at_once)))

    def hurry(self) -> None:
        """Settle what there is without waiting for more: nothing else is under way."""
        with self._changed:
            if any(self._pending):
                self._hurry = True
                self._changed.notify_all()

    def close(self, deadline: float) -> None:
        """Settle everything, until `deadline` (monotonic clock) at the latest, and end the threads."""
        with self._changed:
            self._closing_deadline = deadline
            self._paused_until = 0.0
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()) + 1.0)
        if left := sum(map(len, self._pending)):
            log.warning("messages_not_settled", queue_url=self._queue_url, count=left)

    def _due(self, at_once: bool) -> float:
        return 0.0 if at_once else time.monotonic() + self._linger

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
                if not any(self._pending):
                    self._hurry = False
                    if closing:
                        return None
                    self._changed.wait(5.0)  # no wait is without a bound
                    continue
                first = float("inf")
                for kind in self._pending:
                    # Those that are due at once may stand behind others.
                    due = min((s.due for s in islice(kind, MAX_BATCH)), default=float("inf"))
                    first = min(first, due)
                    if kind and (closing or self._hurry or len(kind) >= MAX_BATCH or due <= now):
                        return [kind.popleft() for _ in range(min(MAX_BATCH, len(kind)))]
                self._changed.wait(max(0.001, first - now))

    def _settle(self, batch: list[Settlement]) -> float:
        """Carry out a batch; what failed is pending again. Answers how long to wait before the next try."""
        try:
            failures = self._request(batch)
        except QueueMissing:
            failures = ()  # the queue is gone, and its messages with it
        except ServerError as error:
            self._again(batch)
            return self._outage.failed(error)
        self._outage.over()
        again = []
        failed = {failure.index: failure for failure in failures}
        for index, settlement in enumerate(batch):
            failure = failed.get(index)
            if failure is not None and failure.code not in _GONE:
                again.append(settlement)
                continue
            if failure is not None:
                log.warning(
                    "message_not_ours",
                    message_id=settlement.held.message.message_id,
                    queue_url=self._queue_url,
                    code=failure.code,
                    meaning="its visibility ran out, and it will be handled again",
                )
            self._keeper.forget(settlement.held)
            if settlement.settled is not None:
                settlement.settled()
        if again:
            self._again(again)
            codes = ", ".join(sorted({failure.code for failure in failures}))
            return self._outage.failed(SqsUnavailable(f"{len(again)} entries of a batch failed: {codes}"))
        return 0.0

    def _request(self, batch: list[Settlement]) -> tuple[BatchFailure, ...]:
        if batch[0].delay is None:
            return self._gateway.delete(self._queue_url, [s.held.message.receipt_handle for s in batch])
        return self._gateway.change_visibility(
            self._queue_url, [(s.held.message.receipt_handle, s.delay or 0) for s in batch]
        )

    def _again(self, batch: list[Settlement]) -> None:
        with self._changed:
            self._pending[batch[0].delay is not None].extendleft(reversed(batch))
