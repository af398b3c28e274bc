"""The bounded buffer between the receiver and the slots, and the order of FIFO groups.

A message that another consumer may have by now is not begun here: it is dropped, and those behind it in its FIFO group
are given back. While the queue is handled with caution (see `caution`), the buffer gives out suspects one at a time.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection

from jobs.consumer.caution import Caution
from jobs.consumer.demand import room
from jobs.consumer.held import Held, spared
from jobs.consumer.waits import LOOK_AGAIN_SECONDS
from queues.sqs import MAX_BATCH


class Buffer:
    """Messages that wait for a slot. Within a FIFO group one message at a time is given out, in order.

    Slots are threads that wait in `take`, or tasks of an event loop, which hears of changes by `on_change` and takes
    without waiting. A waiting thread is woken only if there is something for it: at thousands of messages a second, a
    needless switch between threads costs more than the message.
    """

    def __init__(
        self,
        *,
        fifo: bool,
        let_go: Callable[[list[Held], list[Held]], None] = lambda lost, behind: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`let_go` is called with dropped messages, and those behind them in their groups; it must not wait."""
        self._fifo = fifo
        self._let_go = let_go
        self._monotonic = monotonic
        self._caution = Caution(self._caution_may_be_over, monotonic)
        #: The suspect that is being handled: nothing else is begun beside it.
        self._alone: Held | None = None
        #: Receive the next message only when none is held, until this is set back.
        self.probing = False
        self._waiting: deque[Held] = deque()
        self._busy_groups: set[str | None] = set()
        self._closed = False
        #: Slots that have messages, and how many messages beyond one these have; those that slots still gather.
        self._in_flight = self._beside = self._missing = 0
        self._idle_threads = 0
        self._limit: int | None = None
        #: Messages that are being asked of SQS, and how many to hold as of the last `reserve`.
        self._requested = 0
        self._target = 0
        self._on_change: Callable[[], None] | None = None
        lock = threading.RLock()
        #: A message may be taken; there is room for more; something has come to rest.
        self._available = threading.Condition(lock)
        self._roomy = threading.Condition(lock)
        self._resting = threading.Condition(lock)
        self._lock = lock

    @property
    def counts(self) -> tuple[int, int, int]:
        """Messages that wait, messages in slots, and slots that wait for a message."""
        with self._lock:
            return len(self._waiting), self._in_flight + self._beside, self._idle_slots

    @property
    def _idle_slots(self) -> int:
        if self._on_change is not None and self._limit is not None:
            return max(0, self._limit - self._in_flight)
        return self._idle_threads

    @property
    def closed(self) -> bool:
        """Whether only what waits already is given out."""
        return self._closed

    @property
    def quiet(self) -> bool:
        """Whether no message waits, is in a slot, or may be on its way from SQS."""
        with self._lock:
            self._drop_lost()
            return not self._waiting and not self._in_flight and not self._requested

    def serve(self, limit: int, on_change: Callable[[], None] | None = None) -> None:
        """Have at most `limit` messages in slots: in threads, or in a loop if `on_change` is given."""
        with self._lock:
            self._limit, self._on_change = limit, on_change
            self._changed(everybody=True)

    # --- the receiver's side ---

    def reserve(self, target: int, timeout: float, *, full: bool = False) -> int:
        """How many messages to receive now, once that is worth a request; 0 after `timeout` seconds.

        `target` is how many to hold beyond those in the slots; with `full` it is a full batch or nothing. They count
        as held until `unreserve`.
        """
        with self._lock:
            self._target = target
            if not self._wanted(full):
                self._roomy.wait(timeout)
            wanted = self._wanted(full)
            self._requested += wanted
            return wanted

    def unreserve(self, reserved: int) -> None:
        """End a reservation, after what SQS gave for it has been put."""
        with self._lock:
            self._requested -= reserved
            self._tell_receiver()

    def _wanted(self, full: bool = False) -> int:
        if self._caution.active or self.probing:
            free = self._idle_slots and not self._waiting and not self._requested and self._alone is None
            return 1 if free and not full and not (self.probing and self._in_flight) else 0
        wanted = room(self._idle_slots + self._missing, len(self._waiting) + self._requested, self._target)
        return wanted if wanted == MAX_BATCH or not full else 0

    def _tell_receiver(self) -> None:
        if self._wanted():
            self._roomy.notify_all()

    # --- the slots' side ---

    def put(self, messages: Collection[Held]) -> None:
        """Add received messages."""
        with self._lock:
            self._waiting.extend(messages)
            if self._on_change is not None:
                self._on_change()
            elif self._missing:
                self._available.notify_all()
            else:
                self._available.notify(len(messages))

    def take(self, surplus: Callable[[], bool] = lambda: False) -> Held | None:
        """The next message whose turn it is, waiting for one; None when the slot should end.

        `surplus` says whether there is one slot too many; it must not wait.
        """
        with self._lock:
            if not surplus() and (held := self.take_at_once()) is not None:
                return held
            self._idle_threads += 1
            self._tell_receiver()
            try:
                while True:
                    if surplus():
                        return None
                    held = self.take_at_once()
                    if held is not None:
                        return held
                    if self._closed and not self._waiting:
                        return None
                    self._available.wait(LOOK_AGAIN_SECONDS)
            finally:
                self._idle_threads -= 1

    def take_at_once(self) -> Held | None:
        """The next message whose turn it is, if there is one."""
        with self._lock:
            if self._limit is not None and self._in_flight >= self._limit:
                return None
            if self._missing and len(self._waiting) <= self._missing:
                return None
            held = self._next()
            if held is not None:
                self._in_flight += 1
                self._tell_receiver()
            return held

    def _next(self) -> Held | None:
        if self._fifo or (self._waiting and self._is_lost(self._waiting[0])):
            self._drop_lost()
        for index, held in enumerate(self._waiting):
            if self._fifo and held.message.group in self._busy_groups:
                continue
            if self._caution.active and not self._may_begin(held):
                return None
            del self._waiting[index]
            if self._fifo:
                self._busy_groups.add(held.message.group)
            held.begun = True
            return held
        return None

    def _is_lost(self, held: Held) -> bool:
        return held.lost or held.hidden_until <= self._monotonic()

    def _drop_lost(self) -> None:
        """Drop what is lost, or hidden no longer (this process may have been frozen)."""
        if not any(map(self._is_lost, self._waiting)):
            return
        lost: list[Held] = []
        behind: list[Held] = []
        kept: deque[Held] = deque()
        groups: set[str | None] = set()
        for held in self._waiting:
            if self._is_lost(held):
                lost.append(held)
                groups.add(held.message.group)
            elif self._fifo and held.message.group in groups:
                behind.append(held)
            else:
                kept.append(held)
        self._waiting = kept
        self._let_go(lost, behind)

    def _may_begin(self, held: Held) -> bool:
        """Whether a cautious buffer gives this message out now."""
        if self._alone is not None:
            return False
        if held.message.receive_count > 1:
            if self._in_flight:
                return False
            self._alone = held
        return True

    def finished(self, held: Held) -> None:
        """The message has left its slot, and its group may go on."""
        with self._lock:
            self._leave_slot(held)
            if self._alone is held:
                self._alone = None
            if self._fifo:
                self._busy_groups.discard(held.message.group)
            self._changed()

    def given_up(self, held: Held) -> None:
        """The message's slot does not come back: nobody waits for it, and its group goes no further."""
        with self._lock:
            self._leave_slot(held)
            self._changed()

    def _leave_slot(self, held: Held) -> None:
        if held.beside:
            self._beside -= 1
        else:
            self._in_flight -= 1

    def _changed(self, *, everybody: bool = False) -> None:
        if self._on_change is not None:
            self._on_change()
        if everybody:
            # Slots that are one too many look again, and a receiver that is to stop.
            self._available.notify_all()
            self._roomy.notify_all()
        elif self._waiting:
            self._available.notify()
        elif self._closed:
            self._available.notify_all()
        self._tell_receiver()
        if not self._in_flight and not self._waiting:
            self._resting.notify_all()

    # --- the run's side ---

    def withdraw(self, group: str | None) -> list[Held]:
        """Take out the waiting messages of a FIFO group, because one before them has failed."""
        with self._lock:
            self._drop_lost()
            withdrawn = [held for held in self._waiting if held.message.group == group]
            if withdrawn:
                self._waiting = deque(held for held in self._waiting if held.message.group != group)
                self._changed()
            return withdrawn

    def remove(self, held: Held) -> bool:
        """Take out one message; False if it does not wait: it has been begun, or taken out already."""
        with self._lock:
            if held not in self._waiting:
                return False
            self._waiting.remove(held)
            self._changed()
            return True

    def drop(self, held: Held) -> bool:
        """Drop a message that is lost; False if it does not wait."""
        with self._lock:
            if held not in self._waiting:
                return False
            held.lost = True
            self._drop_lost()
            self._changed()
            return True

    def be_cautious(self, until: float) -> None:
        """Be cautious until then (monotonic clock) at least; those who wait for its end are woken then."""
        with self._lock:
            if self._caution.prolong(until) and (self._waiting or not self._closed):
                self._caution.start_timer()

    def _caution_may_be_over(self) -> None:
        with self._lock:
            if self._caution.timer_ended():
                self._changed(everybody=True)
            elif self._waiting or not self._closed:
                self._caution.start_timer()

    def withdraw_all(self, is_spare: Callable[[Held], bool]) -> list[Held]:
        """Take out the waiting messages that can be given back (see `spared`)."""
        with self._lock:
            withdrawn = spared(self._waiting, is_spare, fifo=self._fifo)
            if withdrawn:
                gone = set(map(id, withdrawn))
                self._waiting = deque(held for held in self._waiting if id(held) not in gone)
                self._changed()
            return withdrawn

    def wake(self) -> None:
        """Have every waiter look again (a slot should retire, the receiver should stop)."""
        with self._lock:
            self._changed(everybody=True)

    def close(self) -> None:
        """Let the slots end once what waits has been handled."""
        with self._lock:
            self._closed = True
            self._changed(everybody=True)

    def empty_out(self) -> list[Held]:
        """Close, and take out all that waits, to be given back unhandled."""
        with self._lock:
            withdrawn = list(self._waiting)
            self._waiting.clear()
            self._closed = True
            self._caution.cancel_timer()
            self._changed(everybody=True)
            return withdrawn

    def halt(self) -> list[Held]:
        """As `empty_out`, and begin nothing that comes after it either."""
        with self._lock:
            self._limit = 0
            return self.empty_out()

    def wait_idle(self, deadline: float) -> bool:
        """Wait until nothing waits and nothing is in a slot; False at `deadline` (monotonic clock)."""
        with self._lock:
            while True:
                self._drop_lost()
                if not self._waiting and not self._in_flight and not self._beside:
                    return True
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    return False
                self._resting.wait(min(remaining, 1.0))
