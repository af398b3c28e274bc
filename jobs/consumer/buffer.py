"""The bounded buffer between the receiver and the slots, and the order of FIFO groups.

Being received costs a message one of its receives, whether it was handled or not. So where one message kills its
consumer, or holds up its FIFO group by failing, those received with it would reach the dead-letter queue unseen. While
a queue is in such trouble its buffer is *cautious*: messages are received one by one, and one that was received before
(a suspect) is handled while nothing else is held.

What may be with another consumer by now is not begun here: it is let go, and so are those behind it in its FIFO group.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection

from jobs.consumer.demand import room
from jobs.consumer.held import Held as Held
from jobs.consumer.held import spared
from queues.sqs import MAX_BATCH
from queuesite.logs import with_log_context

#: Seconds beyond the moment at which the messages of a crashed consumer, or a failed one of a FIFO group, are visible
#: again, for which a queue is treated with caution; and the longest in all, since a retry may be hours away.
CAUTION_SECONDS = 30.0
LONGEST_CAUTION = 900.0


#: Seconds after which a slot that waits for a message looks again unasked: no wait is without a bound.
LOOK_AGAIN_SECONDS = 5.0
#: Seconds after which a thread that is in a request to SQS is not waited for any more: boto3 tries three times, for at
#: most 35 s each (see `queues.sqs.connection`).
LONGEST_REQUEST_SECONDS = 120.0


def caution(hidden: float) -> float:
    """For how long to be cautious with a queue whose troublesome message is hidden for `hidden` seconds."""
    return min(hidden + CAUTION_SECONDS, LONGEST_CAUTION)


class Buffer:
    """Messages that wait for a slot. Within a FIFO group one message at a time is given out, in order.

    Slots are threads that wait in `take`, or tasks of an event loop, which is told by `on_change` and takes without
    waiting. Whoever waits is woken only where there is something for it: at thousands of messages a second, each
    needless switch between threads costs more than the message.
    """

    def __init__(
        self,
        *,
        fifo: bool,
        let_go: Callable[[list[Held], list[Held]], None] = lambda lost, behind: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`let_go` gets the messages that were dropped, and those behind them in their groups; it must not wait."""
        self._fifo = fifo
        self._let_go = let_go
        self._monotonic = monotonic
        self._cautious_until = 0.0
        #: Wakes whoever waits when caution ends.
        self._timer: threading.Timer | None = None
        #: The suspect that is being handled: nothing else is begun beside it.
        self._alone: Held | None = None
        self._waiting: deque[Held] = deque()
        self._busy_groups: set[str | None] = set()
        self._closed = False
        self._in_flight = 0
        self._idle_threads = 0
        self._limit: int | None = None
        #: Messages that were asked of SQS and have not been answered for, and how many to hold as was last said.
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
            return len(self._waiting), self._in_flight, self._idle_slots

    @property
    def _idle_slots(self) -> int:
        if self._on_change is not None and self._limit is not None:
            return max(0, self._limit - self._in_flight)
        return self._idle_threads

    @property
    def closed(self) -> bool:
        """Whether nothing more is given out than what waits already."""
        return self._closed

    @property
    def quiet(self) -> bool:
        """Whether no message waits, is in a slot, or may be on its way from SQS."""
        with self._lock:
            self._drop_lost()
            return not self._waiting and not self._in_flight and not self._requested

    def serve(self, limit: int, on_change: Callable[[], None] | None = None) -> None:
        """Have at most `limit` messages in slots: in threads, or in a loop that `on_change` tells of each change."""
        with self._lock:
            self._limit, self._on_change = limit, on_change
            self._changed(everybody=True)

    # --- the receiver's side ---

    def reserve(self, target: int, timeout: float, *, full: bool = False) -> int:
        """How many messages to receive now, waiting for that to be worth a request; 0 after `timeout` seconds.

        `target` is how many to hold beyond those in the slots; `full` asks for nothing less than a full batch. They
        count as held until `unreserve`.
        """
        with self._lock:
            self._target = target
            if not self._wanted(full):
                self._roomy.wait(timeout)
            wanted = self._wanted(full)
            self._requested += wanted
            return wanted

    def unreserve(self, reserved: int) -> None:
        """SQS has answered for those that were reserved, whatever it gave; what it gave has been put."""
        with self._lock:
            self._requested -= reserved
            self._tell_receiver()

    def _wanted(self, full: bool = False) -> int:
        if self._cautious:
            free = self._idle_slots and not self._waiting and not self._requested and self._alone is None
            return 1 if free and not full else 0
        wanted = room(self._idle_slots, len(self._waiting) + self._requested, self._target)
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
            else:
                self._available.notify(len(messages))

    def take(self, surplus: Callable[[], bool] = lambda: False) -> Held | None:
        """The next message whose turn it is, waiting for one; None when the slot should end.

        `surplus` tells whether there is one slot too many; it must not wait.
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
            if self._cautious and not self._may_begin(held):
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
        """Let go of what was lost, or is hidden no longer (this process may have been frozen)."""
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
            self._in_flight -= 1
            if self._alone is held:
                self._alone = None
            if self._fifo:
                self._busy_groups.discard(held.message.group)
            self._changed()

    def given_up(self, held: Held) -> None:
        """The message's slot does not come back: it is waited for no longer, and its group stays where it is."""
        with self._lock:
            self._in_flight -= 1
            self._changed()

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
        """Take out the waiting messages of a FIFO group: one before them has failed, so it is not their turn."""
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
        """Let go of a message that is lost; False if it does not wait."""
        with self._lock:
            if held not in self._waiting:
                return False
            held.lost = True
            self._drop_lost()
            self._changed()
            return True

    def be_cautious(self, until: float) -> None:
        """Be cautious until then (monotonic clock) at least; whoever has to wait for that is woken at its end."""
        with self._lock:
            if until > self._cautious_until:
                self._cautious_until = until
                self._time_caution()

    @property
    def _cautious(self) -> bool:
        until = self._cautious_until
        return until > 0 and self._monotonic() < until

    def _time_caution(self) -> None:
        if self._timer is None and not (self._closed and not self._waiting):
            left = min(max(0.0, self._cautious_until - self._monotonic()), threading.TIMEOUT_MAX)
            self._timer = threading.Timer(left, with_log_context(self._caution_is_over))
            self._timer.daemon = True
            self._timer.start()

    def _caution_is_over(self) -> None:
        with self._lock:
            self._timer = None
            if self._cautious:  # it has been prolonged
                self._time_caution()
            else:
                self._changed(everybody=True)

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
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._changed(everybody=True)
            return withdrawn

    def wait_idle(self, deadline: float) -> bool:
        """Wait until nothing waits and nothing is in a slot; False at `deadline` (monotonic clock)."""
        with self._lock:
            while True:
                self._drop_lost()
                if not self._waiting and not self._in_flight:
                    return True
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    return False
                self._resting.wait(min(remaining, 1.0))
