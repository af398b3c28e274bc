"""Many requests at once from one thread: long polls, of which each waits for most of its time.

A thread and its stack for each of a thousand polls would be a gigabyte of address space and a burden for the kernel;
here each is a socket in a selector. Connections are kept alive and used again. They are made in a few helper threads,
since name look-up, TLS and proxies wait.
"""

from __future__ import annotations

import heapq
import itertools
import selectors
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from queues.sqs.express.connections import Connections
from queues.sqs.express.endpoint import Credentials, Prepared
from queues.sqs.express.protocol import Call, Garbled, Refusal, answer_of
from queues.sqs.express.retries import ServerClock
from queues.sqs.express.signing import Keys
from queues.sqs.express.wire import Answer, AnswerReader, BadAnswer, Letters
from queues.sqs.refusals import bad_credentials, no_answer
from queuesite.foundation.errors import QueuesiteError, ServerError, SqsRejected

T = TypeVar("T")

#: Seconds for an answer beyond those for which SQS may let it wait.
ANSWER_SECONDS = 10.0
#: Threads that connect, look for keys, and so wait.
HELPERS = 8
_CHUNK = 65_536
_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

#: Called with the result, or with the error.
Done = Callable[[Any, QueuesiteError | None], None]


@dataclass(eq=False, slots=True)
class _Exchange:
    """A request and its answer."""

    call: Call[Any]
    done: Done
    deadline: float
    connection: socket.socket | None = None
    #: The connection has served another request before; it may have been closed just when this one went out.
    reused: bool = False
    unsent: memoryview = field(default_factory=lambda: memoryview(b""))
    reader: AnswerReader = field(default_factory=AnswerReader)
    over: bool = False


