"""Finding the embedded servers of a running `up`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from queuesite.foundation import addresses
from queuesite.foundation.addresses import (
    Running,
    mongodb_address,
    record_path,
    recorded,
    running,
    sqs_address,
    write_record,
)
from queuesite.foundation.config import Config
from tests.conftest import Configure

URI = "mongodb://127.0.0.1:1/"


@pytest.fixture
def config(configure: Configure, tmp_path: Path) -> Config:
    """No address configured."""
    return configure(mongodb_uri=None, aws_sqs_endpoint=None, data_dir=tmp_path / "data")


def dead_process() -> int:
    """The pid of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_recorded_server_that_runs_is_found(config: Config) -> None:
    write_record(config, {"mongodb": Running.of(URI, os.getpid()), "sqs": Running.of("http://x", os.getpid())})

    assert running(config, "mongodb") == mongodb_address(config) == URI
    assert running(config, "sqs") == sqs_address(config) == "http://x"
    assert [path.name for path in record_path(config).parent.iterdir()] == ["embedded.json"]


def test_record_is_replaced_as_a_whole(config: Config) -> None:
    write_record(config, {"mongodb": Running.of(URI, os.getpid())})
    write_record(config, {"sqs": Running.of("http://x", os.getpid())})

    assert set(recorded(config)) == {"sqs"}


def test_configured_address_goes_before_a_running_server(config: Config, configure: Configure) -> None:
    write_record(config, {"mongodb": Running.of(URI, os.getpid()), "sqs": Running.of("http://x", os.getpid())})
    given = configure(mongodb_uri="mongodb://given/", aws_sqs_endpoint="http://given")

    assert mongodb_address(given) == "mongodb://given/"
    assert sqs_address(given) == "http://given"


def test_no_record(config: Config) -> None:
    assert recorded(config) == {}
    assert mongodb_address(config) is None
    assert sqs_address(config) is None


def test_server_whose_process_has_ended_is_absent(config: Config) -> None:
    write_record(config, {"mongodb": Running(URI, dead_process(), 1.0)})

    assert recorded(config)["mongodb"].address == URI
    assert running(config, "mongodb") is None


def test_server_whose_pid_another_process_has_now_is_absent(config: Config) -> None:
    now = Running.of(URI, os.getpid())
    write_record(config, {"mongodb": Running(URI, os.getpid(), now.created - 3_600)})

    assert running(config, "mongodb") is None


def test_zombie_is_absent(config: Config) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    entry = Running.of(URI, process.pid)
    assert entry.alive()
    assert process.stdin is not None
    process.stdin.close()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and is not reaped

    assert not entry.alive()
    process.wait()


@pytest.mark.parametrize(
    "content", ["", "no json", "[]", '{"mongodb": 1}', '{"mongodb": {"address": "x"}}', '"text"', "null", "\udcff"]
)
def test_broken_record_counts_as_none(config: Config, content: str) -> None:
    path = record_path(config)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content.encode("utf-8", "surrogateescape"))

    assert recorded(config) == {}


def test_errors_say_how_to_start_them() -> None:
    for error, setting in ((addresses.no_mongodb(), "MONGODB_URI"), (addresses.no_sqs(), "AWS_SQS_ENDPOINT")):
        assert "make up" in str(error)
        assert setting in str(error)
        assert error.exit_code == 1
