"""Reports a full disk in one line, before and while the embedded servers write to it."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

#: MB that must be free before `up` starts anything. New data take 1 MB; logs and messages need some room.
NEEDED_MB = 64
_FULL = os.strerror(errno.ENOSPC)  # the C library's words, which every program uses


def problem(directory: Path) -> str | None:
    """The problem with a directory, if its disk has too little free space."""
    free = shutil.disk_usage(directory).free >> 20
    if free >= NEEDED_MB:
        return None
    return (
        f"DATA_DIR={directory}: its disk has only {free} MB free; "
        f"free {NEEDED_MB} MB, or name a directory on another disk"
    )


class FullDiskScreen:
    """Passes a server's lines on until one reports a full disk, and then shows one line instead of all that follow.

    A storage engine writes about sixty, none of which names the remedy. Each process has a screen of its own.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._full = False

    def __call__(self, line: str) -> str | None:
        """The line to show instead of this one, or None."""
        if self._full:
            return None
        if _FULL not in line:
            return line
        self._full = True
        return f"the disk is full: free space for DATA_DIR={self._directory}, then start `up` again"
