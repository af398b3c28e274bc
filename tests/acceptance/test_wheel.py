"""The wheel in an empty virtualenv and an empty folder, as `pip install queuesite` leaves it on somebody's machine."""

from __future__ import annotations

import configparser
import os
import re
import signal
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from queuesite import __version__
from queuesite.foundation.config import get_config
from tests.support.environment import SETTINGS
from tests.support.processes import ROOT
from tests.support.servers import free_port
from tests.support.waiting import eventually

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

#: On a machine that runs other tests too.
START_SECONDS = 180.0
MESSAGES = 100
HANDLERS = """
from pathlib import Path

from queues.handlers import Message, handler


@handler("orders")
def process_order(message: Message) -> None:
    with (Path(__file__).parent / "book").open("a") as book:
        book.write(message.json()["number"] + "\\n")
"""


class Installed:
    """The wheel in a virtualenv, and the folder that its commands work in."""

    def __init__(self, wheel: Path, directory: Path) -> None:
        self.venv, self.home = directory / "venv", directory / "home"
        self.home.mkdir()
        run("uv", "venv", "--quiet", "--python", sys.executable, str(self.venv))
        install = ("uv", "pip", "install", "--quiet", "--python", str(self.venv / "bin" / "python"), str(wheel))
        # Without the network if the cache has everything.
        if run(*install, "--offline", check=False).returncode:
            run(*install)
        self.port = free_port()
        kept = {k: v for k, v in os.environ.items() if k not in SETTINGS and not k.startswith(("COVERAGE", "PYTHON"))}
        kept = {k: v for k, v in kept.items() if k not in {"DJANGO_SETTINGS_MODULE", "ENV_FILE", "QUEUESITE_HOME"}}
        self.environment = {**kept, "WEB_PORT": str(self.port), "SERVERS_VENV": str(get_config().servers_venv)}

    def files(self) -> set[str]:
        """What lies in the virtualenv, except for Python's own caches of what it has compiled."""
        return {str(path) for path in self.venv.rglob("*") if "__pycache__" not in path.parts}

    def queuesite(self, *arguments: str) -> str:
        done = run(str(self.venv / "bin" / "queuesite"), *arguments, cwd=self.home, env=self.environment)
        return done.stdout

    def page(self, path: str) -> str:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers={"Accept": "text/html"})
        try:
            with urllib.request.urlopen(request, timeout=60) as page:
                return str(page.read().decode())
        except urllib.error.HTTPError as error:
            return str(error.read().decode())


def run(
    *command: str, check: bool = True, cwd: Path = ROOT, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    program = str(Path(sys.executable).with_name("uv")) if command[0] == "uv" else command[0]
    done = subprocess.run(
        [program, *command[1:]], cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory))
    [built] = directory.iterdir()
    return built


@pytest.fixture
def installed(wheel: Path, tmp_path: Path) -> Installed:
    return Installed(wheel, tmp_path)


@pytest.fixture
def up(installed: Installed) -> Iterator[subprocess.Popen[bytes]]:
    (installed.home / "handlers.py").write_text(HANDLERS)
    for server in ("mongodb", "sqs"):
        port = installed.home / ".data" / server / "port"
        port.parent.mkdir(parents=True)
        port.write_text(str(free_port()))
    with (installed.home.parent / "log").open("wb") as log:
        process = subprocess.Popen(
            [installed.venv / "bin" / "queuesite", "up"],
            cwd=installed.home, env=installed.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    yield process
    process.kill()  # its children end with it
    process.wait()


def test_what_is_in_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as content:
        names = content.namelist()
        entries = configparser.ConfigParser()
        entries.read_string(content.read(f"queuesite-{__version__}.dist-info/entry_points.txt").decode())

    assert {name.partition("/")[0] for name in names} == {
        "queuesite",
        "queues",
        "jobs",
        f"queuesite-{__version__}.dist-info",
    }
    assert {"queuesite/templates/503.html", "queuesite/local/requirements-servers.txt"} <= set(names)
    assert entries["pytest11"]["queuesite"] == "jobs.pytest_plugin"


def test_the_whole_system_from_an_empty_folder(installed: Installed, up: subprocess.Popen[bytes]) -> None:
    before = installed.files()
    log = installed.home.parent / "log"

    def ready() -> bool:
        assert up.poll() is None, log.read_text()
        return bool(re.search(r"stop it with Ctrl-C$", log.read_text(), re.MULTILINE))

    eventually(ready, START_SECONDS, "`up` is ready")
    assert "servers are not installed" not in log.read_text()

    # A handler in the folder is found without a setting.
    installed.queuesite("sqs", "create", "orders", "--handler", "orders")
    numbers = installed.home / "numbers"
    numbers.write_text("".join(f'{{"number": "{number}"}}\n' for number in range(MESSAGES)))
    installed.queuesite("sqs", "send", "orders", "--file", str(numbers))
    book = installed.home / "book"
    wanted = {str(number) for number in range(MESSAGES)}
    eventually(
        lambda: book.exists() and set(book.read_text().split()) == wanted, START_SECONDS, "each message is handled"
    )

    # Pages, their templates and their static files come from site-packages.
    assert "qs-" in installed.page("/static/queuesite/admin.css")
    assert 'name="password"' in installed.page("/admin/login/")
    assert "Queuesite" in installed.page("/nowhere/")

    up.send_signal(signal.SIGTERM)
    assert up.wait(START_SECONDS) == 0
    assert installed.files() == before, "nothing is written into the virtualenv"
    assert {path.name for path in installed.home.iterdir()} - {"__pycache__"} == {
        ".data",
        "book",
        "handlers.py",
        "numbers",
    }
