"""The receiver: keeps the buffer filled, and notices when the queue is empty."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from jobs.consumer.buffer import LONGEST_REQUEST_SECONDS, Buffer, Held
from queues.sqs import MAX_BATCH, ReceivedMessage, SqsGateway
from queuesite.errors import QueueMissing, ServerError, SqsRejected
from queuesite.outage import Outage
from queuesite.threads import OnDeath, end_process, supervised

#: A server may answer a long poll some milliseconds early.
_EARLY = 0.05


@dataclass(frozen=True)
class ReceiverHooks:
    """What the receiver asks of the run, and tells it."""

    #: The queue's visibility timeout, in seconds.
    visibility_timeout: Callable[[], int]
    #: How many messages to hold beyond those in the slots.
    prefetch: Callable[[], int]
    #: Take these messages: they are held now.
    accept: Callable[[list[Held]], None]
    #: Give these back: they came after the run had been told to end.
    give_back: Callable[[list[Held]], None]
    #: The queue has been empty, and nothing under way, for the idle time; its argument: since when (monotonic).
    drained: Callable[[float], None]
    #: The queue is not in SQS any more.
    missing: Callable[[], None]
    #: A thread of the receiver has died of an error that nobody foresaw.
    on_death: OnDeath = end_process


class Receiver:
    """Receives by long polling in a thread of its own, until stopped.

    While full batches come in and the buffer has room for another, a second thread asks for that: the answer to one
    request is on its way while the other's is being handled. On a FIFO queue there is no second, for the order's sake.
    """

    def __init__(
        self,
        gateway: SqsGateway,
        queue_url: str,
        buffer: Buffer,
        idle: int,
        hooks: ReceiverHooks,
        *,
        fifo: bool = False,
    ) -> None:
        self._gateway = gateway
        self._queue_url = queue_url
        self._buffer = buffer
        self._idle = idle
        self._hooks = hooks
        self._stopping = threading.Event()
        self._flowing = threading.Event()
        self._threads = [supervised("receiver", self._run, hooks.on_death)]
        if not fifo:
            self._threads.append(supervised("receiver-2", self._assist, hooks.on_death))
        self._outage = Outage("SQS (receive)")
        self._empty_since: float | None = None

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Begin no further request. One that waits for messages goes on: breaking it off could lose sight of some."""
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
                self._turn()
        finally:
            self._stopping.set()
            self._flowing.set()

    def _turn(self) -> None:
        limit = self._buffer.reserve(self._hooks.prefetch(), 1.0)
        if limit == 0:
            return
        if self._stopping.is_set():
            self._buffer.release(limit)
            return
        asked_at = time.monotonic()
        try:
            try:
                received = self._receive(limit, self._idle)
            finally:
                self._buffer.release(limit)
        except QueueMissing:
            self._hooks.missing()
            self._stopping.set()
        except SqsRejected as error:
            self._stopping.wait(self._outage.failed(error))
        except ServerError as error:
            self._empty_since = None
            self._stopping.wait(self._outage.failed(error))
        else:
            self._outage.over()
            self._look_whether_empty(received, asked_at)

    def _assist(self) -> None:
        """Ask for a second batch while full ones come in. What fails here the first thread meets too, and reports."""
        while not self._stopping.is_set():
            if not self._flowing.wait(1.0):
                continue
            limit = self._buffer.reserve(self._hooks.prefetch(), 1.0, full=True)
            if limit == 0:
                continue
            try:
                if not self._stopping.is_set():
                    self._receive(limit, 0)
            except ServerError:
                self._flowing.clear()
            finally:
                self._buffer.release(limit)

    def _receive(self, limit: int, wait: int) -> int:
        """One request; how many messages it brought."""
        timeout = self._hooks.visibility_timeout()
        received = self._gateway.receive(self._queue_url, limit=limit, wait=wait, visibility=timeout)
        now = time.monotonic()
        if len(received) == MAX_BATCH:
            self._flowing.set()
        elif not self._stopping.is_set():
            self._flowing.clear()
        if received:
            self._empty_since = None
            held = [self._held(message, now, timeout) for message in received]
            (self._hooks.give_back if self._stopping.is_set() else self._hooks.accept)(held)
        return len(received)

    def _look_whether_empty(self, received: int, asked_at: float) -> None:
        if received:
            return
        if self._empty_since is None:
            self._empty_since = asked_at
        if self._buffer.quiet and time.monotonic() - self._empty_since >= self._idle - _EARLY:
            self._hooks.drained(asked_at)
            self._stopping.set()

    @staticmethod
    def _held(message: ReceivedMessage, now: float, timeout: int) -> Held:
        return Held(message, received_at=now, hidden_until=now + timeout)
