"""The embedded servers as `up` and the tests use them: real processes in directories of their own."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from email.message import Message as HTTPMessage
from http.client import HTTPConnection
from pathlib import Path
from struct import pack
from typing import TYPE_CHECKING, get_args

import boto3
import psutil
import pytest
from botocore.config import Config as BotoConfig
from botocore.exceptions import ClientError, ReadTimeoutError
from bson import encode
from pymongo import MongoClient

from queuesite.foundation.addresses import Running, access_key, recorded, running, write_record
from queuesite.foundation.config import get_config
from queuesite.foundation.errors import Conflict, MongoUnavailable, ServerError, SqsUnavailable
from queuesite.foundation.processes import wait_gone
from queuesite.local import embedded
from queuesite.local.embedded import EmbeddedServer, Name
from tests.conftest import Configure
from tests.support.servers import free_port
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient

NAMES: tuple[Name, ...] = get_args(Name)
UNAVAILABLE = {"mongodb": MongoUnavailable, "sqs": SqsUnavailable}

Start = Callable[..., EmbeddedServer]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a server in a directory of this test."""
    started = []

    def begin(name: Name, **options: object) -> EmbeddedServer:
        options = {"directory": tmp_path / name, "port": free_port(), **options}
        server = embedded.start(name, get_config(), **options)  # type: ignore[arg-type]
        started.append(server)
        return server

    yield begin
    for server in started:
        server.stop()


def client_of(server: EmbeddedServer, key: str | None = None) -> SQSClient:
    """boto3's client with the server's own access key, or another."""
    keys = dict.fromkeys(("aws_access_key_id", "aws_secret_access_key"), key or access_key(server.directory))
    client: SQSClient = boto3.client("sqs", endpoint_url=server.address, region_name="us-east-1", **keys)  # type: ignore[call-overload]
    return client


def put(server: EmbeddedServer) -> None:
    """Leave something in a server."""
    if server.name == "mongodb":
        with MongoClient[dict[str, object]](server.address) as mongodb:
            mongodb.test.things.insert_one({"_id": 1})
    else:
        sqs = client_of(server)
        url = sqs.create_queue(QueueName="kept")["QueueUrl"]
        sqs.send_message(QueueUrl=url, MessageBody="kept")


