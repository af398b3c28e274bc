"""Threads that a process cannot do without, none of which may end unnoticed.

If a thread dies from an unexpected error, the process looks alive but does only part of its work. So the code that
starts a thread says what happens then: a consumer's run ends as an error; a master or worker ends, and its supervisor
(systemd, a container runtime, `up`) starts it again.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

from queuesite.foundation.logs import get_logger, with_log_context

log = get_logger(__name__)

OnDeath = Callable[[BaseException], object]

#: The exit code of a process that lost one of its threads: EX_SOFTWARE of sysexits.h, "internal software error".
DEATH_EXIT_CODE = 70


def end_process(error: BaseException) -> None:
    """End this process at once, with `DEATH_EXIT_CODE`: its other threads may wait for the one that died."""
    log.critical("process_ends", pid=os.getpid(), exit_code=DEATH_EXIT_CODE, reason="one of its threads has died")
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # closed, or its reader has gone
            stream.flush()
    os._exit(DEATH_EXIT_CODE)


def joined(thread: threading.Thread, timeout: float) -> bool:
    """Wait for a thread for `timeout` seconds, and return whether it has ended or was never started."""
    if thread.ident is not None:
        thread.join(timeout)
    return not thread.is_alive()


def supervised(name: str, function: Callable[[], object], on_death: OnDeath = end_process) -> threading.Thread:
    """A daemon thread for `function`, not started yet, whose log events have the fields that are bound now.

    If `function` raises anything, the thread logs it and calls `on_death` with it. That includes SystemExit, on which
    Python would end the thread silently.
    """

    def run() -> None:
        try:
            function()
        except BaseException as error:
            log.critical("thread_died", thread=name, exc_info=True)
            on_death(error)

    return threading.Thread(target=with_log_context(run), name=name, daemon=True)
