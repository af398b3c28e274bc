"""The visibility heartbeat: keeps hidden what this consumer holds, for as long as it holds it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection

from jobs.consumer.held import Held
from jobs.consumer.refused import Refusals
from jobs.consumer.waits import LONGEST_REQUEST_SECONDS
from jobs.consumer.windows import LONGEST_WAIT, STEP_SECONDS
from queues.sqs import MAX_BATCH, BatchFailure, DataPlane
from queuesite.foundation.errors import ServerError
from queuesite.foundation.logs import get_logger
from queuesite.foundation.outage import Outage
from queuesite.foundation.threads import OnDeath, end_process, supervised

log = get_logger(__name__)


class VisibilityKeeper:
    """Knows every message that this consumer holds, and extends each before half of its window has passed.

    `window` returns for how many seconds to hide a message, by how many it has been held. `on_loss` is called for a
    message that may be with another consumer by now (`lost`), and for one that has waited too long for a slot.
    """

    def __init__(
        self,
        gateway: DataPlane,
        queue_url: str,
        window: Callable[[float], int],
        on_loss: Callable[[Held], None] = lambda held: None,
        refusals: Refusals | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        on_death: OnDeath = end_process,
    ) -> None:
        self._gateway = gateway
        self._queue_url = queue_url
        self._window = window
        self._monotonic = monotonic
        self._on_loss = on_loss
        self._held: dict[str, Held] = {}
        #: Those in the request under way, and what to do once it has been answered.
        self._extending: set[Held] = set()
        self._afterwards: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._woken = threading.Event()
        self._stopping = False
        self._thread = supervised("visibility", self._run, on_death)
        self._outage = Outage("SQS (visibility)")
        self._refusals = refusals or Refusals()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what is still held runs out by itself."""
        self._stopping = True
        self._woken.set()
        self._thread.join(LONGEST_REQUEST_SECONDS)

    def wake(self) -> None:
        """Look at once: a shorter visibility timeout allows for less sleep."""
        self._woken.set()

    # --- what is held ---

    def keep(self, *messages: Held) -> None:
        """Keep messages hidden from now on."""
        with self._lock:
            for held in messages:
                self._held[held.message.message_id] = held

    def known(self, message_id: str) -> Held | None:
        """What is held of this message already, lost or not."""
        return self._held.get(message_id)

    def knows_any(self, messages: Collection[Held]) -> bool:
        """Whether any of these is held already."""
        return not self._held.keys().isdisjoint([held.message.message_id for held in messages])

    def oldest(self) -> tuple[float | None, float | None]:
        """When the oldest message in a slot was received (monotonic clock), and when the oldest of all was sent.

        The second is by SQS's clock, in seconds since 1970. None: there is none, or SQS did not report it.
        """
        with self._lock:
            held = [one for one in self._held.values() if not one.lost]
        received = min((one.received_at for one in held if one.begun), default=None)
        return received, min((sent for one in held if (sent := one.message.sent_at)), default=None)

    def adopt(self, again: Held) -> bool:
        """SQS has given out a held message `again`: hold it by its new receipt handle. False: it is not held."""
        with self._lock:
            known = self._held.get(again.message.message_id)
            if known is None:
                return False
            known.renew(again)
            return True

    def forget(self, held: Held) -> None:
        """Hold a message no longer. Harmless for one that is not held."""
        with self._lock:
            self._drop(held)

    def confirm(self, held: Held, receipt_handle: str) -> bool:
        """Forget a message that was settled by this handle. False: it has come back since, and has another."""
        with self._lock:
            if held.message.receipt_handle != receipt_handle:
                return False
            self._drop(held)
            return True

    def stop_extending(self, held: Held, then: Callable[[], None]) -> None:
        """Forget a message and call `then` as soon as no extension of it is under way, which might overwrite it."""
        with self._lock:
            self._drop(held)
            if held in self._extending:
                self._afterwards.append(then)
                return
        then()

    def _drop(self, held: Held) -> None:
        if self._held.get(held.message.message_id) is held:
            del self._held[held.message.message_id]

    # --- the heartbeat ---

    def _run(self) -> None:
        while not self._stopping:
            self._woken.wait(self.pause)
            self._woken.clear()
            if not self._stopping:
                self.beat(self._monotonic())

    @property
    def pause(self) -> float:
        """Seconds until the next beat: an eighth of the shortest window leaves several tries after its half."""
        with self._lock:
            shortest = min((held.window for held in self._held.values()), default=8.0)
        return min(max(min(shortest, self._window(0.0)) / 8, 0.1), 1.0)

    def beat(self, now: float) -> None:
        """Extend what is due at `now` (monotonic clock), and report what is lost."""
        due: list[tuple[Held, int]] = []
        over: list[Held] = []
        waited: list[Held] = []
        with self._lock:
            for held in self._held.values():
                if held.lost:
                    continue
                seconds = min(self._window(now - held.received_at), held.left(now))
                if not held.extensible or not seconds:
                    if held.hidden_until <= now:
                        over.append(held)
                elif not held.begun and now - held.received_at >= LONGEST_WAIT:
                    waited.append(held)
                # By what it has: a changed timeout makes nothing due but what would run out before it.
                elif held.hidden_until - now <= min(held.window, seconds) / 2:
                    due.append((held, seconds))
        for held in over:
            self._lose(held, "its 12 hours are used up")
        for held in waited:
            log.info("message_waited_too_long", message_id=held.message.message_id, seconds=LONGEST_WAIT)
            self._on_loss(held)
        for start in range(0, len(due), MAX_BATCH):
            self._extend(due[start : start + MAX_BATCH])

    def _extend(self, batch: list[tuple[Held, int]]) -> None:
        with self._lock:
            batch = [(held, seconds) for held, seconds in batch if self._holds(held)]
            self._extending = {held for held, _ in batch}
        try:
            if batch:
                self._request(batch)
        finally:
            with self._lock:
                self._extending = set()
                afterwards, self._afterwards = self._afterwards, []
            for then in afterwards:
                then()

    def _request(self, batch: list[tuple[Held, int]]) -> None:
        asked_at = self._monotonic()
        changes = [(held.message.receipt_handle, seconds) for held, seconds in batch]
        try:
            failures = self._gateway.change_visibility(self._queue_url, changes)
        except ServerError as error:
            self._refusals.note(error)
            self._outage.failed(error)  # the next beat is the next try
            return
        self._refusals.over()
        self._outage.over()
        failed = {failure.index: failure for failure in failures}
        for index, (held, seconds) in enumerate(batch):
            if held.message.receipt_handle != changes[index][0]:
                continue  # it has come back meanwhile, with a window of its own
            failure = failed.get(index)
            if failure is not None:
                self._refused(held, seconds, asked_at, failure)
                continue
            held.hide(seconds, asked_at)
            if not held.extensible:
                log.warning(
                    "visibility_limit_reached",
                    message_id=held.message.message_id,
                    seconds_left=seconds,
                    meaning="SQS hides no message for longer than 12 hours; it will be handled again",
                )

    def _refused(self, held: Held, seconds: int, asked_at: float, failure: BatchFailure) -> None:
        if failure.gone:
            self._lose(held, failure.code)
        elif failure.beyond_limit:
            held.limit = asked_at + seconds - STEP_SECONDS
        elif not failure.transient:
            held.limit = held.hidden_until
            log.warning("visibility_refused", message_id=held.message.message_id, code=failure.code)

    def _lose(self, held: Held, why: str) -> None:
        with self._lock:
            if not self._holds(held):
                return  # it was settled while the request was under way
            held.lost = True
        log.warning("visibility_lost", message_id=held.message.message_id, code=why)
        self._on_loss(held)

    def _holds(self, held: Held) -> bool:
        return self._held.get(held.message.message_id) is held
