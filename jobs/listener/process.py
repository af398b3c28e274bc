"""The listener process: polls in one thread, and says what came through a pipe to its worker."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil

from jobs.consumer.held import Batch
from jobs.consumer.process import let_fork_server_end, take_no_notice
from jobs.listener.orders import Alive, Brought, GiveBack, Hold, Leave, Missing
from jobs.listener.polls import Polls
from queues.handlers import middleware
from queues.sqs.express.endpoint import Prepared
from queues.sqs.express.multiplexer import Multiplexer
from queues.sqs.preparation import credentials_of, prepare
from queuesite.foundation.config import get_config
from queuesite.foundation.logs import bind, get_logger
from queuesite.foundation.pipes import Channel, Endpoint
from queuesite.foundation.processes import die_with_parent

log = get_logger(__name__)

#: The name of the process, as `top` shows it.
NAME = "qs-listener"


def main(connection: Endpoint, worker_id: str, alive_seconds: float, prepared: Prepared | None) -> None:
    """What a listener process does; the target of the pool's fork.

    `prepared` is what the worker has found out of SQS; None: this process is to find it out.
    """
    signal.signal(signal.SIGINT, take_no_notice)
    signal.signal(signal.SIGTERM, take_no_notice)
    die_with_parent(signal.SIGKILL)
    let_fork_server_end()
    with suppress(OSError):  # there is no such file but on Linux
        Path("/proc/self/comm").write_text(NAME)
    bind(worker=worker_id, listener_pid=os.getpid())
    config = get_config()
    prepared = prepared or prepare(config)
    requests = Multiplexer(prepared, credentials_of(config, prepared))
    Listener(connection.unblocked(), requests, alive_seconds).serve()


class Listener:
    """The process's loop."""

    def __init__(self, channel: Channel, requests: Multiplexer, alive_seconds: float) -> None:
        self._channel = channel
        self._requests = requests
        self._alive_seconds = alive_seconds
        self._next_report = 0.0
        self._leaving = False
        self._memory = psutil.Process()
        self._polls = Polls(
            requests.start,
            self._bring,
            self._miss,
            time.monotonic,
            lambda: requests.heard_from,
            middleware.system_attributes(),
        )
        self._serial = 0
        #: The last report said that no poll is open.
        self._idle = True

    def serve(self) -> None:
        """Listen until asked to leave, or until the worker is gone. What was just received becomes visible again."""
        while not self._leaving:
            pause = self._polls.begin_due()
            now = time.monotonic()
            if now >= self._next_report or (not self._polls.open and not self._idle):
                self._report(now)
            self._requests.watch(self._channel, self._obey, writable=bool(self._channel.waiting))
            self._requests.step(max(0.0, min(pause, self._next_report - time.monotonic())))
        self._requests.close()

    def _obey(self) -> None:
        self._channel.flush()
        for order in self._channel.receive():
            if isinstance(order, Hold):
                self._serial = order.serial
                self._polls.hold(order.add, order.drop)
            elif isinstance(order, GiveBack):
                self._polls.give_back(order.batch)
            elif isinstance(order, Leave):
                self._leaving = True
        self._leaving = self._leaving or self._channel.ended

    def _bring(self, batch: Batch) -> None:
        self._channel.send(Brought(batch), replace=False)

    def _miss(self, queue_url: str) -> None:
        self._channel.send(Missing(queue_url), replace=False)

    def _report(self, now: float) -> None:
        self._next_report = now + self._alive_seconds
        self._idle = not self._polls.open
        requests = dict(self._polls.requests)
        self._polls.requests.clear()
        memory = 0
        with suppress(psutil.Error):
            memory = self._memory.memory_info().rss
        self._channel.send(Alive(self._serial, self._polls.open, memory, requests), replace=False)
