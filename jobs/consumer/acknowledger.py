"""The acknowledger: settles messages with SQS in full batches.

A handled message is deleted, a failed one is made visible again after its delay. Either waits for nine others, for at
most the linger; at once where the consumer is idle or ends, or the queue is FIFO. What SQS refuses is tried again for
as long as the message is ours.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from jobs.consumer.buffer import Held
from jobs.consumer.visibility import VisibilityKeeper
from queues.sqs import MAX_BATCH, BatchFailure, SqsGateway
from queuesite.errors import QueueMissing, ServerError, SqsUnavailable
from queuesite.logs import carrying, get_logger
from queuesite.outage import Outage

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


class Acknowledger:
    """Takes settlements from any thread and carries them out in its own."""

    def __init__(self, gateway: SqsGateway, queue_url: str, keeper: VisibilityKeeper, linger: float) -> None:
        self._gateway = gateway
        self._queue_url = queue_url
        self._keeper = keeper
        self._linger = linger
        self._pending: list[Settlement] = []
        self._hurry = False
        self._closing_deadline: float | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=carrying(self._run), name="acknowledger", daemon=True)
        self._outage = Outage("SQS (delete)")

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

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
            if self._pending:
                self._hurry = True
                self._changed.notify_all()

    def close(self, deadline: float) -> None:
        """Settle everything, until `deadline` (monotonic clock) at the latest, and end the thread."""
        with self._changed:
            self._closing_deadline = deadline
            self._changed.notify_all()
        self._thread.join(max(0.0, deadline - time.monotonic()) + 1.0)
        if self._pending:
            log.warning("messages_not_settled", queue_url=self._queue_url, count=len(self._pending))

    def _due(self, at_once: bool) -> float:
        return time.monotonic() + (0.0 if at_once else self._linger)

    def _add(self, settlement: Settlement) -> None:
        with self._changed:
            self._pending.append(settlement)
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            batch = self._next_batch()
            if batch is None:
                return
            pause = self._settle(batch)
            if pause:
                deadline = self._closing_deadline
                if deadline is not None and time.monotonic() + pause >= deadline:
                    return
                self._rest(pause, deadline)

    def _rest(self, pause: float, deadline: float | None) -> None:
        """Wait before the next try, unless `close` comes. New settlements do not cut it short: SQS is away."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing_deadline != deadline, pause)

    def _next_batch(self) -> list[Settlement] | None:
        """The next settlements of one kind, when it is time for them; None at the end."""
        with self._changed:
            while True:
                closing = self._closing_deadline is not None
                if not self._pending:
                    self._hurry = False
                    if closing:
                        return None
                    self._changed.wait()
                    continue
                now = time.monotonic()
                deletes = [s for s in self._pending if s.delay is None][:MAX_BATCH]
                others = [s for s in self._pending if s.delay is not None][:MAX_BATCH]
                for batch in (deletes, others):
                    if batch and (
                        closing or self._hurry or len(batch) == MAX_BATCH or min(s.due for s in batch) <= now
                    ):
                        taken = set(map(id, batch))
                        self._pending = [s for s in self._pending if id(s) not in taken]
                        return batch
                self._changed.wait(max(0.001, min(s.due for s in self._pending) - now))

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
            self._pending[:0] = batch
