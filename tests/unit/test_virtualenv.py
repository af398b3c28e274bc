"""How `make` prepares a virtualenv on a machine that has nothing but Python."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from queuesite.foundation.config import Config
from queuesite.local import installing, ports, virtualenv
from tests.conftest import Configure
from tests.support.processes import ROOT
from tests.support.waiting import eventually

SCRIPT = ROOT / "queuesite" / "local" / "virtualenv.py"


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a requirements file that installs nothing."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "needed.txt").write_text("# nothing\n")
    return tmp_path


def versions(monkeypatch: pytest.MonkeyPatch, **known: tuple[int, int]) -> None:
    monkeypatch.setattr(virtualenv, "version_of", lambda python: known.get(python))


class TestChoice:
    def test_first_that_fits_is_taken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        versions(monkeypatch, python3=(3, 14), newer=(3, 13), newest=(3, 12))

        assert virtualenv.choose(["python3", "missing", "newer", "newest"], (3, 13)) == "newer"
        assert virtualenv.choose(["python3", "newer"], None) == "python3"

    def test_versions_that_do_not_fit_are_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        versions(monkeypatch, python3=(3, 14), older=(3, 10))

        with pytest.raises(
            virtualenv.Problem, match=r"^Python 3\.11 to 3\.13 is needed, but python3 is 3\.14, older is"
        ):
            virtualenv.choose(["python3", "missing", "older"], (3, 13))

    def test_package_of_debian_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        versions(monkeypatch)

        with pytest.raises(virtualenv.Problem, match=r"not found as python3; .* apt-get install python3-venv$"):
            virtualenv.choose(["python3"], None)

    def test_real_interpreter(self) -> None:
        assert virtualenv.version_of(sys.executable) == sys.version_info[:2]
        assert virtualenv.version_of("no-such-python") is None


class TestInstall:
    @pytest.mark.long  # pip is installed, for 4 CPU-seconds, as `make test` does before its first test
    def test_half_made_one_is_made_again_and_then_left_alone(
        self, there: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """What a kill leaves: an interpreter, and pip in part."""
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", "venv"], check=True)
        [packages] = (there / "venv" / "lib").glob("python3.*/site-packages")
        (packages / "pip").mkdir()
        (packages / "pip" / "__init__.py").touch()

        virtualenv.install("venv", "needed.txt", [sys.executable], None)

        assert "making the virtualenv venv again, since it does not work" in capfd.readouterr().out
        subprocess.run(["venv/bin/python", "-m", "pip", "--version"], check=True, stdout=subprocess.DEVNULL)
        virtualenv.install("venv", "needed.txt", [sys.executable], None)
        assert capfd.readouterr().out == ""

    def test_one_whose_interpreter_was_replaced_is_made_again(
        self, there: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """After an upgrade of the system `bin/python` is another version, which looks for its packages elsewhere."""
        made: list[str] = []
        monkeypatch.setattr(virtualenv, "_make", lambda directory, candidates, newest: made.extend(candidates))
        monkeypatch.setattr(virtualenv, "_pip_install", lambda directory, requirements: None)
        pretend(there, "exit 1")
        virtualenv._write_stamp("venv", {"needed.txt": virtualenv._digest("needed.txt")})

        virtualenv.install("venv", "needed.txt", [sys.executable], None)

        assert made == [sys.executable]

    def test_changed_file_is_installed_even_if_another_includes_it(
        self, there: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (there / "outer.txt").write_text("-r needed.txt\n")
        installed: list[str] = []
        monkeypatch.setattr(virtualenv, "_works", lambda directory: True)
        monkeypatch.setattr(virtualenv, "_pip_install", lambda directory, requirements: installed.append(requirements))
        (there / "venv").mkdir()
        for text in ("", "one==1\n", "one==1\n"):
            (there / "needed.txt").write_text(text)
            virtualenv.install("venv", "outer.txt", [], None)

        assert installed == ["outer.txt", "outer.txt"]

    def test_what_is_no_virtualenv_is_not_removed(self, there: Path) -> None:
        (there / "venv").mkdir()
        (there / "venv" / "thesis.txt").touch()

        with pytest.raises(virtualenv.Problem, match=r"^venv exists and is not a virtualenv; remove it, or name"):
            virtualenv.install("venv", "needed.txt", [sys.executable], None)

        assert (there / "venv" / "thesis.txt").exists()

    def test_uv_finds_a_python_if_there_is_no_other(self, there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """As on a machine whose only Python is too new, or has no venv module."""
        versions(monkeypatch, python3=(3, 14))
        monkeypatch.setenv("UV", "/bin/uv")

        assert virtualenv._command("venv", ["python3"], (3, 13)) == [
            *("/bin/uv", "venv", "--quiet", "--seed", "--python", ">=3.11,<3.14", "venv")
        ]
        monkeypatch.delenv("UV")
        monkeypatch.setenv("PATH", "")
        with pytest.raises(virtualenv.Problem, match=r"^Python 3\.11 to 3\.13 is needed"):
            virtualenv._command("venv", ["python3"], (3, 13))

    def test_second_one_waits_for_the_first(self, there: Path) -> None:
        with (there / "venv.lock").open("w") as lock, (there / "said").open("wb") as said:
            fcntl.flock(lock, fcntl.LOCK_EX)
            second = subprocess.Popen([sys.executable, SCRIPT, "venv", "needed.txt"], stdout=said, stderr=said)
            try:
                eventually(lambda: "waiting for it" in (there / "said").read_text(), 20, "it says that it waits")
                assert not (there / "venv").exists()
            finally:
                second.kill()
                second.wait()

    def test_failure_of_pip_shows_its_reason(self, there: Path, capfd: pytest.CaptureFixture[str]) -> None:
        pretend(there, "echo no matching distribution; exit 1")

        with pytest.raises(virtualenv.Problem, match=r"^pip could not install needed\.txt into venv"):
            virtualenv._pip_install("venv", "needed.txt")

        assert "no matching distribution" in capfd.readouterr().err

    def test_long_installation_says_where_it_is(self, there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(virtualenv, "REPORT_SECONDS", 0.01)
        os.mkfifo(there / "seen")
        pretend(there, f"echo Collecting boto3; read line < {there}/seen")
        said: list[str] = []

        def say(text: str) -> None:
            if "boto3" in text and not any("boto3" in line for line in said):
                (there / "seen").write_text("go on\n")
            said.append(text)

        monkeypatch.setattr(virtualenv, "_say", say)
        virtualenv._pip_install("venv", "needed.txt")

        assert said[0] == "installing needed.txt into venv"
        assert "    0 s: Collecting boto3" in said

    def test_the_list_of_packages_is_a_number(self) -> None:
        assert virtualenv._short("Installing collected packages: urllib3, six, numpy") == "installing 3 packages"


def pretend(directory: Path, script: str) -> None:
    """A virtualenv whose Python does what the script says."""
    python = directory / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)


class TestServers:
    """What `queuesite up` does if pip installed it."""

    @pytest.fixture
    def config(self, there: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch) -> Config:
        monkeypatch.setattr(installing, "CLONE", False)
        monkeypatch.setattr(installing, "REQUIREMENTS", there / "needed.txt")
        return configure(servers_venv=there / "venv")

    @pytest.mark.long  # pip is installed, for 4 CPU-seconds, as `make test` does before its first test
    def test_they_are_installed_once_and_again_after_an_upgrade(self, config: Config, there: Path) -> None:
        step = installing.step(config)
        assert step is not None
        with step.spawn() as process:
            said = process.communicate()[0].decode()
        assert process.returncode == 0, said
        assert said.startswith(f"making the virtualenv {there}/venv\ninstalling needed.txt into {there}/venv\n")
        assert installing.step(config) is None

        (there / "needed.txt").write_text("# another version\n")
        assert installing.step(config) is not None

    def test_a_virtualenv_of_ones_own_is_left_alone(self, config: Config, there: Path) -> None:
        pretend(there, "exit 1")
        assert installing.step(config) is None

    def test_a_clone_leaves_it_to_make(self, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(installing, "CLONE", True)
        assert installing.step(config) is None


class TestPort:
    """Before anything is installed: with the standard library, from the environment or `.env`."""

    @pytest.mark.parametrize("by", ["environment", "file"])
    def test_port_that_is_taken_is_named(
        self, there: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], by: str
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            monkeypatch.delenv("ENV_FILE", raising=False)
            monkeypatch.setenv("WEB_PORT", str(port) if by == "environment" else "")
            (there / ".env").write_text(f'# my own\nexport WEB_PORT = "{port}"\n' if by == "file" else "")

            assert ports.main() == 2

        assert f"make: WEB_PORT={port}: 127.0.0.1:{port} is in use by another program" in capsys.readouterr().err
        assert ports.main() == 0

    def test_nothing_but_the_standard_library_is_needed(self) -> None:
        subprocess.run(
            [
                sys.executable,
                "-S",
                "-E",
                "-c",
                "import queuesite.local.ports, runpy; runpy.run_path('queuesite/local/virtualenv.py')",
            ],
            cwd=ROOT,
            check=True,
        )
