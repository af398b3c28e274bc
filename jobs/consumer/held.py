"""A message that this consumer holds: received, and neither deleted nor given back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from bson import ObjectId

from jobs.consumer.windows import MARGIN_SECONDS
from queues.sqs import MAX_VISIBILITY_SECONDS, ReceivedMessage


@dataclass(frozen=True)
class Batch:
    """Messages of one queue that a listener has received for a consumer. Plain values that go through pipes.

    Times are the monotonic clock's, which all processes of a machine share: visibility counts from the receive.
    """

    queue_id: ObjectId
    queue_url: str
    messages: tuple[ReceivedMessage, ...]
    asked_at: float
    answered_at: float
    #: For how long SQS was asked to hide them, in seconds.
    window: int

    @property
    def hand_over_by(self) -> float:
        """Until when a consumer may take them: it extends their visibility when half of the window has elapsed."""
        return self.answered_at + self.window / 2

    def held(self) -> list[Held]:
        """The messages as the consumer holds them."""
        hidden_until = self.answered_at + self.window
        return [Held(message, self.asked_at, hidden_until, self.window) for message in self.messages]


@dataclass(eq=False, slots=True)
class Held:
    """Times are the monotonic clock's."""

    message: ReceivedMessage
    #: When it was asked for: SQS counts its limit of 12 h from some moment after that.
    received_at: float
    hidden_until: float
    #: For how long SQS was last asked to hide it, in seconds.
    window: float
    #: A slot has taken it.
    begun: bool = False
    #: It is handled in one slot with another message, which counts for the slot.
    beside: bool = False
    #: Its visibility could not be kept: another consumer may have it by now.
    lost: bool = False
    #: SQS hides it no longer than this; None: until its 12 h are over by our reckoning, which SQS has not corrected.
    corrected_limit: float | None = None

    @property
    def limit(self) -> float:
        """Until when SQS may be asked to hide it."""
        if self.corrected_limit is not None:
            return self.corrected_limit
        return self.received_at + MAX_VISIBILITY_SECONDS - MARGIN_SECONDS

    @limit.setter
    def limit(self, moment: float) -> None:
        self.corrected_limit = moment

    def left(self, now: float) -> int:
        """For how many seconds from `now` SQS may be asked to hide it."""
        return max(0, int(self.limit - now))

    @property
    def extensible(self) -> bool:
        """Whether it can be hidden for a second longer than it is."""
        return self.hidden_until + 1 <= self.limit

    def hide(self, seconds: int, asked_at: float) -> None:
        """SQS hides it for `seconds`, as it was asked to at `asked_at`."""
        self.window = seconds
        self.hidden_until = asked_at + seconds

    def renew(self, again: Held) -> None:
        """The same message was received `again`: its handle and times count from now on."""
        self.message = again.message
        self.received_at, self.hidden_until, self.window = again.received_at, again.hidden_until, again.window
        self.corrected_limit, self.lost = None, False


def spared(messages: Iterable[Held], is_spare: Callable[[Held], bool], *, fifo: bool) -> list[Held]:
    """The messages that can be given back: those that `is_spare` says so of, in order.

    Within a FIFO group only those behind the last one that cannot: the others come before it.
    """
    found: list[Held] = []
    kept: set[str | None] = set()
    for held in reversed(list(messages)):
        if (fifo and held.message.group in kept) or not is_spare(held):
            kept.add(held.message.group)
        else:
            found.append(held)
    return found[::-1]
