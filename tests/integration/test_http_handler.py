"""The `http` handler against a real HTTP server."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from queues.handlers import registry
from queues.handlers.contract import Message, Reject, Retry
from queues.handlers.http import HttpOptions, post_message
from queuesite.foundation.errors import InvalidInput
from tests.conftest import Configure
from tests.support.http_target import Target, http_target
from tests.support.servers import free_port


@pytest.fixture
def target() -> Iterator[Target]:
    with http_target() as running:
        yield running


@pytest.fixture(autouse=True)
def loopback_is_allowed(configure: Configure) -> None:
    """The tests' servers are on this machine."""
    configure(http_allowed="127.0.0.0/8,::1")


def message(url: str, body: str = "hello", **options: Any) -> Message:
    return Message(id="the-id", body=body, queue="orders", receive_count=3, options=HttpOptions(url=url, **options))


class TestRequest:
    def test_body_arrives_unchanged_with_what_is_known_of_it(self, target: Target) -> None:
        body = '  {"miasto": "Łódź", "emoji": "🚚"}\n'

        post_message(message(f"{target.address}/hook?a=1&b=%20", body))

        [request] = target.requests
        assert request.path == "/hook?a=1&b=%20"
        assert request.body == body.encode()
        assert request.headers["Host"] == f"127.0.0.1:{target.port}"
        assert request.headers["X-Queuesite-Message-Id"] == "the-id"
        assert request.headers["X-Queuesite-Queue"] == "orders"
        assert request.headers["X-Queuesite-Receive-Count"] == "3"
        assert request.headers["User-Agent"] == "queuesite"

    @pytest.mark.parametrize(
        ("body", "content_type"),
        [
            ('{"a": 1}', "application/json"),
            ("[]", "application/json"),
            ("plain", "text/plain; charset=utf-8"),
            ("   ", "text/plain; charset=utf-8"),
        ],
    )
    def test_content_type_tells_json_from_text(self, target: Target, body: str, content_type: str) -> None:
        post_message(message(target.address, body))

        assert target.requests[0].headers["Content-Type"] == content_type
        assert target.requests[0].path == "/"

    def test_headers_of_the_queue_come_along_and_win(self, target: Target) -> None:
        post_message(message(target.address, headers={"Authorization": "Bearer é", "content-type": "text/csv"}))

        headers = target.requests[0].headers
        assert headers["Authorization"] == "Bearer é"
        assert headers.get_all("Content-Type") == ["text/csv"]

    def test_name_is_resolved_and_sent_as_host(self, target: Target) -> None:
        post_message(message(f"http://localhost:{target.port}/"))

        assert target.requests[0].headers["Host"] == f"localhost:{target.port}"

    def test_next_address_of_a_name_is_tried(self, target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
        """`localhost` is often ::1 first, where a server on 127.0.0.1 does not listen."""
        resolves_to(monkeypatch, "::1", "127.0.0.1")

        post_message(message(f"http://localhost:{target.port}/"))

        assert len(target.requests) == 1

    @pytest.mark.parametrize("chunked", [False, True])
    def test_connection_is_used_again(self, target: Target, chunked: bool) -> None:
        target.body = b"x" * 100
        target.chunked = chunked

        for _ in range(3):
            post_message(message(target.address))

        assert len({request.peer for request in target.requests}) == 1

    @pytest.mark.parametrize("chunked", [False, True])
    def test_long_answer_does_not_spoil_the_next_request(self, target: Target, chunked: bool) -> None:
        target.body = b"x" * 100_000
        target.chunked = chunked

        for _ in range(4):
            post_message(message(target.address))

        assert len(target.requests) == 4


class TestAnswer:
    @pytest.mark.parametrize("status", [200, 201, 202, 204])
    def test_2xx_is_done(self, target: Target, status: int) -> None:
        target.status = status

        post_message(message(target.address))

    @pytest.mark.parametrize("status", [301, 302, 307, 400, 401, 404, 410, 422])
    def test_other_answers_reject(self, target: Target, status: int) -> None:
        target.status = status
        target.headers = {"Location": "/elsewhere"}
        target.body = "zła wiadomość".encode()

        with pytest.raises(Reject) as caught:
            post_message(message(target.address))

        assert caught.value.reason == f"HTTP {status}: zła wiadomość"
        assert len(target.requests) == 1  # no redirect is followed

    @pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
    def test_busy_server_is_asked_again(self, target: Target, status: int) -> None:
        target.status = status

        with pytest.raises(Retry) as caught:
            post_message(message(target.address))

        assert caught.value.reason == f"HTTP {status}"
        assert caught.value.delay is None

    @pytest.mark.parametrize("status", [429, 503])
    @pytest.mark.parametrize(
        ("header", "delay"), [("120", 120), ("0", 0), ("-5", 0), ("99999999", 43_200), ("soon", None), ("", None)]
    )
    def test_retry_after_in_seconds(self, target: Target, status: int, header: str, delay: float | None) -> None:
        target.status = status
        target.headers = {"Retry-After": header}

        with pytest.raises(Retry) as caught:
            post_message(message(target.address))

        assert caught.value.delay == delay

    @pytest.mark.parametrize(("ahead", "low", "high"), [(600, 500, 601), (-600, 0, 0), (90_000, 43_200, 43_200)])
    def test_retry_after_as_a_date(self, target: Target, ahead: int, low: float, high: float) -> None:
        target.status = 503
        target.headers = {"Retry-After": format_datetime(datetime.now(UTC) + timedelta(seconds=ahead), usegmt=True)}

        with pytest.raises(Retry) as caught:
            post_message(message(target.address))

        assert caught.value.delay is not None
        assert low <= caught.value.delay <= high

    def test_reason_is_short_whatever_the_answer(self, target: Target) -> None:
        target.status = 400
        target.body = b"\xff" * 100_000

        with pytest.raises(Reject) as caught:
            post_message(message(target.address))

        assert len(caught.value.reason) < 300


class TestNoAnswer:
    def test_timeout(self, target: Target) -> None:
        target.go.clear()

        with pytest.raises(Retry, match=r"127\.0\.0\.1.*timed out after 0\.1 s"):
            post_message(message(target.address, timeout=0.1))

    def test_name_that_takes_too_long_to_resolve(self, monkeypatch: pytest.MonkeyPatch) -> None:
        ended = threading.Event()
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: ended.wait(60))

        with pytest.raises(Retry, match=r"slow\.example\.com.*timed out"):
            post_message(message("http://slow.example.com/", timeout=0.1))

        ended.set()

    @pytest.mark.parametrize(
        ("part", "again"),
        [
            *((part, False) for part in ("status", "headers", "body", "chunks", "handshake")),
            *((part, True) for part in ("status", "headers", "body", "chunks")),
        ],
    )
    def test_deadline_holds_for_an_answer_that_comes_in_drops(self, part: str, again: bool) -> None:
        """Each drop is in time for a timeout of reads. `again`: on a connection that was used before."""
        with dripping(part, first=again) as (port, gave_up):
            scheme = "https" if part == "handshake" else "http"
            if again:
                post_message(message(f"http://127.0.0.1:{port}/"))

            with pytest.raises(Retry, match=r"timed out after 0\.3 s"):
                post_message(message(f"{scheme}://127.0.0.1:{port}/", timeout=0.3))

            assert gave_up.wait(30)  # the connection is closed, not left to drip on

    def test_deadline_holds_for_the_next_address_of_a_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        resolves_to(monkeypatch, "::1", "127.0.0.1")
        with dripping("body", first=False) as (port, gave_up):
            with pytest.raises(Retry, match="timed out"):
                post_message(message(f"http://localhost:{port}/", timeout=0.3))

            assert gave_up.wait(30)

    def test_deadline_holds_for_a_request_that_is_not_read(self) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as server, pytest.raises(Retry, match="timed out"):
            post_message(message(f"http://127.0.0.1:{server.getsockname()[1]}/", "x" * 20_000_000, timeout=0.3))

    def test_refused_connection(self) -> None:
        with pytest.raises(Retry, match="127\\.0\\.0\\.1"):
            post_message(message(f"http://127.0.0.1:{free_port()}/"))

    def test_name_that_does_not_resolve(self) -> None:
        with pytest.raises(Retry, match=r"no-such-host\.invalid cannot be resolved"):
            post_message(message("http://no-such-host.invalid/"))

    @pytest.mark.parametrize(
        "answer", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nxx"]
    )
    def test_what_is_no_http(self, answer: bytes) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as server:

            def serve() -> None:
                connection, _ = server.accept()
                with connection:
                    connection.recv(65_536)
                    connection.sendall(answer)

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()

            with pytest.raises(Retry):
                post_message(message(f"http://127.0.0.1:{server.getsockname()[1]}/"))
            thread.join(45)

    def test_no_tls_where_it_is_expected(self, target: Target) -> None:
        with pytest.raises(Retry, match="https://localhost"):
            post_message(message(f"https://localhost:{target.port}/", timeout=5))


