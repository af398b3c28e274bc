"""Connections to SQS that are kept and used again: TLS, proxies, time limits. For threads that may block.

The whole answer mostly comes in one piece, so that a call is one `sendall` and one `recv`.
"""

from __future__ import annotations

import functools
import os
import select
import socket
import ssl
import threading
import time
import weakref
from base64 import b64encode
from contextlib import suppress
from typing import Any
from urllib.parse import unquote, urlsplit

from queues.sqs.express.wire import Answer, AnswerReader, BadAnswer

#: Seconds for connecting to one address (a name may have several), and for each step of a proxy's or TLS's greeting.
CONNECT_SECONDS = 5.0
#: A connection that was not used for so long is not used again, in seconds: firewalls forget them without a word.
_IDLE_SECONDS = 60.0
#: The same for what must not be repeated: the server might be closing it at this very moment.
_FRESH_SECONDS = 3.0
_CHUNK = 1 << 16


class NotSent(Exception):
    """No connection could be made. SQS knows nothing of the request."""


class Untrusted(NotSent):
    """TLS failed: the other side cannot prove that it is SQS. Trying again would not help."""


class Unanswered(Exception):
    """The request went out, or a part of it, and no whole answer came. Nobody knows whether SQS has acted on it."""


class _HungUp(Unanswered):
    """The server closed the connection without a word of an answer."""


@functools.lru_cache(maxsize=4)
def tls_context(ca_bundle: str) -> ssl.SSLContext:
    """What verifies certificates by the authorities in a file or directory. Raises `OSError`.

    It takes some 20 ms, so create it before forking.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # which verifies certificate and host name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if os.path.isdir(ca_bundle):
        context.load_verify_locations(capath=ca_bundle)
    else:
        context.load_verify_locations(cafile=ca_bundle)
    return context


class Place:
    """Host and port of an address, and what its user and password make for a proxy's header.

    Raises `ValueError` if it is not an address.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url if "://" in url else f"http://{url.removeprefix('//')}")
        self.tls = parts.scheme == "https"
        self.scheme = parts.scheme
        self.host = parts.hostname or ""
        self.port = parts.port or (443 if self.tls else 80)
        self.basic = ""
        if parts.username is not None:
            user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self.basic = "Basic " + b64encode(user.encode()).decode()

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class Connection:
    """A connection, for one request at a time."""

    __slots__ = ("_poll", "_sock", "_timeout", "used_at")

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._timeout: float | None = None
        self._poll = select.poll()
        self._poll.register(sock.fileno(), select.POLLIN)
        #: When it was last used (monotonic clock); 0: never.
        self.used_at = 0.0

    def alive(self) -> bool:
        """Whether nothing has come since the last answer: an end, or what nobody asked for."""
        return not self._poll.poll(0)

    def ask(self, request: bytes, timeout: float) -> Answer:
        """Send a request and read its answer; it may not stay silent for longer than `timeout` seconds.

        Raises `Unanswered`; the connection is of no use after that.
        """
        reader = AnswerReader()
        try:
            if timeout != self._timeout:
                self._sock.settimeout(timeout)
                self._timeout = timeout
            self._sock.sendall(request)
            while (answer := reader.feed(self._sock.recv(_CHUNK))) is None:
                pass
        except TimeoutError as error:
            raise Unanswered(f"no answer within {timeout:g} s") from error
        except (OSError, BadAnswer) as error:
            raise (Unanswered if reader.began else _HungUp)(str(error)) from error
        return answer

    def close(self) -> None:
        """Close it, whatever state it is in."""
        with suppress(OSError):
            self._sock.close()


