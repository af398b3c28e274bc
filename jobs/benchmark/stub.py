"""An SQS that costs nothing: it answers at once, so that what is measured against it is the client's own limit.

It speaks as much of SQS's JSON protocol as a consumer of a standard queue needs, and looks at a request only as far as
that takes: it verifies no signature and looks up no receipt handle. One process with one thread; Linux only.
"""

from __future__ import annotations

import hashlib
import heapq
import multiprocessing
import select
import signal
import socket
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from multiprocessing.connection import Connection

from queuesite.foundation.errors import ServerError
from queuesite.foundation.processes import die_with_parent

#: How long the process may take to start, in seconds.
_START_SECONDS = 30.0
_READ_BYTES = 65_536

_HEAD = b"HTTP/1.1 %b\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: %d\r\n\r\n"
_EMPTY = b"{}"
_REFUSED = b'{"__type":"InvalidAction","message":"the benchmark\'s stub does not know this operation"}'
#: The answers to batches of 0 to 10 entries, whose ids are their places.
_SETTLED = [
    b'{"Failed":[],"Successful":[' + b",".join(b'{"Id":"%d"}' % place for place in range(entries)) + b"]}"
    for entries in range(11)
]


@contextmanager
def stub(messages: Mapping[str, int]) -> Iterator[str]:
    """Run the stub with queues of these names and numbers of messages; yields its address."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, dict(messages)), name="stub")
    process.start()
    theirs.close()
    try:
        if not ours.poll(_START_SECONDS):
            raise ServerError(f"the benchmark's stub of SQS did not start within {_START_SECONDS:g} s")
        yield f"http://127.0.0.1:{ours.recv()}"
    except EOFError:
        raise ServerError("the benchmark's stub of SQS ended; its error is above") from None
    finally:
        process.terminate()
        process.join()
        ours.close()


def serve(pipe: Connection, messages: Mapping[str, int]) -> None:
    """Answer until the process is terminated; sends the port that it listens on. The target of a fresh process."""
    die_with_parent(signal.SIGKILL)
    listener = socket.create_server(("127.0.0.1", 0))
    held = [_message(number) for number in range(max(messages.values()))]
    server = Server(listener, {name.encode(): iter(held[:number]) for name, number in messages.items()})
    pipe.send(listener.getsockname()[1])
    server.run()


def _message(number: int) -> bytes:
    """A message as SQS gives it out, its id and receipt handle as long as AWS's. The body is its number."""
    body = str(number)
    handle = f"AQEB{uuid.uuid4().hex * 12}"
    return (
        f'{{"MessageId":"{uuid.uuid4()}","ReceiptHandle":"{handle}","Body":"{body}",'
        f'"MD5OfBody":"{hashlib.md5(body.encode(), usedforsecurity=False).hexdigest()}",'
        f'"Attributes":{{"ApproximateReceiveCount":"1","SentTimestamp":"{time.time_ns() // 1_000_000}"}}}}'
    ).encode()


class Server:
    """Its connections, and the messages that it has not given out."""

    def __init__(self, listener: socket.socket, queues: Mapping[bytes, Iterator[bytes]]) -> None:
        self._listener = listener
        self._queues = queues
        self._poll = select.epoll()
        self._poll.register(listener, select.EPOLLIN)
        self._clients: dict[int, socket.socket] = {}
        #: What has come of requests that are not complete.
        self._partial: dict[int, bytes] = {}
        #: Receives that found nothing and wait: until when, a number that orders equals, and the client.
        self._waiting: list[tuple[float, int, int]] = []
        self._counter = count()

    def run(self) -> None:
        """Answer requests until the process ends."""
        while True:
            pause = max(0.0, self._waiting[0][0] - time.monotonic()) if self._waiting else -1
            for number, _ in self._poll.poll(pause):
                if number == self._listener.fileno():
                    self._accept()
                else:
                    self._read(number)
            while self._waiting and self._waiting[0][0] <= time.monotonic():
                self._answer(heapq.heappop(self._waiting)[-1], _EMPTY)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._clients[client.fileno()] = client
        self._poll.register(client, select.EPOLLIN)

    def _read(self, number: int) -> None:
        try:
            some = self._clients[number].recv(_READ_BYTES)
        except ConnectionError:
            some = b""
        if not some:
            self._close(number)
            return
        data = self._partial.pop(number, b"") + some
        head, complete, body = data.partition(b"\r\n\r\n")
        lower = head.lower()
        if not complete or len(body) < _length(lower):
            self._partial[number] = data
        elif b"amazonsqs.receivemessage" in lower:
            self._receive(number, body)
        elif b"amazonsqs.deletemessagebatch" in lower or b"amazonsqs.changemessagevisibilitybatch" in lower:
            self._answer(number, _SETTLED[body.count(b'"ReceiptHandle"')])
        else:
            self._answer(number, _REFUSED, b"400 Bad Request")

    def _receive(self, number: int, body: bytes) -> None:
        queue = self._queues[_after(body, b"QueueUrl").split(b'"', 2)[1].rpartition(b"/")[2]]
        found = [message for _, message in zip(range(_number(body, b"MaxNumberOfMessages")), queue, strict=False)]
        if found:
            self._answer(number, b'{"Messages":[' + b",".join(found) + b"]}")
        else:
            until = time.monotonic() + _number(body, b"WaitTimeSeconds")
            heapq.heappush(self._waiting, (until, next(self._counter), number))

    def _answer(self, number: int, body: bytes, status: bytes = b"200 OK") -> None:
        client = self._clients.get(number)
        if client is None:
            return  # it has gone while it waited
        try:
            client.sendall(_HEAD % (status, len(body)) + body)
        except ConnectionError:
            self._close(number)

    def _close(self, number: int) -> None:
        self._partial.pop(number, None)
        self._waiting = [waiting for waiting in self._waiting if waiting[-1] != number]
        heapq.heapify(self._waiting)
        self._poll.unregister(number)
        self._clients.pop(number).close()


def _length(head: bytes) -> int:
    _, found, rest = head.partition(b"content-length:")
    return int(rest.split(b"\r\n", 1)[0]) if found else 0


def _after(body: bytes, name: bytes) -> bytes:
    """What follows a name in a JSON object none of whose strings holds it."""
    return body.partition(b'"%b":' % name)[2]


def _number(body: bytes, name: bytes) -> int:
    """A number in such an object; 0 if it is not there."""
    digits = _after(body, name).split(b",", 1)[0].strip(b"} ")
    return int(digits or 0)
