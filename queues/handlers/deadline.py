"""Connections that end at a deadline, whatever they are doing.

A socket's timeout applies to each read: a server that sends a byte now and then can hold a request for hours. So a
timer shuts the connection down at the deadline, and whatever is blocked on it (a handshake, a write, a read) fails at
once.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection


class Deadline:
    """The end of an exchange, `seconds` from now."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._at = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] | None = []
        #: Whether connections were shut down. What was read then cannot be trusted: headers may have ended early.
        self.broken = False

    @property
    def left(self) -> float:
        """Seconds that are left, at least a thousandth: a timeout of 0 would mean something else."""
        return max(self._at - time.monotonic(), 0.001)

    def watch(self, connection: socket.socket) -> None:
        """Shut `connection` down at the deadline."""
        # A duplicate: TLS takes the socket away from its object, but it is the same connection.
        duplicate = socket.socket(connection.family, connection.type, fileno=os.dup(connection.fileno()))
        with self._lock:
            if self._sockets is not None:
                self._sockets.append(duplicate)
                return
        duplicate.close()

    def _shut_down(self) -> None:
        with self._lock:
            if self._sockets is None:
                return  # the exchange has just ended
            self.broken = True
            for watched in self._sockets:
                with suppress(OSError):  # it is closed already
                    watched.shutdown(socket.SHUT_RDWR)

    @contextmanager
    def enforced(self) -> Iterator[None]:
        """Hold what this thread does meanwhile, on connections of `pool_manager`, to the deadline."""
        timer = threading.Timer(self.left, self._shut_down)
        timer.daemon = True
        timer.start()
        _current.deadline = self
        try:
            yield
        finally:
            _current.deadline = None
            timer.cancel()
            with self._lock:
                watched, self._sockets = self._sockets, None
            for one in watched or ():
                one.close()


_current = threading.local()


def _watch(connection: socket.socket) -> None:
    deadline: Deadline | None = getattr(_current, "deadline", None)
    if deadline is not None:
        deadline.watch(connection)


class _Watched(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        made = super()._new_conn()
        _watch(made)
        return made

    def request(self, *args: Any, **options: Any) -> None:
        if self.sock is not None:  # one that is used again
            _watch(self.sock)
        super().request(*args, **options)


class _WatchedTls(_Watched, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Watched


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _WatchedTls


def pool_manager(**options: Any) -> PoolManager:
    """urllib3's pools, with connections that keep to the deadline of their thread."""
    manager = PoolManager(**options)
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
    return manager


def addresses_of(host: str, port: int, deadline: Deadline) -> list[str]:
    """The addresses that `host` resolves to. Raises `OSError`, and `TimeoutError` if the deadline passes before.

    A look-up cannot be cancelled: one that takes too long goes on in its thread until the resolver gives up.
    """
    answer: list[Any] = []

    def look_up() -> None:
        try:
            answer.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:  # a label that is too long, for one
            answer.append(error)

    thread = threading.Thread(target=look_up, name="resolver", daemon=True)
    thread.start()
    thread.join(deadline.left)
    if not answer:
        raise TimeoutError
    if isinstance(answer[0], Exception):
        raise OSError(str(answer[0])) from answer[0]
    return [str(entry[4][0]).partition("%")[0] for entry in answer[0]]
