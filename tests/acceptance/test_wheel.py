"""The wheel in an empty virtualenv and an empty folder, where docs/tutorial.md is followed word for word."""

from __future__ import annotations

import configparser
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from queuesite import __version__
from queuesite.foundation.config import get_config
from tests.support import tutorial
from tests.support.environment import SETTINGS
from tests.support.processes import ROOT
from tests.support.servers import free_port
from tests.support.waiting import eventually

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

#: On a machine that runs other tests too.
WAIT_SECONDS = 180.0
#: Commands of the tutorial that the fixtures have carried out.
DONE = {"mkdir shop", "cd shop", "python3 -m venv .venv", ". .venv/bin/activate", "pip install queuesite"}
DONE |= {"pip install pytest"}
#: Commands that change nothing: the tutorial's reader would repeat them too.
READING = re.compile(r"queuesite sqs (size|attempts) ")
#: How the tutorial's reader finds the admin.
ADDRESS = "http://127.0.0.1:8000/"


class Installed:
    """The wheel in a virtualenv, and the folder that its commands work in."""

    def __init__(self, wheel: Path, directory: Path) -> None:
        self.venv, self.home = directory / "venv", directory / "home"
        self.home.mkdir()
        run("uv", "venv", "--quiet", "--python", sys.executable, str(self.venv))
        what = (str(wheel), f"pytest=={pytest.__version__}")
        install = ("uv", "pip", "install", "--quiet", "--python", str(self.venv / "bin" / "python"), *what)
        # Without the network if the cache has everything.
        if run(*install, "--offline", check=False).returncode:
            run(*install)
        self.port = free_port()
        kept = {k: v for k, v in os.environ.items() if k not in SETTINGS and not k.startswith(("COVERAGE", "PYTHON"))}
        kept = {k: v for k, v in kept.items() if k not in {"DJANGO_SETTINGS_MODULE", "ENV_FILE", "QUEUESITE_HOME"}}
        path = os.pathsep.join((str(self.venv / "bin"), kept["PATH"]))
        self.environment = {
            **kept,
            "PATH": path,
            "WEB_PORT": str(self.port),
            "SERVERS_VENV": str(get_config().servers_venv),
            "PYTEST_ADDOPTS": "-p no:cacheprovider",
        }
        cookies = urllib.request.HTTPCookieProcessor()
        self._browser, self._cookies = urllib.request.build_opener(cookies), cookies.cookiejar

    def files(self) -> set[str]:
        """What lies in the virtualenv, except for Python's own caches of what it has compiled."""
        return {str(path) for path in self.venv.rglob("*") if "__pycache__" not in path.parts}

    def shell(self, command: str) -> list[str]:
        return run("sh", "-c", command, cwd=self.home, env=self.environment).stdout.splitlines()

    def page(self, path: str, **form: str) -> str:
        """A page as a browser gets it, or the answer to a form."""
        data = urllib.parse.urlencode(form).encode() if form else None
        address = f"http://127.0.0.1:{self.port}"
        request = urllib.request.Request(address + path, data, {"Accept": "text/html", "Origin": address})
        try:
            with self._browser.open(request, timeout=60) as page:
                return str(page.read().decode())
        except urllib.error.HTTPError as error:
            return str(error.read().decode())

    def log_in(self, password: str) -> str:
        login = "/admin/login/?next=/admin/queues/orders/"
        assert 'name="password"' in self.page(login)
        [token] = [cookie.value for cookie in self._cookies if cookie.name == "csrftoken"]
        return self.page(login, username="admin", password=password, csrfmiddlewaretoken=str(token))


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


class Reader:
    """Follows the tutorial, step by step, in an empty folder."""

    def __init__(self, installed: Installed) -> None:
        self.installed = installed
        self.log = installed.home.parent / "log"
        self.up: subprocess.Popen[bytes] | None = None

    def follow(self, step: tutorial.Step) -> None:
        match step:
            case tutorial.File(name, text):
                (self.installed.home / name).write_text(text)
            case tutorial.Shown(lines):
                for line in lines:
                    self.sees(line.replace(ADDRESS, f"http://127.0.0.1:{self.installed.port}/"))
            case tutorial.Command("queuesite up --reload", ()):
                self.start()
            case tutorial.Command(text, output):
                if text not in DONE:
                    self.runs(text, output)

    def start(self) -> None:
        for server in ("mongodb", "sqs"):
            port = self.installed.home / ".data" / server / "port"
            port.parent.mkdir(parents=True)
            port.write_text(str(free_port()))
        with self.log.open("wb") as log:
            self.up = subprocess.Popen(
                [self.installed.venv / "bin" / "queuesite", "up", "--reload"],
                cwd=self.installed.home,
                env=self.installed.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def sees(self, wanted: str) -> None:
        def seen() -> bool:
            assert self.up is not None
            assert self.up.poll() is None, self.log.read_text()
            return any(tutorial.fits(line, wanted) for line in self.log.read_text().splitlines())

        eventually(seen, WAIT_SECONDS, f"`up` prints {wanted!r}")

    def runs(self, command: str, wanted: tuple[str, ...]) -> None:
        def printed() -> bool:
            output = self.installed.shell(command)
            fit = len(output) == len(wanted) and all(map(tutorial.fits, output, wanted))
            assert fit or READING.match(command), f"{command}: {output}"
            return fit

        eventually(printed, WAIT_SECONDS, f"`{command}` prints {wanted}")

    def stop(self) -> None:
        """As Ctrl-C does."""
        assert self.up is not None
        self.up.send_signal(signal.SIGINT)
        assert self.up.wait(WAIT_SECONDS) == 0, self.log.read_text()


@pytest.fixture
def reader(installed: Installed) -> Iterator[Reader]:
    made = Reader(installed)
    yield made
    if made.up is not None:
        made.up.kill()  # its children end with it
        made.up.wait()


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


def test_the_tutorial_in_an_empty_folder(installed: Installed, reader: Reader) -> None:
    before = installed.files()
    # Beside ours lie those of the packages that we need.
    own, _, others = "\n".join(installed.shell("queuesite --help")).partition("Commands of Django and its packages:")
    assert "  qcluster " in own
    assert "axes_reset" in others
    for step in tutorial.steps():
        reader.follow(step)

    log = reader.log.read_text()
    assert "servers are not installed" not in log
    # Each is a line, although handlers print in several threads.
    assert {f"order {number} goes to 2 Main Street" for number in range(1, 101)} <= set(re.findall(r"order \d.*", log))

    # Pages, their templates and their static files come from site-packages.
    assert "qs-" in installed.page("/static/queuesite/admin.css")
    assert "Queuesite" in installed.page("/nowhere/")
    page = installed.log_in((installed.home / ".data" / "admin-password").read_text().strip())
    assert "Redrive" in page
    assert "KeyError" in installed.page("/admin/failures/")

    reader.stop()
    assert installed.files() == before, "nothing is written into the virtualenv"
    assert {path.name for path in installed.home.iterdir()} - {"__pycache__"} == {
        ".data",
        "handlers.py",
        "send.py",
        "test_handlers.py",
    }
