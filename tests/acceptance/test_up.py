"""`manage.py up`, as a person runs it: everything is a real process, and some of them are killed.

With `--reload`, code that changes is used by workers within moments, and code that is wrong is not.
"""

from __future__ import annotations

import http.cookiejar
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from queuesite.foundation.processes import wait_gone
from tests.support.living import command_line
from tests.support.processes import ROOT, manage
from tests.support.servers import free_port
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(600)

#: From the command to `ready`, and from a signal to the end, on a machine that runs other tests too.
START_SECONDS = 180.0
STOP_SECONDS = 60.0
#: Until something that was killed runs again.
MEND_SECONDS = 90.0
HANDLER = """
from pathlib import Path
from queues.handlers import handler

@handler("dev")
def dev(message):
    with Path({ledger!r}).open("a") as ledger:
        ledger.write({version!r} + message.body + "\\n")
"""


class Up:
    """A running `manage.py up`, its output in a file."""

    def __init__(self, directory: Path, *arguments: str, **settings: str) -> None:
        self.directory = directory
        self.log = directory.with_suffix(".log")
        self.port = free_port()
        self.env = {
            "MONGODB_URI": "",
            "AWS_SQS_ENDPOINT": "",
            "AWS_ACCESS_KEY_ID": "",
            "AWS_SECRET_ACCESS_KEY": "",
            "QUEUE_NAME_PREFIX": "",
            "LOG_LEVEL": "INFO",
            "LISTEN_QUEUES": "200",
            "DATA_DIR": str(directory),
            "WEB_PORT": str(self.port),
            **settings,
        }
        for server in ("mongodb", "sqs"):
            # Two tests that start at the same moment would both find the usual ports free.
            port = directory / server / "port"
            port.parent.mkdir(parents=True, exist_ok=True)
            if not port.exists():
                port.write_text(str(free_port()))
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "up", *arguments],
                cwd=ROOT,
                env={**os.environ, **self.env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._seen: dict[int, psutil.Process] = {}

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def says(self, pattern: str, seconds: float = MEND_SECONDS) -> re.Match[str]:
        def found() -> re.Match[str] | None:
            assert self.process.poll() is None, f"`up` has ended:\n{self.output[-3_000:]}"
            return re.search(pattern, self.output, re.MULTILINE)

        match = eventually(found, seconds, f"`up` says {pattern!r}")
        assert match is not None
        return match

    def wait_ready(self) -> None:
        self.says(r"^up +\| stop it with Ctrl-C$", START_SECONDS)

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        done = manage(*arguments, env=self.env)
        assert done.returncode == 0, done.stderr
        return done

    def children(self) -> list[psutil.Process]:
        """All its descendants, now; they are remembered, so that `leaves_nothing` looks for them."""
        found = psutil.Process(self.process.pid).children(recursive=True)
        self._seen.update({process.pid: process for process in found})
        return found

    def child(self, *words: str) -> psutil.Process:
        """The direct child whose command line has these words."""
        self.children()
        for process in psutil.Process(self.process.pid).children():
            line = command_line(process)
            if all(word in line for word in words):
                return process
        raise AssertionError(f"no child with {words}")

    def stop(self, number: signal.Signals) -> int:
        self.children()
        self.process.send_signal(number)
        return self.process.wait(STOP_SECONDS)

    def leaves_nothing(self) -> None:
        left = [process for process in self._seen.values() if not wait_gone(process, STOP_SECONDS)]
        assert not left

    def end(self) -> None:
        """End it whatever state a failed test left it in; its children die with it."""
        if self.process.poll() is None:
            self.children()
            self.process.kill()
            self.process.wait()
        for process in self._seen.values():
            if not wait_gone(process, STOP_SECONDS):
                process.kill()


Start = Callable[..., Up]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Up] = []

    def begin(*arguments: str, **settings: str) -> Up:
        started.append(Up(tmp_path / "data", *arguments, **settings))
        return started[-1]

    yield begin
    for up in started:
        up.end()


