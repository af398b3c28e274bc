"""Connections that are kept, found closed, made through proxies, and verified."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from queues.sqs.express import connections as module
from queues.sqs.express.connections import Connections, NotSent, Place, Unanswered, Untrusted
from tests.support.http_script import LOCALHOST, HttpScript, Served, serving, tunnel
from tests.support.servers import free_port
from tests.support.waiting import eventually

REQUEST = b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
BUNDLE = str(LOCALHOST)


def echo(request: bytes, served: Served) -> None:
    served.answer(f"{served.number}.{served.requests}".encode())


def ask(connections: Connections, *, repeatable: bool = True, timeout: float = 30.0) -> str:
    return connections.ask(REQUEST, timeout, repeatable=repeatable).body.decode()


@pytest.fixture
def server() -> Iterator[HttpScript]:
    with serving(echo) as running:
        yield running


@pytest.fixture
def secure() -> Iterator[HttpScript]:
    with serving(echo, tls=True) as running:
        yield running


class TestKeeping:
    def test_a_connection_is_used_again(self, server: HttpScript) -> None:
        connections = Connections(server.url)

        assert [ask(connections) for _ in range(3)] == ["1.1", "1.2", "1.3"]
        connections.close()

    @pytest.mark.parametrize("repeatable", [True, False])
    def test_one_that_the_server_has_closed_is_not(self, server: HttpScript, repeatable: bool) -> None:
        connections = Connections(server.url)
        ask(connections)
        server.connections[0].close()
        [idle] = connections._idle
        eventually(lambda: not idle.alive(), 30, "the end has arrived")

        assert ask(connections, repeatable=repeatable) == "2.1"
        connections.close()

    def hangs_up_once(self, request: bytes, served: Served) -> None:
        """Closes at the second request, as a server that was about to close anyway."""
        if served.number == 1 and served.requests == 2:
            served.close()
        else:
            echo(request, served)

    def test_one_that_closes_at_this_very_moment_is_replaced(self) -> None:
        with serving(self.hangs_up_once) as server:
            connections = Connections(server.url)
            ask(connections)

            assert ask(connections) == "2.1"
            connections.close()

    def test_but_nothing_is_sent_twice_that_must_not_be(self) -> None:
        with serving(self.hangs_up_once) as server:
            connections = Connections(server.url)
            ask(connections)

            with pytest.raises(Unanswered, match=r"hung up|reset"):
                ask(connections, repeatable=False)
            assert len(server.connections) == 1
            connections.close()

    def test_a_new_connection_that_is_closed_is_an_error(self) -> None:
        with serving(lambda _, served: served.close()) as server:
            with pytest.raises(Unanswered, match=r"hung up|reset"):
                ask(Connections(server.url))
            assert len(server.connections) == 1

    def test_one_that_was_idle_for_long_is_not_used(self, server: HttpScript, monkeypatch: pytest.MonkeyPatch) -> None:
        connections = Connections(server.url)
        ask(connections)
        monkeypatch.setattr(module, "_FRESH_SECONDS", 0.0)

        assert ask(connections, repeatable=False) == "2.1"
        monkeypatch.setattr(module, "_IDLE_SECONDS", 0.0)
        assert ask(connections) == "3.1"
        connections.close()

    def test_what_the_server_says_unasked_is_nobodys_answer(self) -> None:
        def talk(request: bytes, served: Served) -> None:
            served.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1HTTP/1.1 500 Oops\r\n\r\n")

        with serving(talk) as server:
            connections = Connections(server.url)
            assert ask(connections) == "1"
            assert ask(connections) == "1"
            assert len(server.connections) == 2

    def test_as_many_as_there_are_threads_and_some_are_kept(self) -> None:
        together = threading.Barrier(5)

        def wait(request: bytes, served: Served) -> None:
            together.wait(30)
            echo(request, served)

        with serving(wait) as server:
            connections = Connections(server.url, keep=2)
            with ThreadPoolExecutor(5) as pool:
                list(pool.map(lambda _: ask(connections), range(5)))

            assert len(server.connections) == 5
            assert len(connections._idle) == 2
            connections.close()
            assert connections._idle == []

    def test_what_is_not_needed_any_more_is_closed(self, server: HttpScript, monkeypatch: pytest.MonkeyPatch) -> None:
        connections = Connections(server.url)
        first, second = connections._open(), connections._open()
        for connection in (first, second):
            connections._give_back(connection, connection.ask(REQUEST, 30))
        assert connections._idle == [first, second]
        first.used_at -= module._IDLE_SECONDS

        ask(connections)

        assert connections._idle == [second]
        assert first._sock.fileno() == -1
        connections.close()

    def test_what_is_under_way_at_the_close_gets_its_answer(self) -> None:
        asked, closed = threading.Event(), threading.Event()

        def late(request: bytes, served: Served) -> None:
            asked.set()
            closed.wait(30)
            echo(request, served)

        with serving(late) as server, ThreadPoolExecutor(1) as pool:
            connections = Connections(server.url)
            under_way = pool.submit(ask, connections)
            assert asked.wait(30)
            connections.close()
            closed.set()

            assert under_way.result(30) == "1.1"
            assert connections._idle == []


class TestReaching:
    def test_ipv6(self) -> None:
        if not socket.has_ipv6:
            pytest.skip("no IPv6 here")
        try:
            with serving(echo, host="::1") as server:
                connections = Connections(server.url)
                assert ask(connections) == "1.1"
                connections.close()
        except OSError as error:
            pytest.skip(f"no IPv6 here: {error}")

    def test_nothing_there(self) -> None:
        with pytest.raises(NotSent, match="refused"):
            ask(Connections(f"http://127.0.0.1:{free_port()}"))

    def test_no_name_of_a_host(self) -> None:
        with pytest.raises(NotSent):
            ask(Connections("http://" + "x" * 70))

    def test_silence(self) -> None:
        over = threading.Event()

        def wait(request: bytes, served: Served) -> None:
            over.wait(30)

        with serving(wait) as server:
            with pytest.raises(Unanswered, match=r"no answer within 0\.05 s"):
                ask(Connections(server.url), timeout=0.05)
            over.set()

    def test_no_http(self) -> None:
        with (
            serving(lambda _, served: served.sock.sendall(b"SSH-2.0-x\r\n\r\n")) as server,
            pytest.raises(Unanswered, match="SSH"),
        ):
            ask(Connections(server.url))


class TestTls:
    def test_who_is_vouched_for(self, secure: HttpScript) -> None:
        connections = Connections(secure.url, ca_bundle=BUNDLE)

        assert [ask(connections) for _ in range(2)] == ["1.1", "1.2"]
        connections.close()

    def test_a_directory_of_authorities_works_too(self, secure: HttpScript, tmp_path: Path) -> None:
        with pytest.raises(Untrusted, match="verify failed"):
            ask(Connections(secure.url, ca_bundle=str(tmp_path)))

    def test_who_is_not(self, secure: HttpScript) -> None:
        import certifi

        with pytest.raises(Untrusted, match="verify failed"):
            ask(Connections(secure.url, ca_bundle=certifi.where()))

    def test_another_name(self, secure: HttpScript, monkeypatch: pytest.MonkeyPatch) -> None:
        real = socket.create_connection
        monkeypatch.setattr(
            socket, "create_connection", lambda _, **options: real(("127.0.0.1", secure.port), **options)
        )

        with pytest.raises(Untrusted, match="verify failed"):
            ask(Connections("https://sqs.eu-west-1.amazonaws.com", ca_bundle=BUNDLE))

    def test_no_bundle(self, secure: HttpScript) -> None:
        with pytest.raises(Untrusted, match="the CA bundle /no/such: "):
            ask(Connections(secure.url, ca_bundle="/no/such"))

    def test_server_without_it(self, server: HttpScript) -> None:
        with pytest.raises(NotSent):
            ask(Connections(server.url.replace("http:", "https:"), ca_bundle=BUNDLE))


class TestProxies:
    @pytest.mark.parametrize("tls", [False, True])
    def test_tunnel(self, secure: HttpScript, tls: bool) -> None:
        with serving(tunnel, tls=tls) as proxy:
            address = proxy.url.replace("://", "://me:p%40ss@")
            connections = Connections(secure.url, proxy=address, ca_bundle=BUNDLE)

            assert connections.forwarded is None
            assert [ask(connections) for _ in range(2)] == ["1.1", "1.2"]
            connections.close()

            [head] = proxy.requests
            assert head.startswith(f"CONNECT 127.0.0.1:{secure.port} HTTP/1.1\r\n".encode())
            assert b"Proxy-Authorization: Basic bWU6cEBzcw==" in head

    def test_tunnel_is_refused(self, secure: HttpScript) -> None:
        def refuse(request: bytes, served: Served) -> None:
            served.answer(b"no", status=407)

        with (
            serving(refuse) as proxy,
            pytest.raises(NotSent, match=rf"the proxy 127\.0\.0\.1:{proxy.port} refused: 407 X"),
        ):
            ask(Connections(secure.url, proxy=proxy.url, ca_bundle=BUNDLE))

    def test_no_proxy_there(self, secure: HttpScript) -> None:
        port = free_port()
        with pytest.raises(NotSent, match=rf"the proxy 127\.0\.0\.1:{port}: "):
            ask(Connections(secure.url, proxy=f"http://u:secret@127.0.0.1:{port}", ca_bundle=BUNDLE))

    def test_of_a_kind_that_is_not_supported(self, secure: HttpScript) -> None:
        with pytest.raises(NotSent, match="socks5"):
            ask(Connections(secure.url, proxy="socks5://127.0.0.1:1", ca_bundle=BUNDLE))

    def test_plain_requests_are_forwarded(self, server: HttpScript) -> None:
        connections = Connections("http://sqs.nowhere.invalid", proxy=server.url)

        assert connections.forwarded == ""
        assert ask(connections) == "1.1"
        assert Connections("http://x", proxy="http://me:pw@p:1").forwarded == "Basic bWU6cHc="
        connections.close()

    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            ("proxy", "proxy:80"),
            ("//proxy:3128", "proxy:3128"),
            ("https://proxy", "proxy:443"),
            ("http://[::1]:8080", "[::1]:8080"),
        ],
    )
    def test_addresses(self, url: str, expected: str) -> None:
        assert str(Place(url)) == expected


def test_an_unclosed_one_leaves_nothing_open(server: HttpScript) -> None:
    connections: Any = Connections(server.url)
    ask(connections)
    [idle] = connections._idle
    sock = idle._sock
    del connections, idle

    eventually(lambda: sock.fileno() == -1, 30, "the socket is closed")
