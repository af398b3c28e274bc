"""The listener process, as its worker sees it: started when there is something to listen to, replaced when it dies."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any

from jobs.listener.orders import Alive, Brought, Leave, Missing
from jobs.listener.process import main as listener_main
from jobs.worker.pool import Pool
from jobs.worker.silence import OwnPauses
from queuesite.foundation.config import Config
from queuesite.foundation.logs import get_logger
from queuesite.foundation.outage import Outage
from queuesite.foundation.pipes import Channel

log = get_logger(__name__)

#: How long a listener may be away, in seconds, before the worker announces that it listens to nothing.
DOWN_SECONDS = 10.0


class ListenerProcess:
    """A worker's listener. Sending to it never waits; times are the monotonic clock's."""

    def __init__(self, config: Config, pool: Pool, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._pool = pool
        self._monotonic = monotonic
        self._process: BaseProcess | None = None
        self._channel: Channel | None = None
        self._outage = Outage("the listener process", monotonic)
        self._start_at = 0.0
        self._heard_at = monotonic()
        self._pauses = OwnPauses(self._heard_at)
        self._killed_for: str | None = None
        self._down_since: float | None = None
        self.alive = Alive(0, 0, 0)
        #: Requests since they were last taken, by queue's URL and purpose.
        self.requests: Counter[tuple[str, str]] = Counter()
        #: All requests since the worker's start.
        self.made = 0

    @property
    def running(self) -> bool:
        """Whether there is a process."""
        return self._process is not None

    @property
    def pid(self) -> int | None:
        """Its process id, if it runs."""
        return self._process.pid if self._process is not None else None

    @property
    def works(self) -> bool:
        """Whether nothing says that it does not: it has not died, or failed to start, for as long as `DOWN_SECONDS`."""
        return self._down_since is None or self._monotonic() - self._down_since < DOWN_SECONDS

    def sources(self) -> tuple[list[Any], list[Channel]]:
        """What to wait on for its news and its end, and its pipe if that is to take more."""
        if self._process is None or self._channel is None:
            return [], []
        channel = [] if self._channel.ended else [self._channel]
        return [*channel, self._process.sentinel], [one for one in channel if one.waiting]

    def start(self) -> bool:
        """Start a process if there is none; whether one was started."""
        now = self._monotonic()
        if self._process is not None or now < self._start_at or self._pool.trouble is not None:
            return False
        try:
            self._process, self._channel = self._pool.fork(
                "listener", listener_main, self._pool.worker_id, self._config.heartbeat_seconds / 2
            )
        except (OSError, EOFError) as error:
            self._start_at = now + self._outage.failed(error)
            self._down_since = self._down_since or now
            return False
        self._heard_at = now
        self._killed_for = None
        self.alive = Alive(0, 0, 0)
        log.info("listener_started", pid=self._process.pid)
        return True

    def send(self, order: object) -> None:
        """Send an order, behind those that wait."""
        if self._channel is not None:
            self._channel.send(order, replace=False)

    def read(self) -> tuple[list[Brought | Missing], bool]:
        """What it sent since the last call, and whether it has died meanwhile."""
        if self._process is None or self._channel is None:
            return [], False
        dead = not self._process.is_alive()  # before its last words are read
        self._channel.flush()
        found: list[Brought | Missing] = []
        while messages := self._channel.receive():
            self._heard_at = self._monotonic()
            for message in messages:
                if isinstance(message, Alive):
                    self.alive = message
                    self.requests.update(message.requests)
                    self.made += sum(message.requests.values())
                    self._outage.over()
                    self._down_since = None
                else:
                    found.append(message)
        if dead or self._channel.ended:
            self._bury()
            return found, True
        return found, False

    def _bury(self) -> None:
        assert self._process is not None
        assert self._channel is not None
        self._process.join(timeout=1)
        if self._process.is_alive():
            self._process.kill()
            self._process.join(timeout=1)
        cause = self._killed_for or f"exit code {self._process.exitcode}"
        now = self._monotonic()
        self._start_at = now + self._outage.failed(ChildProcessError(cause))
        self._down_since = self._down_since or now
        log.error("listener_died", pid=self._process.pid, cause=cause, meaning="another one is started")
        self._channel.close()
        self._process = self._channel = None
        self.alive = Alive(0, 0, 0)

    def kill_silent(self) -> None:
        """Kill it if it has said nothing for WORKER_STALLED_AFTER: it is frozen, and its queues are not listened to.

        Silence counts only while this worker itself was running.
        """
        now = self._monotonic()
        patience = self._config.worker_stalled_after
        self._heard_at += self._pauses.since(now, patience)
        if self._process is not None and self._killed_for is None and now - self._heard_at > patience:
            self._killed_for = f"it gave no sign of life for {patience:g} s"
            log.error("listener_silent", pid=self._process.pid, seconds=patience)
            self._process.kill()

    def close(self, timeout: float) -> None:
        """End it. Polls that are open are broken off."""
        if self._process is None or self._channel is None:
            return
        self._channel.send(Leave())
        self._process.join(timeout)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._channel.close()
        self._process = self._channel = None
