"""An HTTP server that does to each connection what a test says, request by request, with or without TLS; and a proxy.

with serving(lambda request, connection: connection.answer(b"{}")) as server: …
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

#: A certificate for localhost, 127.0.0.1 and ::1 that vouches for itself, and its key.
LOCALHOST = Path(__file__).with_name("localhost.pem")


class Served:
    """One connection, as the server sees it. `number` counts the connections from 1."""

    def __init__(self, sock: Any, number: int) -> None:
        self.sock, self.number = sock, number
        self.requests = 0

    def answer(self, body: bytes, *headers: str, status: int = 200) -> None:
        """Answer a request."""
        lines = "".join(f"{line}\r\n" for line in headers)
        self.sock.sendall(f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{lines}\r\n".encode() + body)

    def close(self) -> None:
        """Close the connection."""
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()


Script = Callable[[bytes, Served], None]


class HttpScript:
    """The server; `requests` are the heads of those that came in."""

    def __init__(self, script: Script, *, tls: bool = False, host: str = "127.0.0.1") -> None:
        self.requests: list[bytes] = []
        self.connections: list[Served] = []
        self._script = script
        self._context: ssl.SSLContext | None = None
        if tls:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(LOCALHOST)
        self._listener = socket.create_server(
            (host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=64
        )
        self.port: int = self._listener.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        self.url = f"{'https' if tls else 'http'}://{shown}:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        """Close everything."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for served in self.connections:
            served.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with suppress(OSError), sock:
            secure: Any = self._context.wrap_socket(sock, server_side=True) if self._context else sock
            served = Served(secure, len(self.connections) + 1)
            self.connections.append(served)
            with secure:
                while request := _request(secure):
                    served.requests += 1
                    self.requests.append(request)
                    self._script(request, served)


def _request(sock: Any) -> bytes:
    """The head of the next request, whose body is read too; nothing at the end."""
    data = b""
    while b"\r\n\r\n" not in data:
        got = sock.recv(65_536)
        if not got:
            return b""
        data += got
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    while len(body) < length:
        body += sock.recv(65_536)
    return head


@contextmanager
def serving(script: Script, *, tls: bool = False, host: str = "127.0.0.1") -> Iterator[HttpScript]:
    """Run the server."""
    server = HttpScript(script, tls=tls, host=host)
    try:
        yield server
    finally:
        server.stop()


def tunnel(request: bytes, served: Served) -> None:
    """The script of a proxy: connects to where it is asked to, and carries bytes both ways until one end closes."""
    host, _, port = request.split()[1].decode().rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port))) as there:
        served.sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        back = threading.Thread(target=_carry, args=(there, served.sock), daemon=True)
        back.start()
        _carry(served.sock, there)
        back.join(10)


def _carry(source: Any, target: Any) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
