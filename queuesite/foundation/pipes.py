"""A pipe for messages between two processes, one of which must never wait for the other.

`multiprocessing.Pipe` blocks at both ends: reading waits for the rest of a message, and writing for a reader. Here the
side that serves many (`Channel`) buffers what is not sent or received completely; the other (`Endpoint`) has nothing
else to do, and blocks. Messages are pickled, each after its length.
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
#: Most bytes that one call reads, so that one sender cannot keep the reader from the others.
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
    """The end that blocks. It may be passed to a process that is being started."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def fileno(self) -> int:
        """The descriptor, which is readable once there is a message or the other end is gone."""
        return self._socket.fileno()

    def poll(self, timeout: float = 0.0) -> bool:
        """Whether a message, or the end of messages, arrives within `timeout` seconds."""
        return bool(wait([self._socket], timeout))

    def recv(self) -> Any:
        """The next message. Raises `EOFError` when the other end is gone."""
        (length,) = _LENGTH.unpack(self._exactly(_LENGTH.size))
        return pickle.loads(self._exactly(length))  # noqa: S301 - by our own process

    def send(self, message: object) -> None:
        """Send a message, and wait until the pipe has taken it. Raises `OSError` when the other end is gone."""
        self._socket.sendall(_frame(message))

    def close(self) -> None:
        """Close this end, which ends the messages for the other."""
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
        #: Whether part of the first outgoing message has been sent.
        self._begun = False
        #: Whether the other end is gone.
        self.ended = False

    def fileno(self) -> int:
        """The descriptor, for `wait_for`."""
        return self._socket.fileno()

    @property
    def waiting(self) -> int:
        """Messages that are not sent, or not completely; call `flush` once the descriptor is writable."""
        return len(self._outgoing)

    def send(self, message: object, *, replace: bool = True) -> None:
        """Send a message as soon as the other end accepts it.

        It replaces a waiting message of its kind, unless part of that has been sent, so at most one of each kind waits.
        With `replace` false, it does not replace one.
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
        """Send as much of the waiting messages as the other end takes now."""
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
        """The messages that have arrived completely; part of one is kept for the next call."""
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
        """Close this end, which ends the messages for the other."""
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
    """Wait until a descriptor is readable, or one that is a channel with waiting messages is writable."""
    with selectors.PollSelector() as selector:
        for source in readable:
            selector.register(source, selectors.EVENT_READ | (selectors.EVENT_WRITE if source in writable else 0))
        selector.select(timeout)
