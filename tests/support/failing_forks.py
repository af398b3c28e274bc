"""A fork server imports this first. No process can be forked while the file that NO_FORKS names exists."""

from __future__ import annotations

import errno
import os

_fork = os.fork


def _fork_unless_forbidden() -> int:
    if os.path.exists(os.environ["NO_FORKS"]):
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return _fork()


os.fork = _fork_unless_forbidden
