"""The web server and what is never finished, with real sockets."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn

from queuesite import bodies, server
from queuesite.bodies import BoundedBodies
from queuesite.server import DeadlineProtocol
from tests.support.waiting import eventually

#: Long enough for a machine that is busy to answer what is complete.
SHORT = 0.5


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answers when it has the whole body."""
    while (await receive()).get("more_body"):
        pass
    client = scope["client"][0].encode()
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(client)).encode())]}
    )
    await send({"type": "http.response.body", "body": client})


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(server, "HEAD_SECONDS", SHORT)
    monkeypatch.setattr(bodies, "BODY_SECONDS", SHORT)
    monkeypatch.setattr(server, "_SPARE", 2)
    config = uvicorn.Config(
        BoundedBodies(application), http=DeadlineProtocol, log_config=None, lifespan="off", limit_concurrency=4,
        proxy_headers=True, forwarded_allow_ips=["127.0.0.0/8"],
    )  # fmt: skip
    web = uvicorn.Server(config)
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=lambda: asyncio.run(web.serve([listening])))
    thread.start()
    eventually(lambda: web.started, 30, "the server listens")
    yield listening.getsockname()[1]
    web.should_exit = True
    thread.join(45)
    assert not thread.is_alive()


def opened(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def rest(one: socket.socket) -> bytes:
    """All that comes until the server closes."""
    found = b""
    try:
        while more := one.recv(65_536):
            found += more
    except ConnectionResetError:
        pass
    return found


def test_connection_that_says_nothing_is_closed(port: int) -> None:
    with opened(port) as one:
        assert rest(one) == b""


def test_head_that_never_ends_is_closed(port: int) -> None:
    with opened(port) as one:
        one.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        assert rest(one).startswith(b"HTTP/1.1 408")


def test_head_that_trickles_in_is_closed(port: int) -> None:
    with opened(port) as one:
        one.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        answer = threading.Thread(target=rest, args=(one,))
        answer.start()
        while answer.is_alive():  # a line now and then, for as long as it is read
            answer.join(0.05)
            try:
                one.sendall(b"X-More: 1\r\n")
            except OSError:
                break
        answer.join(45)
        assert not answer.is_alive()


def test_body_that_never_ends_is_refused(port: int) -> None:
    with opened(port) as one:
        one.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
        answer = rest(one)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"urn:queuesite:problem:request-timeout" in answer


def test_second_head_has_its_time_too(port: int) -> None:
    with opened(port) as one:
        one.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert one.recv(65_536).startswith(b"HTTP/1.1 200")
        one.sendall(b"GET / HT")
        assert b"408" in rest(one)


def test_requests_one_after_another_are_answered(port: int) -> None:
    with opened(port) as one:
        one.sendall(
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 3 + b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        assert rest(one).count(b"HTTP/1.1 200") == 4


def test_connections_beyond_the_limit_are_refused(port: int) -> None:
    held = [opened(port) for _ in range(4)]
    try:
        with opened(port) as one:
            one.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert one.recv(65_536).startswith(b"HTTP/1.1 503")
            more = [opened(port) for _ in range(3)]
            assert rest(more[-1]) == b""
            for each in more:
                each.close()
    finally:
        for each in held:
            each.close()


def test_proxy_that_is_trusted_names_the_client(port: int) -> None:
    with opened(port) as one:
        one.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.9\r\nConnection: close\r\n\r\n")
        assert rest(one).endswith(b"203.0.113.9")