DROPS = {
    "status": (b"", b"HTTP/1.1 200"),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X-Drop: 1\r\n"),
    "body": (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x"),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "handshake": (b"\x16\x03\x03\x40\x00", b"\x02"),  # the beginning of a long record of TLS
}


def read_request(connection: socket.socket) -> None:
    read = b""
    while not read.endswith(b"\r\n\r\nhello"):
        more = connection.recv(65_536)
        if not more:
            raise ConnectionResetError("the caller has given up")
        read += more


@contextmanager
def dripping(part: str, *, first: bool) -> Iterator[tuple[int, threading.Event]]:
    """A server whose answer stands still at `part` but for a drop each 50 ms, until the caller gives up.

    With `first` it answers one request in order before.
    """
    gave_up, stopping = threading.Event(), threading.Event()
    begin, drop = DROPS[part]

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            if first:
                read_request(connection)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            try:
                if part != "handshake":
                    read_request(connection)
                connection.sendall(begin)
                while not stopping.wait(0.05):
                    connection.sendall(drop)
            except OSError:
                gave_up.set()

    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1], gave_up
        finally:
            stopping.set()
            thread.join(45)


def resolves_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Have every name resolve to these addresses."""
    real = socket.getaddrinfo

    def resolve(host: str, port: int, *args: Any, **options: Any) -> list[Any]:
        if host[0].isdigit() or ":" in host:
            return list(real(host, port, *args, **options))
        return [
            (socket.AF_INET6 if ":" in a else socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port)) for a in addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


REFUSED = [
    "169.254.169.254",
    "169.254.170.2",
    "[fe80::1]",
    "[fd00:ec2::254]",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "100.100.100.200",
    "192.0.0.192",
    "168.63.129.16",
]


class TestForbiddenAddresses:
    @pytest.mark.parametrize("host", REFUSED)
    def test_metadata_and_link_local_are_refused_when_the_queue_is_saved(self, host: str) -> None:
        with pytest.raises(ValueError, match="link-local or metadata address"):
            HttpOptions(url=f"http://{host}/latest/meta-data/")

    @pytest.mark.parametrize("address", [host.strip("[]") for host in REFUSED])
    def test_names_that_resolve_to_them_are_refused(self, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
        resolves_to(monkeypatch, address)

        with pytest.raises(Reject, match="link-local or metadata address"):
            post_message(message("http://innocent.example.com/"))

    def test_one_bad_address_among_good_ones_is_enough(self, monkeypatch: pytest.MonkeyPatch, target: Target) -> None:
        resolves_to(monkeypatch, "127.0.0.1", "169.254.169.254")

        with pytest.raises(Reject):
            post_message(message(f"http://innocent.example.com:{target.port}/"))

        assert target.requests == []

    @pytest.mark.parametrize("spelling", ["2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518"])
    def test_other_spellings_are_seen_through(self, spelling: str) -> None:
        with pytest.raises(Reject, match=r"169\.254\.169\.254 is a link-local or metadata address"):
            post_message(message(f"http://{spelling}/"))

    def test_scope_of_an_address_does_not_hide_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        resolves_to(monkeypatch, "fe80::1%lo")

        with pytest.raises(Reject, match="link-local"):
            post_message(message("http://innocent.example.com/"))

    def test_configuration_may_allow_them(self, configure: Configure) -> None:
        configure(http_allow_internal=1)

        assert HttpOptions(url="http://169.254.169.254/").url == "http://169.254.169.254/"

    @pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1", "[::1]", "localhost", "sqs.localhost", "[::7f00:1]"])
    def test_other_internal_addresses_are_refused_when_the_queue_is_saved(
        self, configure: Configure, host: str
    ) -> None:
        configure(http_allowed=None)

        with pytest.raises(ValueError, match="is an internal address; to allow it"):
            HttpOptions(url=f"http://{host}:8080/")

    @pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "10.1.2.3", "fd12::1"])
    def test_names_that_resolve_to_internal_addresses_are_refused(
        self, monkeypatch: pytest.MonkeyPatch, configure: Configure, target: Target, address: str
    ) -> None:
        configure(http_allowed=None)
        resolves_to(monkeypatch, address)

        with pytest.raises(Reject, match="is an internal address"):
            post_message(message(f"http://innocent.example.com:{target.port}/"))

        assert target.requests == []

    def test_host_that_is_allowed(self, monkeypatch: pytest.MonkeyPatch, configure: Configure, target: Target) -> None:
        configure(http_allowed="hooks.internal")
        resolves_to(monkeypatch, "127.0.0.1")

        post_message(message(f"http://hooks.internal:{target.port}/"))

        assert target.requests[0].headers["Host"] == f"hooks.internal:{target.port}"

    def test_name_that_resolves_otherwise_a_moment_later_is_not_looked_up_again(
        self, monkeypatch: pytest.MonkeyPatch, target: Target
    ) -> None:
        real = socket.getaddrinfo
        answers = iter(["127.0.0.1"])

        def resolve(host: str, port: int, *args: Any, **options: Any) -> list[Any]:
            return list(real(next(answers) if host == "rebinding.example.com" else host, port, *args, **options))

        monkeypatch.setattr(socket, "getaddrinfo", resolve)

        post_message(message(f"http://rebinding.example.com:{target.port}/"))

        assert len(target.requests) == 1

    @pytest.mark.parametrize("host", ["example.com", "[2606:4700:4700::1111]", "93.184.216.34"])
    def test_the_internet_may_be_called(self, configure: Configure, host: str) -> None:
        configure(http_allowed=None)

        assert HttpOptions(url=f"http://{host}:8080/").url.startswith("http://")


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({}, "url: Field required"),
            ({"url": "example.com/hook"}, "is not an address"),
            ({"url": "ftp://example.com/"}, "is not an address"),
            ({"url": "http:///hook"}, "is not an address"),
            ({"url": "http://example.com:99999/"}, "the port must be from"),
            ({"url": "http://example.com:port/"}, "the port must be from"),
            ({"url": "http://[::1/"}, "is not an address"),
            ({"url": "http://me:secret@example.com/"}, "headers"),
            ({"url": "http://example.com/a b\r\nX: y"}, "is not an address"),
            ({"url": "http://example.com/", "timeout": 0}, "timeout"),
            ({"url": "http://example.com/", "timeout": 901}, "timeout"),
            ({"url": "http://example.com/", "colour": "red"}, "colour"),
            ({"url": "http://example.com/", "headers": {"a\r\nb": "c"}}, "header"),
            ({"url": "http://example.com/", "headers": {"a": "b\nc"}}, "header"),
            ({"url": "http://example.com/", "headers": {"": "b"}}, "header"),
            ({"url": "http://example.com/", "headers": {"a b": "c"}}, "header"),
            ({"url": "http://example.com/", "headers": {"ä": "c"}}, "header"),
            ({"url": "http://example.com/", "headers": {"a": "日本"}}, "header"),
            ({"url": "http://example.com/", "headers": {"Content-Length": "5"}}, "header"),
            ({"url": "http://example.com/", "headers": {"transfer-encoding": "chunked"}}, "header"),
            ({"url": "x" * 2_001}, "url"),
        ],
    )
    def test_bad_options_are_refused_when_the_queue_is_saved(self, options: dict[str, Any], words: str) -> None:
        with pytest.raises(InvalidInput) as caught:
            registry.get("http").parse_options(options)

        assert words in str(caught.value)
        assert caught.value.field == "handler_options"
        assert "\n" not in str(caught.value)
        assert "secret" not in str(caught.value)

    def test_defaults(self) -> None:
        options = HttpOptions(url="https://example.com/hook")

        assert options.timeout == 30
        assert options.headers == {}
