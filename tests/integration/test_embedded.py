"""The embedded servers as `up` and the tests use them: real processes in directories of their own."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import boto3
import psutil
import pytest
from pymongo import MongoClient

from queuesite import embedded
from queuesite.addresses import Running, recorded, running, write_record
from queuesite.config import get_config
from queuesite.embedded import EmbeddedServer, Name
from queuesite.errors import Conflict, MongoUnavailable, ServerError, SqsUnavailable
from queuesite.processes import wait_gone
from tests.conftest import Configure
from tests.support.servers import free_port
from tests.support.waiting import eventually

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


def put(server: EmbeddedServer) -> None:
    """Leave something in a server."""
    if server.name == "mongodb":
        with MongoClient[dict[str, object]](server.address) as mongodb:
            mongodb.test.things.insert_one({"_id": 1})
    else:
        sqs = boto3.client("sqs", endpoint_url=server.address, region_name="us-east-1")
        url = sqs.create_queue(QueueName="kept")["QueueUrl"]
        sqs.send_message(QueueUrl=url, MessageBody="kept")


def has_it(server: EmbeddedServer) -> bool:
    """Whether that is still there."""
    if server.name == "mongodb":
        with MongoClient[dict[str, object]](server.address) as mongodb:
            return mongodb.test.things.find_one({"_id": 1}) is not None
    sqs = boto3.client("sqs", endpoint_url=server.address, region_name="us-east-1")
    url = sqs.get_queue_url(QueueName="kept")["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
    return attributes["Attributes"]["ApproximateNumberOfMessages"] == "1"


def freeze(server: EmbeddedServer) -> None:
    """Stop a server so that not even SIGTERM reaches it."""
    server.process.send_signal(signal.SIGSTOP)
    # Until it is stopped, a SIGTERM would be delivered first.
    eventually(lambda: psutil.Process(server.pid).status() == psutil.STATUS_STOPPED, 10, "the server is stopped")


@pytest.mark.parametrize("name", NAMES)
def test_data_outlives_a_stop_and_the_port_stays(start: Start, name: Name) -> None:
    first = start(name)
    first.wait_ready()
    put(first)
    first.stop()
    assert first.process.returncode is not None
    again = start(name, port=None)
    again.wait_ready()
    assert again.port == first.port, "queue URLs name the port, so it must stay"
    assert has_it(again)


@pytest.mark.parametrize("name", NAMES)
def test_two_servers_never_share_a_directory(start: Start, name: Name) -> None:
    first = start(name)
    with pytest.raises(Conflict, match=rf"process {first.pid}\) uses .* already; .*kill {first.pid}"):
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


# --- leftovers of an `up` that was killed ---


def test_a_leftover_server_is_ended(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "LEFTOVER_SECONDS", 0.0)
    config = get_config()
    server = start("sqs")
    server.wait_ready()
    write_record(config, {"sqs": Running.of(server.address, server.pid)})
    assert running(config, "sqs") == server.address
    embedded.end_leftovers(config)
    assert server.process.wait(10) == 0, "by SIGTERM, so that it keeps its state"
    assert running(config, "sqs") is None


def test_a_leftover_server_that_does_not_end_is_refused(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "LEFTOVER_SECONDS", 0.0)
    monkeypatch.setattr(embedded, "STOP_SECONDS", 0.2)
    config = get_config()
    server = start("sqs")
    freeze(server)
    write_record(config, {"sqs": Running.of(server.address, server.pid)})
    with pytest.raises(Conflict, match=f"does not end; end it by `kill -9 {server.pid}`"):
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


def test_a_reused_pid_is_not_a_leftover(start: Start) -> None:
    config = get_config()
    bystander = psutil.Process()
    write_record(config, {"sqs": Running("http://127.0.0.1:1", bystander.pid, bystander.create_time() - 100)})
    embedded.end_leftovers(config)
    assert not wait_gone(bystander, 0)
