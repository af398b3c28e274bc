"""Child processes that never outlive their parent, and the process groups that they lead."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO

import psutil

from queuesite.foundation.private import UMASK

#: Where a child's output goes: one of subprocess's constants, or an open file.
Output = int | IO[bytes]

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
# Loaded here and not in the child: between fork and exec nothing may be imported or looked up.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def _die_with(parent: int) -> Callable[[], None] | None:
    if _LIBC is None:
        return None
    prctl = _LIBC.prctl

    def in_child() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before the line above, so the signal will never come
            os._exit(1)

    return in_child


def die_with_parent(number: signal.Signals) -> None:
    """Send this process a signal when its parent (the thread that forked it) dies. Works only on Linux."""
    if _LIBC is not None:
        parent = os.getppid()
        _LIBC.prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:
            signal.raise_signal(number)


def spawn(
    argv: Sequence[str | os.PathLike[str]],
    *,
    env: Mapping[str, str],
    output: Output,
    inherit: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own, with stderr joined to stdout and the descriptors in `inherit`.

    Because of the session, a terminal's Ctrl-C does not reach it, and its parent decides when it ends. On Linux it gets
    SIGTERM when its parent dies, even by SIGKILL. For the kernel, the parent is the *thread* that called this, so call
    it from a thread that lives as long as the process. Files that it creates are private. Raises `OSError` if the
    program cannot be started.
    """
    return subprocess.Popen(
        argv,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        umask=UMASK,
        pass_fds=tuple(inherit),
        preexec_fn=_die_with(os.getpid()),
    )


def group_members(leader: int) -> list[psutil.Process]:
    """The live processes of the group that `leader` leads or led, including itself."""
    found = []
    for pid in psutil.pids():
        try:
            if os.getpgid(pid) == leader:
                process = psutil.Process(pid)
                if process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def signal_all(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    """Send a signal to each process that still exists; psutil makes sure that no reused pid gets it."""
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue


def stop(process: subprocess.Popen[bytes], timeout: float) -> int:
    """Send SIGTERM, SIGKILL after `timeout` seconds, and SIGKILL to the rest of its group. Returns the exit code."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    signal_all(group_members(process.pid), signal.SIGKILL)
    return process.returncode


def wait_gone(process: psutil.Process, timeout: float) -> bool:
    """Whether a process, which need not be our child, ends within `timeout` seconds. A zombie has ended."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.05)


def ending(returncode: int) -> str:
    """How a process ended, in words: `ended with exit code 3`, `was killed by SIGKILL`."""
    if returncode >= 0:
        return f"ended with exit code {returncode}"
    try:
        return f"was killed by {signal.Signals(-returncode).name}"
    except ValueError:  # real-time signals have no name
        return f"was killed by signal {-returncode}"
