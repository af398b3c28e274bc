"""SQS in memory: the data plane for tests that need neither a server nor real seconds.

It behaves as AWS documents SQS, even if emulators do not: a message stays hidden for at most 12 hours from its receive,
receives are counted and end in the dead-letter queue, FIFO groups wait for the message before, and duplicates are
dropped for five minutes. Counts are exact. `tests/integration/test_data_plane.py` holds it to the same contract as the
real gateway.
"""

from __future__ import annotations

import hashlib
import itertools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from queues.sqs.refusals import BatchFailure
from queues.sqs.values import (
    MAX_VISIBILITY_SECONDS,
    NEEDED_ATTRIBUTES,
    Depth,
    OutgoingMessage,
    ReceivedMessage,
    SendResult,
)
from queuesite.foundation.errors import QueueMissing

#: How long SQS remembers a deduplication id, in seconds.
DEDUPLICATION_SECONDS = 300.0
#: Longest real wait before a long poll looks at its clock again, in seconds.
_LOOK_SECONDS = 0.01


class ManualClock:
    """A clock that stands still until `advance`; safe for threads."""

    def __init__(self, start: float = 1_000.0) -> None:
        self._now = start
        self._moved = threading.Condition()

    def __call__(self) -> float:
        """The time, in seconds."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass."""
        with self._moved:
            self._now += seconds
            self._moved.notify_all()


@dataclass(eq=False)
class _Stored:
    message_id: str
    body: str
    attributes: dict[str, dict[str, Any]]
    group: str | None
    sent_at: float
    visible_at: float
    number: int
    receives: int = 0
    received_at: float = 0.0
    handle: str | None = None

    def in_flight(self, now: float) -> bool:
        return self.handle is not None and now < self.visible_at


@dataclass(eq=False)
class _Queue:
    url: str
    fifo: bool
    visibility: int
    delay: int
    dead_letters: str | None
    max_receive_count: int
    content_based: bool = False
    high_throughput: bool = False
    messages: list[_Stored] = field(default_factory=list)
    #: Deduplication ids with the message that each stands for, and until when.
    sent: dict[tuple[str | None, str], tuple[str, float]] = field(default_factory=dict)
    #: Receives by their attempt id: what was given out, to be given out again if the answer was lost.
    attempts: dict[str, list[_Stored]] = field(default_factory=dict)


