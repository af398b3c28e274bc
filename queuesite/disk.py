"""A disk that is full, said in one line before and while the embedded servers write on it."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

#: What `up` wants to find free before it starts anything, in MB. New data take 1 MB; logs and messages need some room.
NEEDED_MB = 64
_FULL = os.strerror(errno.ENOSPC)  # every program takes these words from the C library


def problem(directory: Path) -> str | None:
    """What is wrong with a directory on whose disk too little is free."""
    free = shutil.disk_usage(directory).free >> 20
    if free >= NEEDED_MB:
        return None
    return (
        f"DATA_DIR={directory}: its disk has only {free} MB free; "
        f"free {NEEDED_MB} MB, or name a directory on another disk"
    )


class FullDiskScreen:
    """Passes a server's lines on until it meets a full disk, and then one line for all that follow.

    A storage engine has sixty to say of it, and none of them names the remedy. There is one screen for each process.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._full = False

    def __call__(self, line: str) -> str | None:
        """The line to show in place of this one, if any."""
        if self._full:
            return None
        if _FULL not in line:
            return line
        self._full = True
        return f"the disk is full: free space for DATA_DIR={self._directory}, then start `up` again"
