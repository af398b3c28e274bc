"""The receiver: keeps the buffer filled, and notices when the queue is empty."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from jobs.consumer.buffer import Buffer
from jobs.consumer.held import Held
from jobs.consumer.refused import Refusals
from jobs.consumer.run_end import RunEnd
from jobs.consumer.waits import LONGEST_REQUEST_SECONDS
from queues.sqs import MAX_BATCH, NEEDED_ATTRIBUTES, DataPlane
from queuesite.foundation.errors import QueueMissing, ServerError, SqsUnavailable, TooManyInFlight
from queuesite.foundation.outage import Outage
from queuesite.foundation.threads import supervised

#: A server may answer a long poll some milliseconds early.
_EARLY = 0.05
#: For how long a receive from a FIFO queue whose answer was lost is repeated as the same attempt, in seconds. SQS knows
#: an attempt for five minutes; a request may take one.
ATTEMPT_SECONDS = 240.0


@dataclass(frozen=True)
class Attempt:
    """A receive from a FIFO queue. SQS answers a repetition of it as it answered the first time.

    Without that the groups of an answer that was lost would be blocked until their visibility runs out.
    """

    id: str
    limit: int
    window: int
    begun_at: float


class Demand(Protocol):
    """How much to receive, and for how long; see `CurrentSettings`."""

    def window(self) -> int:
        """For how many seconds to hide what is received."""

    def prefetch(self) -> int:
        """How many messages to hold beyond those in the slots."""


class Intake(Protocol):
    """Where received messages go; see `Holdings`."""

    @property
    def buffer(self) -> Buffer:
        """What they wait in."""

    def accept(self, messages: list[Held]) -> None:
        """Take messages. They may come after the receiver was stopped: its last request had them."""


class Receiver:
    """Receives by long polling in a thread of its own, until stopped.

    While full batches come in and the buffer has room for another, a second thread asks for that: one answer is on its
    way while the other's messages are being handled. A FIFO queue has no second thread, which would break the order.
    """

    def __init__(
        self,
        gateway: DataPlane,
        queue_url: str,
        demand: Demand,
        intake: Intake,
        end: RunEnd,
        idle: int,
        refusals: Refusals | None = None,
        *,
        fifo: bool = False,
        system: Sequence[str] = NEEDED_ATTRIBUTES,
    ) -> None:
        """`idle` is how many seconds a queue must have been empty to be drained; `system` see `DataPlane.receive`."""
        self._gateway = gateway
        self._queue_url = queue_url
        self._demand = demand
        self._intake = intake
        self._buffer = intake.buffer
        self._end = end
        self._idle = idle
        self._fifo = fifo
        self._system = system
        self._attempt: Attempt | None = None
        self._stopping = threading.Event()
        self._flowing = threading.Event()
        self._threads = [supervised("receiver", self._run, end.thread_died)]
        if not fifo:
            self._threads.append(supervised("receiver-2", self._assist, end.thread_died))
        self._outage = Outage("SQS (receive)")
        self._refusals = refusals or Refusals()
        self._empty_since: float | None = None

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Begin no further request. One that waits for messages goes on: breaking it off could lose some."""
        self._stopping.set()
        self._flowing.set()
        self._buffer.wake()

    def join(self) -> None:
        """Wait until the last request has ended: the idle time, or what a server that is away takes to show it."""
        for thread in self._threads:
            thread.join(LONGEST_REQUEST_SECONDS)

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self.turn()
        finally:
            self._stopping.set()
            self._flowing.set()

    def turn(self) -> None:
        """Make one request, when it is worth that, or wait for a second."""
        limit = self._buffer.reserve(self._demand.prefetch(), 1.0)
        if limit == 0:
            return
        if self._end.asked:
            self._stopping.set()  # sooner than `stop` comes: a request now could wait for the whole idle time
        if self._stopping.is_set():
            self._buffer.unreserve(limit)
            return
        asked_at = time.monotonic()
        try:
            try:
                received = self._receive(limit, self._idle)
            finally:
                self._buffer.unreserve(limit)
        except QueueMissing:
            self._end.queue_missing()
            self._stopping.set()
        except ServerError as error:
            self._empty_since = None
            # Too many in flight is a refusal, unless some of them are ours to settle.
            quiet = self._buffer.quiet
            self._refusals.note(error, passes=not quiet if isinstance(error, TooManyInFlight) else None)
            self._stopping.wait(self._outage.failed(error))
        else:
            self._outage.over()
            self._refusals.over()
            self._look_whether_empty(received, asked_at)

    def _assist(self) -> None:
        """Ask for a second batch while full ones come in. What fails here the first thread meets too, and reports."""
        while not self._stopping.is_set():
            if not self._flowing.wait(1.0) or self._stopping.is_set():
                continue
            limit = self._buffer.reserve(self._demand.prefetch(), 1.0, full=True)
            if limit == 0:
                continue
            try:
                if not self._stopping.is_set():
                    self._receive(limit, 0)
            except ServerError:
                self._flowing.clear()
            finally:
                self._buffer.unreserve(limit)

    def _receive(self, limit: int, wait: int) -> int:
        """One request; how many messages it brought."""
        asked_at = time.monotonic()
        window = self._demand.window()
        attempt_id = None
        if self._fifo:
            attempt = self._attempt
            if attempt is None or asked_at - attempt.begun_at > ATTEMPT_SECONDS:
                attempt = self._attempt = Attempt(uuid.uuid4().hex, limit, window, asked_at)
            attempt_id, limit, window, asked_at = attempt.id, attempt.limit, attempt.window, attempt.begun_at
        try:
            received = self._gateway.receive(
                self._queue_url,
                limit=limit,
                wait=wait,
                visibility=window,
                attempt_id=attempt_id,
                system=self._system,
            )
        except SqsUnavailable:
            raise  # the answer may have been lost: the next request repeats the attempt
        except ServerError:
            self._attempt = None
            raise
        self._attempt = None
        now = time.monotonic()
        if len(received) == MAX_BATCH:
            self._flowing.set()
        elif not self._stopping.is_set():
            self._flowing.clear()
        if received:
            self._empty_since = None
            self._intake.accept([Held(message, asked_at, now + window, window) for message in received])
        return len(received)

    def _look_whether_empty(self, received: int, asked_at: float) -> None:
        if received:
            return
        if self._empty_since is None:
            self._empty_since = asked_at
        idle_for = time.monotonic() - self._empty_since
        if idle_for >= self._idle - _EARLY and self._end.drained(asked_at, lambda: self._buffer.quiet):
            self._stopping.set()