def test_a_whole_life(start: Start, tmp_path: Path) -> None:
    up = start(WORKER_INSTANCES="2")
    up.wait_ready()
    password = it_keeps_its_promises_at_its_start(up)
    shown = a_second_shell_needs_no_settings(up)
    what_is_killed_is_restarted(up)
    eventually(lambda: embedded_servers(up) == shown, MEND_SECONDS, "the servers are where they were")
    # ministack has forgotten its queues, since it was killed.
    up.manage("sqs", "sync")
    send_and_wait(up)
    assert_login(up.port, password)

    # Killed itself, it starts again with its data: at once, while the servers of the first may still be ending.
    up.manage("sqs", "create", "orders")
    before = addresses(up)
    up.children()
    up.process.kill()
    up.process.wait()
    code = Code(tmp_path)
    second = start("--reload", HANDLER_MODULES="dev_handlers", PYTHONPATH=code.path)
    second.wait_ready()
    up.leaves_nothing()
    assert addresses(second) == before
    names = {queue["name"] for queue in json.loads(second.manage("sqs", "list", "--json").stdout)}
    assert names == {"demo", "orders"}
    assert "created the user" not in second.output
    assert password not in second.output
    changed_code_is_followed(second, code)

    # It stops in order and leaves nothing behind. Ctrl-C in a terminal is SIGINT.
    assert second.stop(signal.SIGINT) == 0
    stopped = re.findall(r"^up +\| stopping (.*)$", second.output, re.MULTILINE)
    assert stopped[-5:] == ["web", "tasks", "worker-1", "master", "mongodb, sqs"]
    second.leaves_nothing()
    assert not (second.directory / "embedded.json").exists()
    assert "not running" in manage("showconfig", env=second.env).stdout


def it_keeps_its_promises_at_its_start(up: Up) -> str:
    """Returns the password."""
    assert f"http://127.0.0.1:{up.port}/admin/\n" in up.output
    kept = up.directory / "admin-password"
    up.says(rf"^up +\|   password  in {kept}$")
    password = kept.read_text()
    assert password not in up.output, "it is no terminal, but perhaps a log"
    # The folder and the ports are made above, open to all.
    paths = [up.directory, *(path for path in up.directory.rglob("*") if path.name != "port")]
    assert [path for path in paths if path.exists() and path.stat().st_mode & 0o077] == [], "others may read it"
    assert_no_secret_is_seen(up)
    assert_login(up.port, password)
    return password


def a_second_shell_needs_no_settings(up: Up) -> dict[str, str]:
    """Messages are sent and processed, and another `up` is refused. Returns the servers' addresses."""
    send_and_wait(up)
    shown = embedded_servers(up)
    assert shown["mongodb"].startswith("mongodb://127.0.0.1:")
    assert shown["sqs"].startswith("http://127.0.0.1:")
    second = manage("up", env=up.env)
    assert second.returncode == 2
    assert f"(process {up.process.pid}); stop it" in second.stderr
    return shown


def what_is_killed_is_restarted(up: Up) -> None:
    """Each child in turn, whose own children end with it."""
    for name, words in {
        "tasks": ("qcluster",),
        "worker-[12]": ("runworker",),
        "master": ("runmaster",),
        "web": ("runweb",),
        "mongodb": ("secantusd",),
        "sqs": ("ministack",),
    }.items():
        victim = up.child(*words)
        family = [victim, *victim.children(recursive=True)]
        victim.kill()
        up.says(rf"^up +\| {name} \(process {victim.pid}\) was killed by SIGKILL; restarting in 0\.5 s$")
        up.says(rf"^up +\| {name} .*\n(.*\n)*?up +\| starting {name}$")
        assert all(wait_gone(process, MEND_SECONDS) for process in family)


class Code:
    """A module with a handler that writes each message to a file, behind the version of the code."""

    def __init__(self, directory: Path) -> None:
        self.module = directory / "code" / "dev_handlers.py"
        self.ledger = directory / "ledger"
        self.path = os.pathsep.join(filter(None, [str(self.module.parent), os.environ.get("PYTHONPATH")]))
        self.module.parent.mkdir()
        self.change("old ")

    def change(self, version: str, *lines: str) -> None:
        draft = self.module.with_suffix(".draft")
        draft.write_text(HANDLER.format(ledger=str(self.ledger), version=version) + "".join(lines))
        draft.replace(self.module)

    def handles(self, up: Up, line: str) -> None:
        up.manage("sqs", "send", "dev", "1", "--body", line.split()[1])
        eventually(
            lambda: self.ledger.exists() and line in self.ledger.read_text().splitlines(),
            MEND_SECONDS,
            f"{line!r} was handled",
        )


def changed_code_is_followed(up: Up, code: Code) -> None:
    up.says("watching the code of handlers")
    up.manage("sqs", "create", "dev", "--handler", "dev")
    code.handles(up, "old 1")
    code.change("new ", "undefined_name\n")
    up.says(r"worker-1 +\| .*dev_handlers .*NameError: name 'undefined_name' is not defined \(\S+dev_handlers.py:9\)")
    up.says("the new code does not start, see the error above; still with the old code: worker-1")
    code.handles(up, "old 2")
    code.change("new ")
    up.says("worker-1 has the new code")
    eventually(lambda: up.output.count("worker_stopped") == 1, MEND_SECONDS, "the old worker has left")
    code.handles(up, "new 3")


def addresses(up: Up) -> list[str]:
    """The addresses of the servers that it started, as it said at its start."""
    return re.findall(r"embedded servers: (.*)$", up.output, re.MULTILINE)