def has_it(server: EmbeddedServer) -> bool:
    """Whether that is still there."""
    if server.name == "mongodb":
        with MongoClient[dict[str, object]](server.address) as mongodb:
            return mongodb.test.things.find_one({"_id": 1}) is not None
    sqs = client_of(server)
    url = sqs.get_queue_url(QueueName="kept")["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
    return attributes["Attributes"]["ApproximateNumberOfMessages"] == "1"


def freeze(server: EmbeddedServer) -> None:
    """Stop a server so that not even SIGTERM reaches it."""
    server.process.send_signal(signal.SIGSTOP)
    # Until it is stopped, a SIGTERM would be delivered first.
    eventually(lambda: psutil.Process(server.pid).status() == psutil.STATUS_STOPPED, 30, "the server is stopped")


@pytest.mark.parametrize("name", NAMES)
def test_data_outlives_a_stop_and_the_port_stays(start: Start, name: Name) -> None:
    first = start(name)
    first.wait_ready()
    put(first)
    first.stop()
    assert first.process.returncode is not None
    paths = [first.directory, *first.directory.rglob("*")]
    assert [path for path in paths if path.stat().st_mode & 0o077] == [], "others may read it"
    again = start(name, port=None)
    again.wait_ready()
    assert again.port == first.port, "queue URLs name the port, so it must stay"
    assert has_it(again)


@pytest.mark.parametrize("name", NAMES)
def test_two_servers_never_share_a_directory(start: Start, name: Name) -> None:
    first = start(name)
    with pytest.raises(Conflict, match=rf"process {first.pid}\) already uses .*; .*kill {first.pid}"):
        start(name)
    first.process.kill()
    first.process.wait()
    start(name).wait_ready()


@pytest.mark.parametrize("name", NAMES)
def test_a_server_that_ended_is_reported_with_its_last_words(start: Start, name: Name) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = start(name, port=port)
        with pytest.raises(UNAVAILABLE[name], match=rf"127.0.0.1:{port} ended with exit code 1: .*already in use"):
            server.wait_ready()


@pytest.mark.parametrize("name", NAMES)
def test_another_server_on_the_port_is_not_taken_for_ours(start: Start, name: Name, tmp_path: Path) -> None:
    first = start(name)
    first.wait_ready()
    late = start(name, port=first.port, directory=tmp_path / "other")
    with pytest.raises(UNAVAILABLE[name]):
        late.wait_ready()


@pytest.mark.parametrize("name", NAMES)
def test_a_server_that_hangs_is_given_up_and_killed(start: Start, name: Name) -> None:
    server = start(name, output=subprocess.DEVNULL)
    freeze(server)
    with pytest.raises(UNAVAILABLE[name], match=r"does not answer after 0\.3 s$"):
        server.wait_ready(0.3)
    server.stop(0.3)
    assert server.process.returncode == -signal.SIGKILL


def test_the_usual_port_gives_way(start: Start) -> None:
    usual = embedded._KINDS["sqs"].default_port
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", usual))
            taken.listen()
        except OSError:
            pass  # somebody else has it, which is as good
        server = start("sqs", port=None)
        assert server.port != usual
        server.wait_ready()


def test_servers_that_are_not_installed(configure: Configure, start: Start, tmp_path: Path) -> None:
    configure(servers_venv=tmp_path / "none")
    with pytest.raises(ServerError, match=r"not installed in .*/none .*; run `make servers`"):
        start("mongodb")


def test_the_environment_does_not_reach_the_servers(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    # ministack would listen with TLS, and check credentials.
    monkeypatch.setenv("USE_SSL", "1")
    monkeypatch.setenv("AUTH", "true")
    start("sqs").wait_ready()


# --- who gets in ---


@pytest.fixture
def sqs_with_a_message(start: Start) -> EmbeddedServer:
    server = start("sqs")
    server.wait_ready()
    put(server)
    return server


def ask(server: EmbeddedServer, method: str, path: str, headers: dict[str, str]) -> tuple[int, HTTPMessage]:
    """The status and the headers of an answer."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, answer.headers


#: As a page would take a message from the queue that `put` makes.
RECEIVE = "/?Action=ReceiveMessage&QueueUrl=/000000000000/kept&VisibilityTimeout=600"


#: What a page may send without asking, as it asks before it sends more, and what others might try.
UNWANTED: list[tuple[str, str, dict[str, str]]] = [
    ("POST", "/", {"Origin": "https://evil.example", "Content-Type": "text/plain"}),
    ("POST", "/", {"Origin": "null"}),
    ("GET", RECEIVE, {}),  # an <img>, which tells no origin
    ("GET", RECEIVE, {"Sec-Fetch-Site": "cross-site"}),
    ("POST", RECEIVE, {"Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/sqs/aws4_request"}),
    ("POST", RECEIVE, {"Authorization": "AWS4-HMAC-SHA256 Credential="}),
    ("OPTIONS", "/", {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}),
    ("GET", "/_ministack/health", {"Origin": "https://evil.example"}),
    ("POST", "/_ministack/reset", {}),
    ("GET", "/", {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
                  "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}),
]  # fmt: skip


def test_a_web_page_gets_nothing_of_the_sqs(sqs_with_a_message: EmbeddedServer) -> None:
    for method, path, headers in UNWANTED:
        status, answered = ask(sqs_with_a_message, method, path, headers)
        assert status == 403, (method, path, headers)
        assert not [name for name in answered if name.lower().startswith("access-control")]
    assert has_it(sqs_with_a_message), "the message was taken"


def test_the_right_key_does_not_help_a_browser(sqs_with_a_message: EmbeddedServer) -> None:
    key = access_key(sqs_with_a_message.directory)
    signed = {"Authorization": f"AWS4-HMAC-SHA256 Credential={key}/20260101/us-east-1/sqs/aws4_request"}
    browser = {**signed, "Origin": "https://evil.example"}
    assert ask(sqs_with_a_message, "POST", RECEIVE, browser)[0] == 403
    assert ask(sqs_with_a_message, "GET", "/?Action=ListQueues", signed)[0] == 200


def test_another_key_is_refused_as_sqs_refuses_it(sqs_with_a_message: EmbeddedServer) -> None:
    with pytest.raises(ClientError) as caught:
        client_of(sqs_with_a_message, "test").list_queues()
    assert caught.value.response["Error"]["Code"] == "InvalidClientTokenId"


def test_a_receive_whose_client_has_gone_takes_no_message(start: Start) -> None:
    server = start("sqs")
    server.wait_ready(60)
    client = client_of(server)
    url = client.create_queue(QueueName="abandoned")["QueueUrl"]
    impatient = boto3.client(
        "sqs",
        region_name="us-east-1",
        endpoint_url=server.address,
        aws_access_key_id=access_key(server.directory),
        aws_secret_access_key="any",
        config=BotoConfig(read_timeout=0.5, retries={"total_max_attempts": 1}),
    )
    with pytest.raises(ReadTimeoutError):
        impatient.receive_message(QueueUrl=url, WaitTimeSeconds=20)
    impatient.close()
    client.send_message(QueueUrl=url, MessageBody="kept")
    received = client.receive_message(QueueUrl=url, WaitTimeSeconds=5, AttributeNames=["ApproximateReceiveCount"])
    assert [message["Attributes"]["ApproximateReceiveCount"] for message in received["Messages"]] == ["1"]


def test_a_web_page_gets_nothing_of_mongodb(start: Start) -> None:
    """A page may send any bytes, but behind the first line of HTTP, which reads as a length that no message has."""
    server = start("mongodb")
    server.wait_ready()
    command = encode({"insert": "things", "documents": [{"_id": 1}], "$db": "test"})
    message = pack("<iiii", 21 + len(command), 1, 0, 2013) + pack("<iB", 0, 0) + command
    for first in (b"POST / HTTP/1.1", b"GET / HTTP/1.1", b"OPTIONS * HTTP/1.1"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as page:
            page.sendall(first + b"\r\nHost: 127.0.0.1\r\n\r\n" + message)
            with suppress(ConnectionResetError):
                assert page.recv(1) == b"", "it hangs up"
    assert not has_it(server)
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as program:
        program.sendall(message)
        program.recv(1)
    assert has_it(server), "the message itself is a good one"


def test_no_secret_is_in_the_arguments_of_a_process(sqs_with_a_message: EmbeddedServer) -> None:
    arguments = " ".join(psutil.Process(sqs_with_a_message.pid).cmdline())
    assert access_key(sqs_with_a_message.directory) not in arguments


# --- leftovers of an `up` that was killed ---


def test_a_leftover_server_is_ended(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "LEFTOVER_SECONDS", 0.0)
    config = get_config()
    server = start("sqs")
    server.wait_ready()
    write_record(config, {"sqs": Running.of(server.address, server.pid)})
    assert running(config, "sqs") == server.address
    embedded.end_leftovers(config)
    assert server.process.wait(30) == 0, "by SIGTERM, so that it keeps its state"
    assert running(config, "sqs") is None


def test_a_leftover_server_that_does_not_end_is_refused(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "LEFTOVER_SECONDS", 0.0)
    monkeypatch.setattr(embedded, "STOP_SECONDS", 0.2)
    config = get_config()
    server = start("sqs")
    freeze(server)
    write_record(config, {"sqs": Running.of(server.address, server.pid)})
    with pytest.raises(Conflict, match=f"does not end; end it with `kill -9 {server.pid}`"):
        embedded.end_leftovers(config)
    server.process.kill()


def test_a_record_of_a_dead_server_counts_as_absent(start: Start) -> None:
    config = get_config()
    server = start("sqs")
    write_record(config, {"sqs": Running.of(server.address, server.pid)})
    server.stop()
    assert recorded(config)["sqs"].pid == server.pid
    assert running(config, "sqs") is None
    embedded.end_leftovers(config)


def test_a_dead_server_whose_directory_is_not_free_yet_is_waited_for() -> None:
    config = get_config()
    directory = config.data_dir / "sqs"
    directory.mkdir(parents=True, exist_ok=True)
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    bystander = psutil.Process()
    write_record(config, {"sqs": Running("http://127.0.0.1:1", bystander.pid, bystander.create_time() - 100)})
    freed: list[str] = []

    def free() -> None:
        freed.append("by the last of its threads")
        os.close(lock)

    thread = threading.Timer(0.2, free)
    thread.start()
    embedded.end_leftovers(config)
    assert freed
    thread.join()


def test_a_reused_pid_is_not_a_leftover(start: Start) -> None:
    config = get_config()
    bystander = psutil.Process()
    write_record(config, {"sqs": Running("http://127.0.0.1:1", bystander.pid, bystander.create_time() - 100)})
    embedded.end_leftovers(config)
    assert not wait_gone(bystander, 0)
