"""The receiver: keeps the buffer filled, and notices when the queue is empty."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from jobs.consumer.buffer import Buffer, Held
from queues.sqs import ReceivedMessage, SqsGateway
from queuesite.errors import QueueMissing, ServerError, SqsRejected
from queuesite.logs import carrying
from queuesite.outage import Outage

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


class Receiver:
    """Receives by long polling in a thread of its own, until stopped."""

    def __init__(self, gateway: SqsGateway, queue_url: str, buffer: Buffer, idle: int, hooks: ReceiverHooks) -> None:
        self._gateway = gateway
        self._queue_url = queue_url
        self._buffer = buffer
        self._idle = idle
        self._hooks = hooks
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=carrying(self._run), name="receiver", daemon=True)
        self._outage = Outage("SQS (receive)")
        self._empty_since: float | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Begin no further request. One that waits for messages goes on: breaking it off could lose sight of some."""
        self._stopping.set()
        self._buffer.wake()

    def join(self) -> None:
        """Wait until the last request has ended: the idle time, or what a server that is away takes to show it."""
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            limit = self._buffer.room(self._hooks.prefetch())
            if limit == 0:
                self._buffer.wait_for_change(1.0)
                continue
            try:
                self._receive(limit)
            except QueueMissing:
                self._hooks.missing()
                return
            except SqsRejected as error:
                self._stopping.wait(self._outage.failed(error))
            except ServerError as error:
                self._empty_since = None
                self._stopping.wait(self._outage.failed(error))

    def _receive(self, limit: int) -> None:
        timeout = self._hooks.visibility_timeout()
        asked_at = time.monotonic()
        received = self._gateway.receive(self._queue_url, limit=limit, wait=self._idle, visibility=timeout)
        now = time.monotonic()
        self._outage.over()
        if received:
            self._empty_since = None
            held = [self._held(message, now, timeout) for message in received]
            (self._hooks.give_back if self._stopping.is_set() else self._hooks.accept)(held)
            return
        if self._empty_since is None:
            self._empty_since = asked_at
        waiting, in_flight, _ = self._buffer.counts
        if not waiting and not in_flight and now - self._empty_since >= self._idle - _EARLY:
            self._hooks.drained(asked_at)
            self._stopping.set()

    @staticmethod
    def _held(message: ReceivedMessage, now: float, timeout: int) -> Held:
        return Held(message, received_at=now, hidden_until=now + timeout)
