"""The embedded servers: SecantusDB as MongoDB and ministack as SQS, each a process with a directory of its own.

They serve development, demos and tests on 127.0.0.1. The SQS accepts only one generated access key (see
`ministack_guard`); MongoDB has no password, and no browser speaks its protocol. A server holds a lock on its directory
for as long as it lives (it inherits the descriptor, so the kernel frees it however it ends): two servers never share
one.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import os
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from queuesite.foundation import processes
from queuesite.foundation.addresses import access_key, recorded
from queuesite.foundation.config import Config
from queuesite.foundation.errors import Conflict, MongoUnavailable, QueuesiteError, ServerError, SqsUnavailable
from queuesite.foundation.home import CLONE
from queuesite.foundation.logs import get_logger
from queuesite.foundation.private import touch_private

log = get_logger(__name__)

Name = Literal["mongodb", "sqs"]

HOST = "127.0.0.1"
#: Time for ministack to write its state, with slack for a busy machine; it loses everything new if it is killed.
STOP_SECONDS = 15.0
#: How long the servers of a killed `up` may take to end on their own; SecantusDB takes 2 s.
LEFTOVER_SECONDS = 3.0


@dataclass(frozen=True)
class _Kind:
    """How the servers differ. `script` is the script that the virtualenv's Python runs; if empty, `program` runs."""

    label: str
    program: str
    script: tuple[str, ...]
    default_port: int
    unavailable: type[ServerError]
    arguments: Callable[[int, Path], list[str]]
    environment: Callable[[int, Path], dict[str, str]]
    address: Callable[[int], str]
    answers: Callable[[int], bool]


def _mongodb_arguments(port: int, directory: Path) -> list[str]:
    # Without this option it reads a secantusd.toml in the working or home directory.
    config = directory / "secantusd.toml"
    config.touch(mode=0o600)
    storage = str(directory / "storage")
    return [
        *("--config", str(config), "--host", HOST, "--port", str(port), "--storage-path", storage),
        *("--sync-on-commit", "--log-level", "WARNING"),
    ]


def _mongodb_address(port: int) -> str:
    # No retryable writes: their ledger makes each write five times slower after ten thousand writes.
    return f"mongodb://{HOST}:{port}/?directConnection=true&retryWrites=false&w=1"


def _mongodb_answers(port: int) -> bool:
    try:
        with MongoClient[dict[str, object]](_mongodb_address(port), serverSelectionTimeoutMS=1_000) as client:
            client.admin.command("ping")
    except PyMongoError:
        return False
    return True


def _sqs_environment(port: int, directory: Path) -> dict[str, str]:
    temporary = directory / "tmp"
    temporary.mkdir(mode=0o700, exist_ok=True)
    return {
        "QUEUESITE_ACCESS_KEY": access_key(directory),
        "SERVICES": "sqs",
        "GATEWAY_PORT": str(port),
        "BIND_HOST": HOST,
        "MINISTACK_HOST": HOST,  # the host of the queue URLs that it gives out
        "PERSIST_STATE": "1",
        "STATE_DIR": str(directory / "state"),
        "TMPDIR": str(temporary),
        "LOG_LEVEL": "WARNING",
        # Otherwise it would listen for these services unasked, and remove containers that it once started.
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "DOCKER_HOST": "unix:///nonexistent",
    }


def _sqs_answers(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=1)
    try:
        connection.request("GET", "/_ministack/health")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


_KINDS: Mapping[Name, _Kind] = {
    "mongodb": _Kind(
        label="MongoDB",
        program="secantusd-py",
        script=(),
        default_port=27_117,
        unavailable=MongoUnavailable,
        arguments=_mongodb_arguments,
        environment=lambda port, directory: {},
        address=_mongodb_address,
        answers=_mongodb_answers,
    ),
    "sqs": _Kind(
        label="SQS",
        program="ministack",
        # -P: no module of ours may shadow one that it imports.
        script=("-P", str(Path(__file__).with_name("ministack_guard.py"))),
        default_port=4_599,
        unavailable=SqsUnavailable,
        arguments=lambda port, directory: [],
        environment=_sqs_environment,
        address=lambda port: f"http://{HOST}:{port}",
        answers=_sqs_answers,
    ),
}


