"""The fork server: a process with our imports, from which a worker has its consumers forked.

Its loop does not survive an error of `os.fork` (a limit on processes, no memory), and all its children would die with
it. So inside the fork server a failed fork looks like a child that ended at once. Its pid is the
negated number of the error, so that the worker recognizes it.
"""

from __future__ import annotations

import os
import signal
from multiprocessing import forkserver
from typing import Any

import psutil

from queuesite.foundation.home import import_path
from queuesite.foundation.logs import get_logger

log = get_logger(__name__)


def ensure_running() -> None:
    """Start the fork server if there is none, without waiting for its imports. Raises `OSError`."""
    # The fork server is a new interpreter, which finds our packages only by the path.
    os.environ["PYTHONPATH"] = import_path(os.environ.get("PYTHONPATH", ""))
    forkserver.ensure_running()


def is_alive() -> bool:
    """Whether the fork server runs: asking a dead one to fork starts another, and waits for its imports."""
    server: Any = forkserver._forkserver
    try:
        return bool(psutil.Process(server._forkserver_pid).status() != psutil.STATUS_ZOMBIE)
    except (psutil.NoSuchProcess, TypeError, ValueError):  # none was started yet
        return False


def survive_failed_forks() -> None:
    """Have this process, the fork server, live on when it cannot fork."""
    fork, waitpid = os.fork, os.waitpid
    failed: list[int] = []

    def fork_or_pretend() -> int:
        try:
            pid = fork()
        except OSError as error:
            log.error("fork_failed", error=str(error), hint="is there a limit on processes, or no memory?")
            failed.append(-(error.errno or 1))
            signal.raise_signal(signal.SIGCHLD)  # its loop then asks which children have ended
            return failed[-1]
        if pid == 0:
            os.fork, os.waitpid = fork, waitpid
        return pid

    def waitpid_or_pretend(pid: int, options: int) -> tuple[int, int]:
        if pid == -1 and failed:
            return failed.pop(), 1 << 8
        return waitpid(pid, options)

    os.fork, os.waitpid = fork_or_pretend, waitpid_or_pretend
