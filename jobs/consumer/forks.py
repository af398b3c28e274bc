"""Forks that handlers make: the child must never go on as a second consumer.

`os.fork` copies the thread that calls it, which is one of ours. If the child returned from the handler, it would settle
the message, take the next one, and send its parent's counts. So a slot looks who it is whenever a handler comes back,
and the event loop does before it waits. Children by multiprocessing run their target and end by themselves.
"""

from __future__ import annotations

import os
import selectors
import sys
import traceback
from contextlib import suppress
from typing import Any


def end_if_forked(pid: int, error: BaseException | None = None) -> None:
    """End this process as a program would that `error` (None: nothing) ended, if it is another one than `pid`."""
    if os.getpid() != pid:
        end_child(error)


def end_child(error: BaseException | None) -> None:
    """End this process, with Python's exit code for `error`. No cleaning up: what there is belongs to the parent."""
    code = 0
    with suppress(BaseException):
        if isinstance(error, SystemExit):
            if isinstance(error.code, int):
                code = error.code & 0xFF
            elif error.code is not None:
                code = 1
                sys.stderr.write(f"{error.code}\n")  # as Python itself does
        elif error is not None:
            code = 1
            traceback.print_exception(error)
    for stream in (sys.stdout, sys.stderr):
        with suppress(BaseException):
            stream.flush()
    os._exit(code)


#: What ends a child that waits for something in its parent's event loop.
NO_LOOP = RuntimeError("a child that an async handler forked has no event loop: it must end without awaiting anything")


class GuardedSelector(selectors.DefaultSelector):
    """A selector for an event loop: in a forked child it ends the process rather than wait.

    The child shares the kernel's object (epoll, kqueue) with its parent, whose wake-ups it would take away.
    """

    def __init__(self) -> None:
        super().__init__()
        self._pid = os.getpid()

    def select(self, timeout: float | None = None) -> Any:
        """As the class above; in a child it does not return."""
        end_if_forked(self._pid, NO_LOOP)
        return super().select(timeout)