class Multiplexer:
    """Requests to one endpoint, each made once. Not safe for threads: all is done in the thread that calls `step`.

    Make it after the fork. Raises `ValueError` if the proxy's address is not valid.
    """

    def __init__(
        self, prepared: Prepared, credentials: Credentials, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._credentials = credentials
        self._address = prepared.address
        self._monotonic = monotonic
        connections = Connections(prepared.url, proxy=prepared.proxy, ca_bundle=prepared.ca_bundle)

        def connect() -> socket.socket:
            opened = connections.open_socket()
            if not isinstance(opened, socket.socket):  # TLS within the TLS of a proxy
                opened.close()
                raise SqsRejected("many requests at once cannot go through a proxy that speaks TLS itself")
            return opened

        self._connect = connect
        self._letters = Letters(
            prepared.url, prepared.region, user_agent=prepared.user_agent, through=connections.forwarded
        )
        self._clock = ServerClock()
        self._selector = selectors.DefaultSelector()
        self._idle: list[socket.socket] = []
        self._deadlines: list[tuple[float, int, _Exchange]] = []
        self._numbers = itertools.count()
        self._helpers = ThreadPoolExecutor(HELPERS, "connect")
        #: What the helpers have finished.
        self._helped: deque[tuple[Future[Any], Callable[[Any], None], _Exchange]] = deque()
        self._closed = False
        self._woken, self._waker = socket.socketpair()
        for end in (self._woken, self._waker):
            end.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ, self._take_help)
        #: Requests under way.
        self.open = 0
        #: What `step` calls back with has come after this moment.
        self.heard_from = monotonic()

    def watch(self, source: Any, on_ready: Callable[[], None], *, writable: bool = False) -> None:
        """Have `on_ready` called when a descriptor can be read, or (`writable`) takes more; replaces what was said."""
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if writable else 0)
        if source in self._selector.get_map():
            self._selector.modify(source, events, on_ready)
        else:
            self._selector.register(source, events, on_ready)

    def start(self, call: Call[T], done: Callable[[T | None, QueuesiteError | None], None]) -> None:
        """Make a request. `done` is called in a later `step`."""
        exchange = _Exchange(call, done, self._monotonic() + call.wait + ANSWER_SECONDS)
        heapq.heappush(self._deadlines, (exchange.deadline, next(self._numbers), exchange))
        self.open += 1
        self._begin(exchange)

    def step(self, timeout: float) -> None:
        """Wait for at most `timeout` seconds for anything to happen, and see to it."""
        self.heard_from = self._monotonic()
        if self._deadlines:
            timeout = min(timeout, self._deadlines[0][0] - self.heard_from)
        for key, _ in self._selector.select(max(0.0, timeout)):
            key.data()
        now = self._monotonic()
        while self._deadlines and (self._deadlines[0][0] <= now or self._deadlines[0][2].over):
            exchange = heapq.heappop(self._deadlines)[2]
            if not exchange.over:
                self._drop(exchange)
                self._end(exchange, None, self._unavailable())

    def close(self) -> None:
        """Close all connections. Requests that are under way are lost."""
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._waker.close()
        self._closed = True
        self._helpers.shutdown(wait=False, cancel_futures=True)
        self._selector.close()
        while self._helped:
            _close_unused(self._helped.popleft()[0])

    # --- a request ---

    def _begin(self, exchange: _Exchange) -> None:
        keys = self._credentials.at_hand()
        if keys is None:
            self._help(self._credentials.get, lambda keys: self._connected(exchange, keys), exchange)
        else:
            self._connected(exchange, keys)

    def _connected(self, exchange: _Exchange, keys: Keys) -> None:
        if self._idle:
            exchange.reused = True
            self._send(exchange, self._idle.pop(), keys)
            return
        exchange.reused = False
        self._help(self._connect, lambda connection: self._send(exchange, connection, keys), exchange)

    def _send(self, exchange: _Exchange, connection: socket.socket, keys: Keys) -> None:
        if exchange.over:  # its time was up meanwhile
            self._rest(connection)
            return
        connection.setblocking(False)
        exchange.connection = connection
        exchange.reader = AnswerReader()
        exchange.unsent = memoryview(self._letters.write(exchange.call, keys, self._clock.now()))
        self.watch(connection, lambda: self._advance(exchange))
        self._advance(exchange)

    def _advance(self, exchange: _Exchange) -> None:
        """Send what is left of the request, or read what there is of the answer."""
        connection = exchange.connection
        assert connection is not None
        try:
            if exchange.unsent:
                exchange.unsent = exchange.unsent[connection.send(exchange.unsent) :]
                self.watch(connection, lambda: self._advance(exchange), writable=bool(exchange.unsent))
                if exchange.unsent:
                    return
            while True:  # until it would block: TLS may hold back what the selector does not see
                answer = exchange.reader.feed(connection.recv(_CHUNK))
                if answer is not None:
                    self._answered(exchange, answer)
                    return
        except _WOULD_BLOCK as blocked:
            if isinstance(blocked, ssl.SSLWantWriteError) or exchange.unsent:
                self.watch(connection, lambda: self._advance(exchange), writable=True)
        except (OSError, BadAnswer):
            self._broken(exchange)

    def _broken(self, exchange: _Exchange) -> None:
        self._drop(exchange)
        if exchange.reused and not exchange.reader.began:
            # The server had closed a connection that nobody used; others that rest are as old.
            while self._idle:
                self._forget(self._idle.pop())
            self._begin(exchange)
        else:
            self._end(exchange, None, self._unavailable())

    def _answered(self, exchange: _Exchange, answer: Answer) -> None:
        connection, exchange.connection = exchange.connection, None
        assert connection is not None
        if answer.reusable:
            self._rest(connection)
        else:
            self._forget(connection)
        try:
            result = answer_of(exchange.call, answer.status, answer.headers, answer.body)
        except Refusal as refused:
            if self._clock.learn(refused, answer.headers.get("date", "")):
                self._begin(exchange)
                return
            if bad_credentials(refused.code):
                self._helpers.submit(self._credentials.look_again)
            self._end(exchange, None, refused.error(self._address, exchange.call.queue_url))
        except Garbled as garbled:
            self._end(exchange, None, garbled.error(self._address))
        else:
            self._end(exchange, result, None)

    def _end(self, exchange: _Exchange, result: Any, error: QueuesiteError | None) -> None:
        exchange.over = True
        self.open -= 1
        exchange.done(result, error)

    def _unavailable(self) -> ServerError:
        return no_answer(self._address)

    # --- connections ---

    def _rest(self, connection: socket.socket) -> None:
        """Keep a connection until it is used again, or its server closes it."""
        self._idle.append(connection)
        self.watch(connection, lambda: self._hung_up(connection))

    def _hung_up(self, connection: socket.socket) -> None:
        """Something has come from a server that was asked for nothing: it closes the connection."""
        with suppress(ValueError):
            self._idle.remove(connection)
        self._forget(connection)

    def _drop(self, exchange: _Exchange) -> None:
        connection, exchange.connection = exchange.connection, None
        if connection is not None:
            self._forget(connection)

    def _forget(self, connection: socket.socket) -> None:
        with suppress(KeyError, ValueError):
            self._selector.unregister(connection)
        connection.close()

    # --- helpers ---

    def _help(self, function: Callable[[], T], then: Callable[[T], None], exchange: _Exchange) -> None:
        """Call a function that waits in a helper, and go on with its result in the thread of `step`."""

        def finished(future: Future[T]) -> None:
            if self._closed:
                _close_unused(future)
                return
            self._helped.append((future, then, exchange))
            with suppress(OSError):  # it is full, so the loop wakes anyway; or it is closed
                self._waker.send(b"!")

        self._helpers.submit(function).add_done_callback(finished)

    def _go_on(self, future: Future[T], then: Callable[[T], None], exchange: _Exchange) -> None:
        error = future.exception()
        if error is None:
            then(future.result())
        elif not exchange.over:
            self._end(exchange, None, error if isinstance(error, QueuesiteError) else self._unavailable())

    def _take_help(self) -> None:
        with suppress(BlockingIOError):
            self._woken.recv(4_096)
        while self._helped:
            self._go_on(*self._helped.popleft())


def _close_unused(future: Future[Any]) -> None:
    """Close a connection that was made for nobody."""
    if not future.cancelled() and future.exception() is None and isinstance(future.result(), socket.socket):
        future.result().close()
