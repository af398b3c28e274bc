"""Imported by a fork server before anything else: no process can be forked while the file NO_FORKS names is there."""

from __future__ import annotations

import errno
import os

_fork = os.fork


def _fork_unless_forbidden() -> int:
    if os.path.exists(os.environ["NO_FORKS"]):
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return _fork()


os.fork = _fork_unless_forbidden
