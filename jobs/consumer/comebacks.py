"""Messages that SQS gives to this consumer although it holds them, or has handled them.

Their visibility has run out while SQS could not be reached, or the process was frozen. Most often the next to receive
them is the same consumer, since a queue has one unless it says otherwise. Handling them twice would be needless.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from jobs.consumer.buffer import Buffer
from jobs.consumer.held import Held
from jobs.consumer.visibility import VisibilityKeeper
from queuesite.foundation.logs import get_logger

log = get_logger(__name__)

#: How many handled messages to remember of those whose delete SQS refused: far more than one consumer holds at a time.
REMEMBERED = 10_000


class Comebacks:
    """Recognizes what has come back; safe for many threads. `delete` is given what has been handled already."""

    def __init__(self, keeper: VisibilityKeeper, buffer: Buffer, delete: Callable[[Held], None]) -> None:
        self._keeper = keeper
        self._buffer = buffer
        self._delete = delete
        #: Ids of messages that were handled and could not be deleted, the oldest first.
        self._handled: dict[str, None] = {}
        self._lock = threading.Lock()

    def remember(self, handled: Held) -> None:
        """A message was handled, but its receipt handle was of no use any more when it was to be deleted."""
        with self._lock:
            self._handled[handled.message.message_id] = None
            if len(self._handled) > REMEMBERED:
                del self._handled[next(iter(self._handled))]

    def new(self, messages: list[Held]) -> list[Held]:
        """The received messages that are to be handled; the others have been settled here."""
        if not self._handled and not self._keeper.knows_any(messages):
            return messages
        return [held for held in messages if self._is_new(held)]

    def _is_new(self, held: Held) -> bool:
        message_id = held.message.message_id
        known = self._keeper.known(message_id)
        if known is not None:
            if self._buffer.drop(known):
                return True  # it waited in vain, and waits again by its new receipt handle
            if self._keeper.adopt(held):
                log.info("message_came_back", message_id=message_id, meaning="it is being handled here")
                return False
        if self._handled and message_id in self._handled:
            log.info("message_came_back", message_id=message_id, meaning="it was handled here; it is deleted")
            self._delete(held)
            return False
        return True
