"""Stands in for Python where pytest-xdist starts a worker: has one forked by the collector (`collected_once`).

Its first argument is where the collector listens; what follows is for Python, if no worker can be forked.
"""

import os
import select
import socket
import sys


def main() -> None:
    """Pass the streams on, and stay until the fork has ended."""
    _, where, *arguments = sys.argv
    try:
        with socket.socket(socket.AF_UNIX) as collector:
            collector.connect(where)
            socket.send_fds(collector, [b"-"], [0, 1, 2])
            pid = int(collector.recv(20))
    except (OSError, ValueError):
        os.execv(sys.executable, [sys.executable, *arguments])
    for stream in (0, 1):
        os.close(stream)
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    select.select([process], [], [])


main()
