"""A pipe for messages between two processes, of which one must never wait for the other.

`multiprocessing.Pipe` blocks at both ends: reading waits for the rest of a message, and writing for a reader. Here the
side that watches many (`Channel`) keeps what has not gone or come yet; the other one (`Endpoint`) has nothing else to
do, and blocks. Messages are pickled, each behind its length.
"""

from __future__ import annotations

import pickle
import selectors
import socket
import struct
from collections import deque
from collections.abc import Sequence
from multiprocessing.connection import wait
from typing import Any

_LENGTH = struct.Struct("!Q")
#: Bytes that one call reads at most: one that talks without end must not keep its reader from the others.
READ_BYTES = 1_048_576
_CHUNK = 65_536


def pair() -> tuple[Channel, Endpoint]:
    """Both ends of a new pipe."""
    ours, theirs = socket.socketpair()
    return Channel(ours), Endpoint(theirs)


def _frame(message: object) -> bytes:
    body = pickle.dumps(message)
    return _LENGTH.pack(len(body)) + body


class Endpoint:
    """The end that blocks. It may be handed to a process that is being started."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def fileno(self) -> int:
        """The descriptor, which is readable once there is a message or the other end is gone."""
        return self._socket.fileno()

    def poll(self, timeout: float = 0.0) -> bool:
        """Whether there is something to receive within `timeout` seconds; the end counts."""
        return bool(wait([self._socket], timeout))

    def recv(self) -> Any:
        """The next message. Raises `EOFError` when the other end is gone."""
        (length,) = _LENGTH.unpack(self._exactly(_LENGTH.size))
        return pickle.loads(self._exactly(length))  # noqa: S301 - by our own process

    def send(self, message: object) -> None:
        """Send a message, waiting until the pipe has taken it. Raises `OSError` when the other end is gone."""
        self._socket.sendall(_frame(message))

    def close(self) -> None:
        """Close this end, which the other one reads as the end of the messages."""
        self._socket.close()

    def unblocked(self) -> Channel:
        """This end as one that never blocks. Use this object for nothing more."""
        return Channel(self._socket)

    def _exactly(self, size: int) -> bytes:
        got = bytearray()
        while len(got) < size:
            some = self._socket.recv(size - len(got))
            if not some:
                raise EOFError
            got += some
        return bytes(got)


class Channel:
    """The end that never blocks."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._socket = connection
        self._received = bytearray()
        self._outgoing: deque[tuple[type, memoryview]] = deque()
        #: Part of the first outgoing message has gone.
        self._begun = False
        #: The other end is gone; nothing more comes or goes.
        self.ended = False

    def fileno(self) -> int:
        """The descriptor, to be waited on."""
        return self._socket.fileno()

    @property
    def waiting(self) -> int:
        """Messages that have not gone, or not wholly: `flush` once the descriptor is writable."""
        return len(self._outgoing)

    def send(self, message: object, *, replace: bool = True) -> None:
        """Send a message when the other end takes it.

        It replaces one of its kind that has not begun to go, so that no more than one of each kind ever waits. With
        `replace` false it waits beside them.
        """
        if self.ended:
            return
        begun = 1 if self._begun else 0
        kept = [
            item for n, item in enumerate(self._outgoing) if not replace or n < begun or item[0] is not type(message)
        ]
        self._outgoing = deque([*kept, (type(message), memoryview(_frame(message)))])
        self.flush()

    def flush(self) -> None:
        """Send as much of what waits as the other end takes now."""
        try:
            while self._outgoing:
                kind, left = self._outgoing[0]
                sent = self._socket.send(left)
                self._begun = sent < len(left)
                if self._begun:
                    self._outgoing[0] = (kind, left[sent:])
                else:
                    self._outgoing.popleft()
        except BlockingIOError:
            pass
        except OSError:
            self._end()

    def receive(self) -> list[Any]:
        """The messages that have come whole; part of one is kept for the next call."""
        before = len(self._received)
        try:
            while len(self._received) - before < READ_BYTES:
                some = self._socket.recv(_CHUNK)
                if not some:
                    self._end()
                    break
                self._received += some
        except BlockingIOError:
            pass
        except OSError:
            self._end()
        return list(self._whole())

    def close(self) -> None:
        """Close this end, which the other one reads as the end of the messages."""
        self._end()
        self._socket.close()

    def _end(self) -> None:
        self.ended = True
        self._outgoing.clear()

    def _whole(self) -> Any:
        at = 0
        while len(self._received) - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._received, at)
            end = at + _LENGTH.size + length
            if len(self._received) < end:
                break
            yield pickle.loads(memoryview(self._received)[at + _LENGTH.size : end])  # noqa: S301 - by our own process
            at = end
        del self._received[:at]


def wait_for(readable: Sequence[Any], writable: Sequence[Channel], timeout: float) -> None:
    """Wait until one of the descriptors can be read, or one of the channels (which are among them) takes more."""
    with selectors.PollSelector() as selector:
        for source in readable:
            selector.register(source, selectors.EVENT_READ | (selectors.EVENT_WRITE if source in writable else 0))
        selector.select(timeout)
