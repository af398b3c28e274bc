"""What the import of handlers left open in the fork server, and every consumer would share.

A connection that was made at import is one socket in all consumers, whose requests and answers get mixed; a thread is
in none of them, since a fork copies only the thread that calls it.
"""

from __future__ import annotations

import os
import socket
import stat
import threading
from contextlib import suppress


def open_sockets() -> dict[int, str]:
    """The sockets of this process by their descriptor, each with its kind and its addresses. Empty on Windows."""
    found: dict[int, str] = {}
    with suppress(FileNotFoundError):
        for name in os.listdir("/dev/fd"):
            number = int(name)
            with suppress(OSError):  # the descriptor of the listing itself is closed by now
                if stat.S_ISSOCK(os.fstat(number).st_mode):
                    found[number] = _described(number)
    return found


def running_threads() -> list[str]:
    """The names of this process's threads other than the main one."""
    return sorted(thread.name for thread in threading.enumerate() if thread is not threading.main_thread())


def _described(number: int) -> str:
    with socket.socket(fileno=os.dup(number)) as opened:
        kind = f"{opened.family.name} {opened.type.name}"
        ours = theirs = ""
        with suppress(OSError):
            ours = _address(opened.getsockname())
        with suppress(OSError):
            theirs = _address(opened.getpeername())
    return f"{kind} {ours or '?'}" + (f" -> {theirs}" if theirs else "")


def _address(address: object) -> str:
    return f"{address[0]}:{address[1]}" if isinstance(address, tuple) else str(address)
