"""A real HTTP server that records its requests and returns prepared answers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message as Headers
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.support.http_server import Server


@dataclass
class Request:
    """A request that arrived."""

    path: str
    headers: Headers
    body: bytes
    #: The other end of its connection.
    peer: tuple[str, int]


@dataclass
class Target:
    """The server's prepared answer, and the requests that it got."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    #: Whether the body is sent in chunks, without a length.
    chunked: bool = False
    #: It answers as soon as this is set; clear it to make callers wait.
    go: threading.Event = field(default_factory=threading.Event)
    requests: list[Request] = field(default_factory=list)
    port: int = 0

    @property
    def address(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def http_target() -> Iterator[Target]:
    """Run the server."""
    target = Target()
    target.go.set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            target.requests.append(Request(self.path, self.headers, body, self.client_address))
            target.go.wait(30)
            try:
                self.send_response(target.status)
                for name, value in target.headers.items():
                    self.send_header(name, value)
                if target.chunked:
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    for first in range(0, len(target.body), 1_000):
                        part = target.body[first : first + 1_000]
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
                    self.wfile.write(b"0\r\n\r\n")
                else:
                    self.send_header("Content-Length", str(len(target.body)))
                    self.end_headers()
                    self.wfile.write(target.body)
            except OSError:
                self.close_connection = True  # the caller has given up

        def do_GET(self) -> None:  # a redirect, if followed, would become a GET
            self.do_POST()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as its base class has it
            pass

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    target.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield target
    finally:
        target.go.set()
        server.shutdown()
        server.server_close()
