"""The messages that a run holds, from their receive until they are deleted or given back."""

from __future__ import annotations

import time

from jobs.consumer.acknowledger import Acknowledger
from jobs.consumer.comebacks import Comebacks
from jobs.consumer.current_settings import CurrentSettings
from jobs.consumer.gathering import GatheringBuffer
from jobs.consumer.held import Held, spared
from jobs.consumer.owner import OwnerWatch
from jobs.consumer.refused import Refusals
from jobs.consumer.run_end import RunEnd
from jobs.consumer.sent_again import send_again
from jobs.consumer.settings import RunLimits
from jobs.consumer.visibility import VisibilityKeeper
from jobs.models import EndReason, Trait
from queues.sqs import DataPlane
from queuesite.foundation.logs import get_logger

log = get_logger(__name__)

#: For how many seconds a run whose end is not urgent goes on with what it has buffered.
YIELD_SECONDS = 5.0
#: Seconds between looks whether the buffer of a run that ends has been handled.
_LOOK_SECONDS = 0.05


class Holdings:
    """Puts together the parts that know held messages: buffer, visibility keeper, acknowledger, comebacks."""

    def __init__(
        self,
        gateway: DataPlane,
        current: CurrentSettings,
        limits: RunLimits,
        end: RunEnd,
        owner: OwnerWatch | None = None,
    ) -> None:
        """`owner` looks at what is received of a queue that others own."""
        queue_url = current.queue.queue_url
        self._gateway = gateway
        self._current = current
        self._limits = limits
        self.ending = end
        self.owner = owner
        self.buffer = GatheringBuffer(fifo=current.fifo, let_go=self._let_go)
        self.buffer.hurried = lambda: end.asked
        self.keeper = VisibilityKeeper(
            gateway, queue_url, current.window, self._not_kept, Refusals(end.refused), on_death=end.thread_died
        )
        self.acknowledger = Acknowledger(
            gateway,
            queue_url,
            self.keeper,
            limits.linger,
            self._not_deleted,
            Refusals(end.refused),
            on_death=end.thread_died,
        )
        self._comebacks = Comebacks(self.keeper, self.buffer, lambda held: self.acknowledger.delete(held, at_once=True))

    def start(self) -> None:
        """Start the threads."""
        self.keeper.start()
        self.acknowledger.start()

    def accept(self, messages: list[Held]) -> None:
        """Hold received messages. If the run is ending, only those that must not be given back."""
        if self.owner is not None:
            self.owner.look(messages)
        new = self._comebacks.new(messages)
        if self.ending.asked:
            spare = spared(new, self._is_spare, fifo=self._current.fifo)
            self.give_back(spare)
            new = [held for held in new if held not in spare]
        self.keeper.keep(*new)
        self.buffer.put(new)

    # --- giving back ---

    def give_back(self, messages: list[Held]) -> None:
        """Make messages visible again at once."""
        for held in messages:
            if self.ending.reason is EndReason.TRIPPED:
                self.spare(held, 0)
            else:
                self.acknowledger.release(held, 0, at_once=True)

    def spare(self, held: Held, delay: int) -> None:
        """Have a message come back after `delay` seconds although it has used up its receives, see `tripping`."""
        queue = self._current.queue
        spent = queue.is_last_receive(held.message.receive_count)
        if spent and not queue.fifo and send_again(self._gateway, queue, held, delay):
            self.acknowledger.delete(held, at_once=True)
        else:
            self.acknowledger.release(held, delay, at_once=True)

    def give_back_group(self, held: Held) -> None:
        """On a FIFO queue, give back the waiting messages of this one's group: they must not go before it."""
        if self._current.fifo:
            self.give_back(self.buffer.withdraw(held.message.group))

    def clear_buffer(self, *, abandoned: bool) -> bool:
        """Give back what need not be handled here; whether nothing waits any more.

        A message that is given back loses a receive, and one that has none left goes to the dead-letter queue without
        having been handled, so it is handled here if a slot comes free within the grace. A queue that yields often
        would lose all its messages like that: at a yield, all that is buffered, about a second of work, is handled.
        `abandoned` says that slots may be lost, so that nobody may be left to take the messages.
        """
        self.give_back(self.buffer.withdraw_all(self._is_spare))
        waiting, in_flight, idle = self.buffer.counts
        if not waiting or (abandoned and not in_flight and not idle):
            return True
        self.buffer.wait_idle(time.monotonic() + _LOOK_SECONDS)
        return False

    def _is_spare(self, held: Held) -> bool:
        """Whether a message may be given back now that the run ends."""
        end = self.ending
        if end.reason is EndReason.TRIPPED:
            return True
        if self._current.queue.is_last_receive(held.message.receive_count):
            return time.monotonic() >= end.asked_at + self._limits.grace
        urgent = end.reason is None or not end.reason.has(Trait.EMPTIES_BUFFER)
        return urgent or time.monotonic() >= end.asked_at + YIELD_SECONDS

    # --- what the parts report ---

    def _not_kept(self, held: Held) -> None:
        """A message is lost, or has waited too long: if it waits it is not begun, nor are those behind it."""
        if held.lost and self.buffer.drop(held):
            return  # see `_let_go`
        if self._current.fifo:
            self.give_back_group(held)
        elif not held.lost and self.buffer.remove(held):
            self.give_back([held])

    def _let_go(self, lost: list[Held], behind: list[Held]) -> None:
        """The buffer has dropped what another consumer may have, and withdrawn those behind it in its group."""
        for held in lost:
            self.keeper.forget(held)
            log.warning("message_not_begun", message_id=held.message.message_id, meaning="its visibility has run out")
        self.give_back(behind)

    def _not_deleted(self, held: Held) -> None:
        """A handled message could not be deleted: it comes back, and those behind it must not go before it."""
        self._comebacks.remember(held)
        self.give_back_group(held)