class Connections:
    """The connections to one endpoint. Safe for threads; make it after the fork.

    As many are open as requests are under way; of those that are idle, `keep` are kept.
    """

    def __init__(self, url: str, *, proxy: str | None = None, ca_bundle: str | None = None, keep: int = 64) -> None:
        self._place = Place(url)
        self._proxy = Place(proxy) if proxy else None
        self._ca_bundle = ca_bundle
        self._keep = keep
        self._idle: list[Connection] = []
        self._lock = threading.Lock()
        self._closed = False
        # Of one that nobody closed and nobody has any more.
        weakref.finalize(self, _close_all, self._idle).atexit = False

    @property
    def forwarded(self) -> str | None:
        """The `Proxy-Authorization` of each request if a proxy forwards them (`Letters` wants to know), or None."""
        return self._proxy.basic if self._proxy and not self._place.tls else None

    def ask(self, request: bytes, timeout: float, *, repeatable: bool) -> Answer:
        """Send a request and return its answer. Raises `NotSent`, `Unanswered`.

        If a kept connection turns out to be closed, and to send again does no harm, a new one is used at once.
        """
        connection = self._take(_IDLE_SECONDS if repeatable else _FRESH_SECONDS) or self._open()
        try:
            answer = connection.ask(request, timeout)
        except _HungUp:
            connection.close()
            if not connection.used_at or not repeatable:
                raise
            connection = self._open()
            answer = self._ask_or_close(connection, request, timeout)
        except BaseException:
            connection.close()
            raise
        self._give_back(connection, answer)
        return answer

    def close(self) -> None:
        """Close what is idle now, and what is under way as soon as it has its answer."""
        with self._lock:
            self._closed = True
        _close_all(self._idle)

    @staticmethod
    def _ask_or_close(connection: Connection, request: bytes, timeout: float) -> Answer:
        try:
            return connection.ask(request, timeout)
        except BaseException:
            connection.close()
            raise

    def _take(self, longest_idle: float) -> Connection | None:
        """The connection that was used last, if it still stands."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if time.monotonic() - connection.used_at < longest_idle and connection.alive():
                return connection
            connection.close()

    def _give_back(self, connection: Connection, answer: Answer) -> None:
        spare = connection
        if answer.reusable:
            connection.used_at = time.monotonic()
            with self._lock:
                if not self._closed:
                    self._idle.append(connection)
                    longest = self._idle[0]  # the last in is the first out, so this one has been idle for longest
                    if len(self._idle) <= self._keep and connection.used_at - longest.used_at < _IDLE_SECONDS:
                        return
                    spare = self._idle.pop(0)
        spare.close()

    # --- opening ---

    def _open(self) -> Connection:
        return Connection(self.open_socket())

    def open_socket(self) -> Any:
        """A socket that is connected to SQS, for callers that make their own requests. Raises `NotSent`."""
        near = self._proxy or self._place
        sock: Any = None
        try:
            if near.scheme not in ("http", "https"):
                raise NotSent(f"the proxy is of a kind that is not supported: {near.scheme}")
            sock = _connect(near)
            if near.tls:
                sock = self._secure(sock, near)
            if self._proxy is not None and self._place.tls:
                self._tunnel(sock, self._proxy)
                sock = self._secure(sock, self._place)
            return sock
        except BaseException as error:
            if sock is not None:
                sock.close()
            if isinstance(error, OSError | UnicodeError):  # the latter: no name of a host can be so long
                who = f"the proxy {near}: " if self._proxy else ""
                # What fails at verifying is not a failure of the network.
                kind = Untrusted if isinstance(error, ssl.SSLCertVerificationError) else NotSent
                raise kind(f"{who}{error}") from error
            raise

    def _secure(self, sock: Any, place: Place) -> Any:
        try:
            context = tls_context(self._ca_bundle or "")
        except OSError as error:
            raise Untrusted(f"the CA bundle {self._ca_bundle}: {error}") from error
        if isinstance(sock, ssl.SSLSocket):  # in the tunnel of a proxy that itself speaks TLS
            from urllib3.util.ssltransport import SSLTransport

            return SSLTransport(sock, context, server_hostname=place.host)
        return context.wrap_socket(sock, server_hostname=place.host)

    def _tunnel(self, sock: Any, proxy: Place) -> None:
        """Have the proxy connect us to SQS, whatever we send after that."""
        authorization = f"Proxy-Authorization: {proxy.basic}\r\n" if proxy.basic else ""
        sock.sendall(f"CONNECT {self._place} HTTP/1.1\r\nHost: {self._place}\r\n{authorization}\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head:
            data = sock.recv(_CHUNK)
            if not data or len(head) > _CHUNK:
                raise NotSent(f"the proxy {proxy} does not answer as one")
            head += data
        first = head.partition(b"\r\n")[0].decode("latin-1")
        if not first.partition(" ")[2].startswith("2"):
            raise NotSent(f"the proxy {proxy} refused: {first.partition(' ')[2][:80]}")


def _close_all(idle: list[Connection]) -> None:
    while idle:
        with suppress(IndexError):  # another thread has taken the last
            idle.pop().close()


def _connect(place: Place) -> socket.socket:
    sock = socket.create_connection((place.host, place.port), timeout=CONNECT_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # A long poll is silent for 20 s, and an idle connection for longer: have the network remember it.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
    return sock
