"""Many requests at once from one thread, to a server that answers as the test says."""

from __future__ import annotations

import json
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from queues.sqs.express import multiplexer, protocol
from queues.sqs.express.endpoint import Credentials, Prepared
from queues.sqs.express.multiplexer import Multiplexer
from queues.sqs.express.signing import Keys
from queuesite.foundation.errors import QueueMissing, QueuesiteError, SqsUnavailable
from tests.support.http_script import LOCALHOST, Served, serving, tunnel
from tests.support.servers import free_port

URL = "http://sqs/orders"
MESSAGE = {"MessageId": "1", "ReceiptHandle": "h", "Body": "hello"}


def response(body: object, status: str = "200 OK", **headers: str) -> bytes:
    text = json.dumps(body).encode()
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status}\r\n{lines}content-length: {len(text)}\r\n\r\n".encode() + text


class Server:
    """Takes connections and hands each request to the test, which answers it or closes its connection."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.connections: list[socket.socket] = []
        self.requests: queue.Queue[tuple[socket.socket, bytes]] = queue.Queue()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self.connections.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError):
            while data := connection.recv(65_536):
                self.requests.put((connection, data))

    def close(self) -> None:
        self._socket.close()
        for connection in self.connections:
            connection.close()


class Client:
    def __init__(self, address: str, **more: str | None) -> None:
        self.passed = 0.0
        prepared = Prepared(address, "us-east-1", address, "test", Keys("id", "secret"), **more)  # type: ignore[arg-type]
        self.requests = Multiplexer(prepared, Credentials(prepared, self._find), lambda: time.monotonic() + self.passed)
        self.done: list[Any] = []

    @staticmethod
    def _find() -> Any:
        raise AssertionError("these keys do not expire")

    def receive(self, name: str = "orders", wait: int = 20) -> None:
        self.requests.start(protocol.receive(f"http://sqs/{name}", limit=10, wait=wait), self._finished)

    def _finished(self, result: Any, error: QueuesiteError | None) -> None:
        self.done.append(error if error is not None else result)

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline
            self.requests.step(0.05)

    def result(self) -> Any:
        self.until(lambda: self.done)
        return self.done.pop(0)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    made = Client(server.address)
    yield made
    made.requests.close()


def taken(client: Client, server: Server, count: int = 1) -> list[tuple[socket.socket, bytes]]:
    """The next requests that have reached the server."""
    client.until(lambda: server.requests.qsize() >= count)
    return [server.requests.get() for _ in range(count)]


def test_many_wait_at_once_and_each_gets_its_own_answer(client: Client, server: Server) -> None:
    for number in range(20):
        client.receive(f"q{number}")
    assert client.requests.open == 20
    for connection, data in taken(client, server, 20):
        name = json.loads(data.partition(b"\r\n\r\n")[2])["QueueUrl"].rpartition("/")[2]
        connection.sendall(response({"Messages": [{**MESSAGE, "Body": name}]}))
    client.until(lambda: len(client.done) == 20)
    assert sorted(found[0].body for found in client.done) == sorted(f"q{number}" for number in range(20))
    assert client.requests.open == 0


def test_connections_are_used_again(client: Client, server: Server) -> None:
    for _ in range(3):
        client.receive()
        ((connection, _),) = taken(client, server)
        connection.sendall(response({}))
        assert client.result() == []
    assert len(server.connections) == 1


def test_one_that_the_server_has_closed_meanwhile_is_replaced(client: Client, server: Server) -> None:
    client.receive()
    ((connection, _),) = taken(client, server)
    connection.sendall(response({}))
    assert client.result() == []
    connection.shutdown(socket.SHUT_RDWR)
    client.receive()
    ((connection, _),) = taken(client, server)
    connection.sendall(response({"Messages": [MESSAGE]}))
    assert client.result()[0].body == "hello"


def test_an_answer_in_pieces_is_put_together(client: Client, server: Server) -> None:
    client.receive()
    ((connection, _),) = taken(client, server)
    for byte in response({"Messages": [MESSAGE]}):
        connection.sendall(bytes([byte]))
        client.requests.step(0.0)
    assert client.result()[0].body == "hello"


def test_an_answer_that_breaks_off_is_an_outage(client: Client, server: Server) -> None:
    client.receive()
    ((connection, _),) = taken(client, server)
    connection.sendall(response({"Messages": [MESSAGE]})[:-5])
    connection.shutdown(socket.SHUT_RDWR)
    assert isinstance(client.result(), SqsUnavailable)


def test_a_server_that_cannot_be_reached_is_an_outage() -> None:
    client = Client(f"http://127.0.0.1:{free_port()}")
    client.receive()
    assert isinstance(client.result(), SqsUnavailable)
    client.requests.close()


def test_silence_beyond_the_wait_is_an_outage(client: Client, server: Server) -> None:
    client.receive(wait=1)
    taken(client, server)
    client.passed = 1 + multiplexer.ANSWER_SECONDS
    assert isinstance(client.result(), SqsUnavailable)
    assert client.requests.open == 0


def test_a_refusal_is_explained(client: Client, server: Server) -> None:
    client.receive()
    ((connection, _),) = taken(client, server)
    connection.sendall(response({"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "no"}, "400 Bad Request"))
    assert isinstance(client.result(), QueueMissing)


def test_a_connection_that_the_server_does_not_keep_is_not_used_again(client: Client, server: Server) -> None:
    for _ in range(2):
        client.receive()
        ((connection, _),) = taken(client, server)
        connection.sendall(response({}, connection="close"))
        assert client.result() == []
    assert len(server.connections) == 2


def test_other_descriptors_are_watched_too(client: Client) -> None:
    ours, theirs = socket.socketpair()
    heard: list[bytes] = []
    client.requests.watch(ours, lambda: heard.append(ours.recv(10)))
    theirs.sendall(b"hello")
    client.until(lambda: heard)
    assert heard == [b"hello"]
    theirs.close()
    ours.close()


@pytest.mark.parametrize("through_proxy", [False, True])
def test_tls(through_proxy: bool) -> None:
    """A large answer comes in several records, of which the selector sees none once they have been read."""
    large = "x" * 200_000

    def script(request: bytes, served: Served) -> None:
        served.answer(json.dumps({"Messages": [{**MESSAGE, "Body": large}]}).encode())

    with serving(script, tls=True) as server, serving(tunnel) as proxy:
        way = proxy.url if through_proxy else None
        client = Client(server.url, ca_bundle=str(LOCALHOST), proxy=way)
        for _ in range(3):
            client.receive()
            assert client.result()[0].body == large
        assert len(server.connections) == 1
        client.requests.close()


def test_a_certificate_that_nobody_vouches_for() -> None:
    import certifi

    with serving(lambda request, served: None, tls=True) as server:
        client = Client(server.url, ca_bundle=certifi.where())
        client.receive()
        assert isinstance(client.result(), SqsUnavailable)
        client.requests.close()
