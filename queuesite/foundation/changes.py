"""Change streams: a thread that reports changed documents to a loop, and says whether the loop can rely on it.

If the server has no change streams (a standalone MongoDB), or the stream is broken, `live` is false and the loop polls
instead. A stream that reopens may have missed changes, so `on_open` should read everything again.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from pymongo.errors import OperationFailure, PyMongoError

from queuesite.foundation.databases import Document, database
from queuesite.foundation.logs import get_logger
from queuesite.foundation.outage import Outage
from queuesite.foundation.threads import joined, supervised

log = get_logger(__name__)

#: How long one request waits for a change, in milliseconds: an idle stream costs twelve requests a minute.
MAX_AWAIT_MS = 5_000

# Codes of "The $changeStream stage is only supported on replica sets" and of an unknown command.
_UNSUPPORTED = frozenset({40573, 40324, 59})


class ChangeWatcher:
    """Watches the database for changes that `pipeline` lets through, and calls `on_change` in a thread of its own."""

    def __init__(
        self,
        pipeline: Sequence[Document],
        on_change: Callable[[dict[str, Any]], None],
        on_open: Callable[[], None],
    ) -> None:
        self._pipeline = list(pipeline)
        self._on_change = on_change
        self._on_open = on_open
        self._stopping = threading.Event()
        self._thread = supervised("changes", self._run)
        self.live = False

    def start(self) -> None:
        """Start watching. The thread is a daemon, so a request that waits for changes does not hold up the exit."""
        self._thread.start()

    def stop(self) -> None:
        """Make the thread end. It reports nothing after the change that it may be reporting now."""
        self._stopping.set()

    def join(self, timeout: float) -> bool:
        """Wait for the thread, and return whether it has ended or was never started."""
        return joined(self._thread, timeout)

    def _run(self) -> None:
        outage = Outage("change stream")
        while not self._stopping.is_set():
            try:
                self._watch(outage)
            except OperationFailure as error:
                self.live = False
                if error.code in _UNSUPPORTED:
                    log.warning("change_streams_unsupported", error=str(error).splitlines()[0], fallback="polling")
                    return
                self._stopping.wait(outage.failed(error))
            except PyMongoError as error:
                self.live = False
                self._stopping.wait(outage.failed(error))

    def _watch(self, outage: Outage) -> None:
        with database().watch(self._pipeline, max_await_time_ms=MAX_AWAIT_MS) as stream:
            self.live = True
            outage.over()
            self._on_open()
            while not self._stopping.is_set() and stream.alive:
                change = stream.try_next()
                if change is not None and not self._stopping.is_set():
                    self._on_change(dict(change))
        self.live = False


class WakeupPipe:
    """Wakes one loop from any thread or signal handler. The loop waits for it as for any readable descriptor."""

    def __init__(self) -> None:
        self._out, self._in = socket.socketpair()
        self._out.setblocking(False)
        self._in.setblocking(False)

    def fileno(self) -> int:
        """The descriptor, which is readable from `wake` until `clear`."""
        return self._out.fileno()

    @property
    def signal_fd(self) -> int:
        """The descriptor for `signal.set_wakeup_fd`, so that a signal wakes the loop too."""
        return self._in.fileno()

    def wake(self) -> None:
        """End the loop's wait, or its next one. Calls that come before the loop wakes count as one."""
        with suppress(BlockingIOError):  # it is full, so the loop wakes anyway
            self._in.send(b"!")

    def clear(self) -> None:
        """Make the loop's next wait last until the next `wake`."""
        with suppress(BlockingIOError):
            while self._out.recv(4096):
                pass

    def close(self) -> None:
        """Close both descriptors."""
        self._out.close()
        self._in.close()