class EmbeddedServer:
    """A server that this process started. `address` is what MONGODB_URI or AWS_SQS_ENDPOINT would be."""

    def __init__(
        self, name: Name, process: subprocess.Popen[bytes], port: int, directory: Path, log_path: Path | None
    ) -> None:
        self.name = name
        self.process = process
        self.port = port
        self.directory = directory
        self.address = _KINDS[name].address(port)
        self._log_path = log_path

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def is_ready(self) -> bool:
        """Whether it answers. Raises `MongoUnavailable` or `SqsUnavailable` if it has ended."""
        if (code := self.process.poll()) is not None:
            raise _KINDS[self.name].unavailable(f"{self._title} {processes.ending(code)}{self._last_words()}")
        # Another program may have taken the port since it was found free, and would answer instead.
        return self._listens() and _KINDS[self.name].answers(self.port)

    def wait_ready(self, timeout: float = 30) -> None:
        """Wait until it answers. Raises `MongoUnavailable` or `SqsUnavailable` if it ends or `timeout` passes."""
        deadline = time.monotonic() + timeout
        while not self.is_ready():
            if time.monotonic() >= deadline:
                raise _KINDS[self.name].unavailable(
                    f"{self._title} does not answer after {timeout:g} s{self._last_words()}"
                )
            time.sleep(0.05)

    def stop(self, timeout: float = STOP_SECONDS) -> None:
        """Send SIGTERM, and SIGKILL after `timeout` seconds, which costs ministack everything since its last stop."""
        processes.stop(self.process, timeout)

    @property
    def _title(self) -> str:
        return f"the embedded {_KINDS[self.name].label} server at {HOST}:{self.port}"

    def _listens(self) -> bool:
        try:
            sockets = psutil.Process(self.pid).net_connections(kind="tcp4")
        except psutil.Error:
            return False
        return any(s.status == psutil.CONN_LISTEN and s.laddr.port == self.port for s in sockets)

    def _last_words(self) -> str:
        if self._log_path is None:
            return ""
        lines = [line.strip() for line in self._log_path.read_text(errors="replace").splitlines() if line.strip()]
        return f": {' / '.join(lines[-3:])[-500:]} (from {self._log_path})" if lines else f"; {self._log_path} is empty"


def start(
    name: Name,
    config: Config,
    *,
    directory: Path,
    port: int | None = None,
    output: processes.Output | None = None,
) -> EmbeddedServer:
    """Start a server that keeps its data in `directory`; `wait_ready` returns when it answers.

    If `port` is None, it gets the first free one of: the port that it last had in this directory, its usual port, any
    port. If `output` is None, its output replaces `server.log` in the directory. It ends with the thread that started
    it (see `spawn`). Raises `ServerError` if the servers are not installed, and `Conflict` if another server uses the
    directory.
    """
    kind = _KINDS[name]
    program = config.servers_venv / "bin" / kind.program
    if not program.exists():
        raise ServerError(
            f"the embedded servers are not installed in {config.servers_venv} (no {kind.program}); "
            f"run `{'make servers' if CLONE else 'queuesite up'}`"
        )
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        stack.callback(os.close, lock)
        _take(lock, kind, directory)
        chosen = port if port is not None else _free_port(directory, kind.default_port)
        log_path = directory / "server.log" if output is None else None
        for path in filter(None, (directory / "port", log_path)):
            touch_private(path)
        sink = stack.enter_context(log_path.open("wb")) if log_path is not None else output
        assert sink is not None
        process = processes.spawn(
            [*_command(kind, program), *kind.arguments(chosen, directory)],
            env={**_base_environment(), **kind.environment(chosen, directory)},
            output=sink,
            inherit=[lock],
        )
        os.pwrite(lock, f"{process.pid:<10}".encode(), 0)
    (directory / "port").write_text(str(chosen))
    return EmbeddedServer(name, process, chosen, directory, log_path)


def end_leftovers(config: Config) -> None:
    """End the servers of an earlier `up` that was killed, so that their directories are free.

    The caller holds the lock of DATA_DIR, so no other `up` can own them. Raises `Conflict` if one does not end.
    """
    for name, entry in recorded(config).items():
        if entry.alive():
            with contextlib.suppress(psutil.NoSuchProcess):
                _end_leftover(name, psutil.Process(entry.pid))
        _wait_unlocked(config.data_dir / name)


def _end_leftover(name: str, leftover: psutil.Process) -> None:
    # On Linux the kernel signalled it when its `up` died, so it may be ending already.
    if processes.wait_gone(leftover, LEFTOVER_SECONDS):
        return
    log.warning("leftover_server_ended", server=name, pid=leftover.pid)
    leftover.terminate()
    if not processes.wait_gone(leftover, STOP_SECONDS):
        raise Conflict(
            f"the {name} server of an earlier `up` (process {leftover.pid}) does not end; "
            f"end it with `kill -9 {leftover.pid}` and try again"
        )


def _wait_unlocked(directory: Path) -> None:
    """Wait at most LEFTOVER_SECONDS until nobody holds the lock of a directory whose server has ended.

    On a busy machine, threads of a killed process outlive its first one, and its open files with them.
    """
    try:
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    deadline = time.monotonic() + LEFTOVER_SECONDS
    try:
        while time.monotonic() < deadline:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                time.sleep(0.05)
    finally:
        os.close(lock)


def _command(kind: _Kind, program: Path) -> list[str | Path]:
    return [program.with_name("python"), *kind.script] if kind.script else [program]


def _base_environment() -> dict[str, str]:
    # Not our whole environment: ministack reads variables with names as common as AUTH, USE_SSL and LOG_LEVEL.
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"PYTHONUNBUFFERED": "1"}


def _take(lock: int, kind: _Kind, directory: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
        raise Conflict(
            f"an embedded {kind.label} server (process {pid}) already uses {directory}; "
            f"stop the program that started it, or end it with `kill {pid}`"
        ) from None


def _free_port(directory: Path, default: int) -> int:
    candidates = [default, 0]
    with contextlib.suppress(OSError, ValueError):
        candidates.insert(0, int((directory / "port").read_text()))
    for port in candidates:
        with socket.socket() as probe:
            # The servers set this too; without it, a port that was in use a moment ago would count as taken.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError, OverflowError):
                probe.bind((HOST, port))
                return int(probe.getsockname()[1])
    raise QueuesiteError(f"no port is free on {HOST}; end a program that listens there")