class MemorySqs:
    """Queues in memory. `clock` returns seconds; messages become visible by it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._queues: dict[str, _Queue] = {}
        self._numbers = itertools.count(1)
        self._changed = threading.Condition()
        self.requests = 0

    def create_queue(
        self,
        name: str,
        *,
        visibility: int = 30,
        delay: int = 0,
        dead_letters: str | None = None,
        max_receive_count: int = 5,
        content_based: bool = False,
        high_throughput: bool = False,
    ) -> str:
        """Create a queue (FIFO if its name ends in `.fifo`); return its URL. `dead_letters` is another queue's URL."""
        url = f"memory://sqs/{name}"
        fifo = name.endswith(".fifo")
        with self._changed:
            self._queues[url] = _Queue(
                url, fifo, visibility, delay, dead_letters, max_receive_count, content_based, high_throughput
            )
        return url

    def delete_queue(self, queue_url: str) -> None:
        """Delete a queue with its messages."""
        with self._changed:
            self._queues.pop(queue_url, None)
            self._changed.notify_all()

    def send(self, queue_url: str, messages: Sequence[OutgoingMessage]) -> SendResult:
        """Send messages. A FIFO queue refuses those without a group, or without anything to deduplicate them by."""
        ids: dict[int, str] = {}
        failures = []
        with self._changed:
            queue = self._queue(queue_url)
            now = self._clock()
            for index, message in enumerate(messages):
                if queue.fifo and message.group is None:
                    failures.append(
                        BatchFailure(index, "MissingParameter", "The request must contain MessageGroupId.", True)
                    )
                elif queue.fifo and message.deduplication_id is None and not queue.content_based:
                    failures.append(BatchFailure(index, "InvalidParameterValue", _NO_DEDUPLICATION, True))
                else:
                    ids[index] = self._store(queue, message, now)
            self._changed.notify_all()
        return SendResult(ids, tuple(failures))

    def receive(
        self,
        queue_url: str,
        *,
        limit: int,
        wait: int,
        visibility: int | None = None,
        attempt_id: str | None = None,
        system: Sequence[str] = NEEDED_ATTRIBUTES,
    ) -> list[ReceivedMessage]:
        """Give out visible messages, the oldest first, waiting by the clock for the first of them."""
        with self._changed:
            deadline = self._clock() + wait
            self._count()
            while True:
                queue = self._find(queue_url)
                now = self._clock()
                hidden = queue.visibility if visibility is None else visibility
                found = self._again(queue, attempt_id, now) or self._take(queue, limit, now, hidden)
                if found or now >= deadline:
                    if attempt_id is not None:
                        queue.attempts[attempt_id] = found
                    return [_received(stored, system) for stored in found]
                self._changed.wait(_LOOK_SECONDS)

    def delete(self, queue_url: str, receipt_handles: Sequence[str]) -> tuple[BatchFailure, ...]:
        """Delete messages. An old handle still works if its message is visible again and was not received since."""
        failures = []
        with self._changed:
            queue = self._queue(queue_url)
            for index, handle in enumerate(receipt_handles):
                stored = self._by_handle(queue, handle)
                if stored is not None:
                    queue.messages.remove(stored)
                elif not handle.startswith(_HANDLE):
                    failures.append(
                        BatchFailure(index, "ReceiptHandleIsInvalid", "The receipt handle is invalid.", True)
                    )
            self._changed.notify_all()
        return tuple(failures)

    def change_visibility(self, queue_url: str, changes: Sequence[tuple[str, int]]) -> tuple[BatchFailure, ...]:
        """Hide messages in flight for the given seconds from now; the 12 hours count from the receive."""
        failures = []
        with self._changed:
            queue = self._queue(queue_url)
            now = self._clock()
            for index, (handle, seconds) in enumerate(changes):
                stored = self._by_handle(queue, handle)
                if stored is None or not stored.in_flight(now):
                    failures.append(_not_in_flight(index, handle))
                elif now + seconds - stored.received_at > MAX_VISIBILITY_SECONDS:
                    failures.append(_beyond_limit(index, seconds))
                else:
                    stored.visible_at = now + seconds
            self._changed.notify_all()
        return tuple(failures)

    def depth(self, queue_url: str) -> Depth:
        """Exact counts."""
        with self._changed:
            queue = self._queue(queue_url)
            now = self._clock()
            hidden = [stored for stored in queue.messages if stored.visible_at > now]
            in_flight = sum(1 for stored in hidden if stored.handle is not None)
            return Depth(len(queue.messages) - len(hidden), in_flight, len(hidden) - in_flight)

    # --- with the lock held ---

    def _count(self) -> None:
        self.requests += 1

    def _find(self, queue_url: str) -> _Queue:
        queue = self._queues.get(queue_url)
        if queue is None:
            raise QueueMissing(f"SQS has no {queue_url}")
        return queue

    def _queue(self, queue_url: str) -> _Queue:
        self._count()
        return self._find(queue_url)

    def _store(self, queue: _Queue, message: OutgoingMessage, now: float) -> str:
        key = _deduplicated_by(queue, message) if queue.fifo else None
        if key is not None:
            known = queue.sent.get(key)
            if known is not None and known[1] > now:
                return known[0]
        number = next(self._numbers)
        stored = _Stored(
            f"message-{number}",
            message.body,
            dict(message.attributes),
            message.group,
            now,
            now + (queue.delay if message.delay is None else message.delay),
            number,
        )
        queue.messages.append(stored)
        if key is not None:
            queue.sent[key] = (stored.message_id, now + DEDUPLICATION_SECONDS)
        return stored.message_id

    def _again(self, queue: _Queue, attempt_id: str | None, now: float) -> list[_Stored]:
        """What this attempt was given before, if all of it is still in flight."""
        given = queue.attempts.get(attempt_id, []) if attempt_id is not None else []
        return given if given and all(one in queue.messages and one.in_flight(now) for one in given) else []

    def _take(self, queue: _Queue, limit: int, now: float, hidden: int) -> list[_Stored]:
        self._move_dead_letters(queue, now)
        taken: list[_Stored] = []
        blocked = {stored.group for stored in queue.messages if queue.fifo and stored.visible_at > now}
        for stored in queue.messages:
            if len(taken) == limit:
                break
            if stored.visible_at > now or (queue.fifo and stored.group in blocked):
                continue
            stored.receives += 1
            stored.received_at = now
            stored.handle = f"{_HANDLE}{stored.number}-{stored.receives}"
            stored.visible_at = now + hidden
            taken.append(stored)
        return taken

    def _move_dead_letters(self, queue: _Queue, now: float) -> None:
        """Move messages that have used up their receives, as SQS does: when they would be received again."""
        target = self._queues.get(queue.dead_letters or "")
        if target is None:
            return
        for stored in [m for m in queue.messages if m.visible_at <= now and m.receives >= queue.max_receive_count]:
            queue.messages.remove(stored)
            stored.handle, stored.visible_at = None, now
            target.messages.append(stored)

    @staticmethod
    def _by_handle(queue: _Queue, handle: str) -> _Stored | None:
        return next((stored for stored in queue.messages if stored.handle == handle), None)


_HANDLE = "handle-"
_NO_DEDUPLICATION = (
    "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly"
)


def _deduplicated_by(queue: _Queue, message: OutgoingMessage) -> tuple[str | None, str]:
    """What is the same for a message that comes again: its id or its body, in its group if duplicates count there."""
    group = message.group if queue.high_throughput else None
    return group, message.deduplication_id or hashlib.sha256(message.body.encode()).hexdigest()


def _received(stored: _Stored, system: Sequence[str]) -> ReceivedMessage:
    assert stored.handle is not None
    known = {
        "ApproximateReceiveCount": str(stored.receives),
        "SentTimestamp": str(round(stored.sent_at * 1000)),
        **({"MessageGroupId": stored.group} if stored.group is not None else {}),
    }
    wanted = known if "All" in system else {name: value for name, value in known.items() if name in system}
    return ReceivedMessage(stored.message_id, stored.handle, stored.body, dict(stored.attributes), wanted)


def _not_in_flight(index: int, handle: str) -> BatchFailure:
    if not handle.startswith(_HANDLE):
        return BatchFailure(index, "ReceiptHandleIsInvalid", "The receipt handle is invalid.", True)
    return BatchFailure(
        index,
        "InvalidParameterValue",
        f"Value {handle} for parameter ReceiptHandle is invalid. Reason: Message does not exist or is not available "
        "for visibility timeout change.",
        True,
    )


def _beyond_limit(index: int, seconds: int) -> BatchFailure:
    return BatchFailure(
        index,
        "InvalidParameterValue",
        f"Value {seconds} for parameter VisibilityTimeout is invalid. Reason: Total VisibilityTimeout for the message "
        f"is beyond the limit [{MAX_VISIBILITY_SECONDS} seconds]",
        True,
    )
