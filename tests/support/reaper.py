"""Ends what a test run leaves behind, however it ends: a process of its own that outlives pytest by a moment.

Tests end their processes themselves. If pytest or xdist's controller is killed, nobody does that, and masters and
workers would run on. The kernel then closes the pipe on which this process waits; it kills whatever still belongs to
the run, and removes the run's directory.

A process belongs to the run if its first environment or its arguments name the run's directory: processes inherit the
variable, and embedded servers, which do not, have their data there.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

#: Most rounds: a process may start another while it is looked for.
_ROUNDS = 100


class Reaper:
    """The reaper of a run."""

    def __init__(self, directory: Path) -> None:
        self._process: subprocess.Popen[bytes] = subprocess.Popen(
            # In a session of its own, so that a terminal's Ctrl-C leaves it alone.
            [sys.executable, "-I", "-S", __file__, str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )

    def end(self) -> None:
        """Have it end what is left, and wait for that."""
        self._process.communicate(b".")  # a process that a test has forked may hold the other end, too


def _read(path: str) -> bytes:
    with suppress(OSError), Path(path).open("rb") as file:
        return file.read()
    return b""  # it has ended, or is another user's


def belonging(directory: bytes) -> list[int]:
    """The processes of the run, which alone has the directory; zombies have no environment."""
    return [
        pid
        for pid in map(int, filter(str.isdecimal, os.listdir("/proc")))
        if pid != os.getpid()
        and (directory in _read(f"/proc/{pid}/environ") or directory in _read(f"/proc/{pid}/cmdline"))
    ]


def main() -> None:
    """Wait for the end of the input, then kill."""
    directory = sys.argv[1]
    sys.stdin.buffer.read(1)
    for _ in range(_ROUNDS):
        found = belonging(os.fsencode(directory))
        if not found:
            break
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
