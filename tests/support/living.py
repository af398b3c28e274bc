"""Questions about processes that may end while they are asked about. `foundation.processes.signal_all` signals them."""

from __future__ import annotations

from collections.abc import Iterable

import psutil


def lives(process: psutil.Process) -> bool:
    """Whether it still runs. A zombie has ended, and a later process of the same pid is another."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def gone(processes: Iterable[psutil.Process]) -> bool:
    """Whether none of these processes runs any more."""
    return not any(map(lives, processes))


def name_of(process: psutil.Process) -> str:
    """Its name; empty if it has ended."""
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""


def command_line(process: psutil.Process) -> str:
    """Its arguments; empty if it has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""
