"""The event loop of async handlers: one for the life of the process.

Clients of libraries belong to the loop they were made in, and handlers keep them in globals of their modules. A process
that gave each run a loop of its own would break them at its second run.
"""

from __future__ import annotations

import asyncio
import functools
import os
import threading
import weakref
from contextlib import suppress

from jobs.consumer.forks import NO_LOOP, GuardedSelector, end_if_forked
from queuesite.foundation.logs import get_logger
from queuesite.foundation.threads import OnDeath, end_process, supervised

log = get_logger(__name__)

_loops: weakref.WeakSet[HandlerLoop] = weakref.WeakSet()


class HandlerLoop:
    """An event loop in a thread of its own, which starts at its first use and ends with the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()
        #: What happens if the thread dies; set by the run that uses the loop.
        self.on_death: OnDeath = end_process
        _loops.add(self)

    def running(self) -> asyncio.AbstractEventLoop:
        """The loop, started if it was not."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.SelectorEventLoop(GuardedSelector())
                self._thread = supervised("async-handlers", self._serve, lambda error: self.on_death(error))
                self._thread.start()
            return self._loop

    @property
    def alive(self) -> bool:
        """Whether the loop's thread is there."""
        return self._thread is not None and self._thread.is_alive()

    def stop(self) -> None:
        """End the thread, for tests: a process ends with its loop running."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None and self._thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join(5.0)

    def _serve(self) -> None:
        loop = self._loop
        assert loop is not None
        asyncio.set_event_loop(loop)
        while True:
            try:
                loop.run_forever()
                break
            except (SystemExit, KeyboardInterrupt):
                # Raised by a task or a callback that a handler left behind: asyncio lets these two through.
                log.exception("handlers_task_failed", meaning="what raised it has ended, and the loop goes on")
            except BaseException:
                end_if_forked(self._pid, NO_LOOP)  # see `_forget`
                raise
        loop.close()

    def _forget(self) -> None:
        """In a forked child: what was about to run in this loop is the parent's to run."""
        ready = getattr(self._loop, "_ready", None)  # asyncio has no public way to say so
        if ready is not None:
            ready.clear()


@functools.cache
def get_handler_loop() -> HandlerLoop:
    """The process's own."""
    return HandlerLoop()


def _forget_all() -> None:
    for loop in list(_loops):
        with suppress(Exception):
            loop._forget()


os.register_at_fork(after_in_child=_forget_all)