def test_it_can_be_stopped_before_it_is_ready(start: Start) -> None:
    up = start()
    up.says(r"preparing the databases", START_SECONDS)
    assert up.stop(signal.SIGTERM) == 0
    up.leaves_nothing()
    assert "Traceback" not in up.output


# --- what it refuses ---


def test_a_web_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = manage("up", env={"DATA_DIR": str(tmp_path), "WEB_PORT": str(port)})
    assert done.returncode == 2
    assert f"WEB_PORT={port}: 127.0.0.1:{port} is in use by another program" in done.stderr
    assert not done.stdout, "nothing was started"


def test_a_web_host_that_is_not_ours(tmp_path: Path) -> None:
    done = manage("up", env={"DATA_DIR": str(tmp_path), "WEB_HOST": "192.0.2.1"})
    assert done.returncode == 2
    assert "192.0.2.1:8000 cannot be bound" in done.stderr


def test_servers_that_are_not_installed(tmp_path: Path) -> None:
    env = {"MONGODB_URI": "", "DATA_DIR": str(tmp_path / "data"), "SERVERS_VENV": str(tmp_path / "none")}
    done = manage("up", env={**env, "WEB_PORT": str(free_port())})
    assert done.returncode == 1
    assert "run `make servers`" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_server_that_does_not_answer(tmp_path: Path) -> None:
    env = {"MONGODB_URI": "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=200", "STARTUP_WAIT_SECONDS": "1"}
    done = manage("up", env={**env, "DATA_DIR": str(tmp_path), "WEB_PORT": str(free_port())})
    assert done.returncode == 1
    assert "MongoDB at mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=200 does not answer" in done.stdout
    # Servers that are configured are used, and none is started beside them.
    assert "embedded" not in done.stdout + done.stderr
    assert not (tmp_path / "mongodb").exists()
    assert not (tmp_path / "sqs").exists()
    assert "preparing the databases failed; see the error above" in done.stderr


def test_a_relational_database_that_does_not_open(tmp_path: Path) -> None:
    missing = tmp_path / "no" / "such" / "site.sqlite3"
    env = {"DATABASE_URL": f"sqlite:///{missing}", "DATA_DIR": str(tmp_path / "data"), "WEB_PORT": str(free_port())}
    done = manage("up", env=env)
    assert done.returncode == 1
    assert f"Django's database sqlite:///{missing} failed: unable to open database file" in done.stdout
    assert "Traceback" not in done.stdout


def embedded_servers(up: Up) -> dict[str, str]:
    """The addresses that `showconfig` gives."""
    shown: dict[str, str] = json.loads(up.manage("showconfig", "--json").stdout)["embeddedServers"]
    return shown


def send_and_wait(up: Up) -> None:
    """Send messages to the demo queue and wait until they are processed, as the workers' log says and SQS confirms."""

    def processed() -> int:
        return sum(map(int, re.findall(r"job_completed .*\bmessages=(\d+)", up.output)))

    before = processed()
    up.manage("sqs", "send", "demo", "8")
    eventually(lambda: processed() >= before + 8, MEND_SECONDS, "the messages are processed")
    eventually(lambda: size(up, "demo") == 0, MEND_SECONDS, "the demo queue is drained")


def size(up: Up, name: str) -> int:
    """How many messages a queue still holds."""
    counts = json.loads(up.manage("sqs", "size", name, "--json").stdout)
    return int(counts["visible"]) + int(counts["inFlight"]) + int(counts["delayed"])


def assert_no_secret_is_seen(up: Up) -> None:
    """No generated secret is in the output, but for the password's making, or in the arguments of any process."""
    arguments = " ".join(map(command_line, up.children()))
    assert "runweb" in arguments
    for path in ("secret_key", "sqs/access-key", "admin-password"):
        secret = (up.directory / path).read_text()
        assert secret not in arguments
        assert secret not in up.output or path == "admin-password"


def assert_login(port: int, password: str) -> None:
    """The admin lets in the user whose password was printed."""
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(cookies := http.cookiejar.CookieJar()))
    address = f"http://127.0.0.1:{port}/admin/login/?next=/admin/"

    def answers() -> bool:
        try:
            with opener.open(address, timeout=10) as page:
                page.read()
        except OSError:
            return False
        return True

    eventually(answers, MEND_SECONDS, "the web server answers")
    token = next(cookie.value for cookie in cookies if cookie.name == "csrftoken")
    form = urllib.parse.urlencode({"username": "admin", "password": password, "csrfmiddlewaretoken": token})
    with opener.open(address, form.encode(), timeout=30) as page:
        page.read()
        assert page.url == f"http://127.0.0.1:{port}/admin/"
