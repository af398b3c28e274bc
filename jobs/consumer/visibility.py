"""The visibility heartbeat: keeps hidden what this consumer holds, for as long as it holds it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from jobs.consumer.buffer import LONGEST_REQUEST_SECONDS, Held
from queues.sqs import MAX_BATCH, MAX_VISIBILITY_SECONDS, SqsGateway
from queuesite.errors import ServerError
from queuesite.logs import get_logger
from queuesite.outage import Outage
from queuesite.threads import OnDeath, end_process, supervised

log = get_logger(__name__)


class VisibilityKeeper:
    """Extends the visibility of held messages, ten in a request, before half of it has passed."""

    def __init__(
        self,
        gateway: SqsGateway,
        queue_url: str,
        visibility_timeout: Callable[[], int],
        on_loss: Callable[[Held], None] = lambda held: None,
        on_death: OnDeath = end_process,
    ) -> None:
        self._gateway = gateway
        self._queue_url = queue_url
        self._visibility_timeout = visibility_timeout
        self._on_loss = on_loss
        self._held: dict[int, Held] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = supervised("visibility", self._run, on_death)
        self._outage = Outage("SQS (visibility)")

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what is still held runs out by itself."""
        self._stopping.set()
        self._thread.join(LONGEST_REQUEST_SECONDS)

    def keep(self, held: Held) -> None:
        """Keep a message hidden from now on."""
        with self._lock:
            self._held[id(held)] = held

    def forget(self, held: Held) -> None:
        """Keep a message no longer. Harmless for one that is not kept."""
        with self._lock:
            self._held.pop(id(held), None)

    def _run(self) -> None:
        while True:
            # An eighth of the timeout leaves several tries between its half and its end.
            pause = min(max(self._visibility_timeout() / 8, 0.1), 1.0)
            if self._stopping.wait(pause):
                return
            self.beat(time.monotonic())

    def beat(self, now: float) -> None:
        """Extend what is due at `now` (monotonic clock)."""
        timeout = self._visibility_timeout()
        with self._lock:
            due = [
                held
                for held in self._held.values()
                if held.hidden_until - now <= timeout / 2
                # SQS counts its limit of 12 h from the receive, and refuses what would pass it.
                and now + timeout - held.received_at < MAX_VISIBILITY_SECONDS
            ]
        for start in range(0, len(due), MAX_BATCH):
            self._extend(due[start : start + MAX_BATCH], timeout)

    def _extend(self, batch: list[Held], timeout: int) -> None:
        asked_at = time.monotonic()
        try:
            failures = self._gateway.change_visibility(
                self._queue_url, [(held.message.receipt_handle, timeout) for held in batch]
            )
        except ServerError as error:
            self._outage.failed(error)  # the next beat is the next try
            return
        self._outage.over()
        failed = {failure.index: failure for failure in failures}
        for index, held in enumerate(batch):
            failure = failed.get(index)
            if failure is None:
                held.hidden_until = asked_at + timeout
            elif failure.sender_fault:
                with self._lock:
                    still_held = self._held.pop(id(held), None) is not None
                if still_held:  # else it was settled while the request was under way
                    held.lost = True
                    log.warning("visibility_lost", message_id=held.message.message_id, code=failure.code)
                    self._on_loss(held)
