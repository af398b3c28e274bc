"""Makes a virtualenv and installs a requirements file into it: `python3 virtualenv.py .venv requirements.txt`.

`make` runs this file by its path for a clone's virtualenvs, and `queuesite up` for the embedded servers'.

It imports the standard library only, since nothing else is there yet, and runs on old versions of Python, in order to
say that they are too old. It may be killed at any moment, and run twice at once: a lock is held throughout, and a
virtualenv that does not work is made again.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from typing import Sequence, Tuple

# Not `tuple[int, ...]`, which Python 3.8 cannot evaluate.
Version = Tuple[int, ...]

OLDEST = (3, 11)
#: Longest silence while pip works, in seconds.
REPORT_SECONDS = 4.0
#: What pip said last is shown if it fails, in lines.
LAST_WORDS = 30

#: What a virtualenv has at first, before its pyvenv.cfg.
_FIRST = {"bin", "include", "lib", "lib64"}
_PROBE = "import ensurepip, sys; print('%d.%d' % sys.version_info[:2])"
_STAMP = ".installed"


class Problem(Exception):
    """What a person has to fix, in one line."""


def version_of(python: str) -> Version | None:
    """The version of an interpreter that can make virtualenvs, as (3, 11); None if it is missing or cannot."""
    try:
        done = subprocess.run([python, "-c", _PROBE], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return tuple(int(part) for part in done.stdout.decode().split("."))


def choose(candidates: Sequence[str], newest: Version | None) -> str:
    """The first of these interpreters that is new enough, and not newer than `newest` (None: no limit)."""
    found: dict[str, Version] = {}
    for python in candidates:
        version = version_of(python)
        if version and version >= OLDEST and (newest is None or version <= newest):
            return python
        if version:
            found[python] = version
    wanted = f"Python {_text(OLDEST)} " + ("or newer" if newest is None else f"to {_text(newest)}")
    if found:
        seen = ", ".join(f"{python} is {_text(version)}" for python, version in found.items())
        variable = "PYTHON" if newest is None else "SERVERS_PYTHON"
        raise Problem(f"{wanted} is needed, but {seen}; install it, or name it: {variable}=/path/to/python")
    raise Problem(
        f"{wanted} with its venv module was not found as {' or '.join(candidates)}; "
        "on Debian and Ubuntu: apt-get install python3-venv"
    )


def install(directory: str, requirements: str, candidates: Sequence[str], newest: Version | None) -> None:
    """Bring the virtualenv up to date with the requirements file; does nothing if it is."""
    name, wanted = os.path.basename(requirements), _digest(requirements)
    with _Lock(directory + ".lock", directory):
        installed = _installed(directory)
        if not _works(directory):
            _make(directory, candidates, newest)
            installed = {}
            _write_stamp(directory, installed)
        elif installed.get(name) == wanted:
            return
        _pip_install(directory, requirements)
        installed[name] = wanted
        _write_stamp(directory, installed)


def _text(version: Version) -> str:
    return ".".join(str(part) for part in version)


def _python(directory: str) -> str:
    return os.path.join(directory, "bin", "python")


def _works(directory: str) -> bool:
    """Whether it was made to its end, and its interpreter still is the system's: another version does not find pip."""
    if not os.path.exists(os.path.join(directory, _STAMP)) and not os.path.islink(directory):
        return False
    find = "import importlib.util, sys; sys.exit(importlib.util.find_spec('pip') is None)"
    try:
        return subprocess.call([_python(directory), "-c", find], stderr=subprocess.DEVNULL) == 0
    except OSError:
        return False


def is_wanted(directory: str, requirements: str) -> bool:
    """Whether there is something to install: quick, and never true for a virtualenv that others made."""
    if not os.path.exists(os.path.join(directory, _STAMP)) and os.path.exists(_python(directory)):
        return False
    return _installed(directory).get(os.path.basename(requirements)) != _digest(requirements)


def _make(directory: str, candidates: Sequence[str], newest: Version | None) -> None:
    if os.path.islink(directory):
        raise Problem(f"{directory} is a link to a virtualenv that does not work; remove the link")
    broken = os.path.lexists(directory)
    if broken and not os.path.exists(os.path.join(directory, "pyvenv.cfg")) and set(os.listdir(directory)) - _FIRST:
        raise Problem(f"{directory} exists and is not a virtualenv; remove it, or name another directory")
    command = _command(directory, candidates, newest)
    _say(f"making the virtualenv {directory}{' again, since it does not work' if broken else ''}")
    if broken:
        shutil.rmtree(directory)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        sys.stderr.write(done.stdout.decode(errors="replace"))
        raise Problem(f"{command[0]} could not make the virtualenv {directory}; the reason is above")


def _command(directory: str, candidates: Sequence[str], newest: Version | None) -> list[str]:
    """What makes the virtualenv: a Python that is there, or else uv, which finds others and can install one."""
    try:
        return [choose(candidates, newest), "-m", "venv", directory]
    except Problem:
        uv = os.environ.get("UV") or shutil.which("uv")  # `uvx` and `uv run` set the variable
        if uv is None or newest is None:
            raise
        below = f"{newest[0]}.{newest[1] + 1}"
        return [uv, "venv", "--quiet", "--seed", "--python", f">={_text(OLDEST)},<{below}", directory]


def _pip_install(directory: str, requirements: str) -> None:
    _say(f"installing {os.path.basename(requirements)} into {directory}")
    began = time.monotonic()
    options = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    said: list[str] = []
    with subprocess.Popen(
        [_python(directory), "-m", "pip", "install", *options, "-r", requirements],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as pip:
        reader = threading.Thread(target=_read, args=(pip, said), daemon=True)
        reader.start()
        while True:
            try:
                pip.wait(REPORT_SECONDS)
                break
            except subprocess.TimeoutExpired:
                _say(f"  {time.monotonic() - began:3.0f} s: {_short(said[-1]) if said else 'starting pip'}")
        reader.join()
    if pip.returncode:
        sys.stderr.write("".join(line + "\n" for line in said[-LAST_WORDS:]))
        raise Problem(f"pip could not install {requirements} into {directory}; its reason is above")


def _short(line: str) -> str:
    """A line of pip's. The one that stays longest would be a list of all packages."""
    start = "Installing collected packages: "
    return f"installing {line.count(',') + 1} packages" if line.startswith(start) else line[:100]


def _read(pip: subprocess.Popen[bytes], said: list[str]) -> None:
    assert pip.stdout is not None
    said.extend(line.decode(errors="replace").strip() for line in pip.stdout)


def _digest(requirements: str) -> str:
    """What changes when a requirements file, or one that it includes, does."""
    with open(requirements) as file:
        text = file.read()
    inner = [line.split()[1] for line in text.splitlines() if line.startswith("-r ")]
    parts = [text, *(_digest(os.path.join(os.path.dirname(requirements), name)) for name in inner)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _installed(directory: str) -> dict[str, str]:
    """The digests of what was installed, by the names of their files."""
    try:
        with open(os.path.join(directory, _STAMP)) as stamp:
            return dict(line.split() for line in stamp)
    except (OSError, ValueError):
        return {}


def _write_stamp(directory: str, installed: dict[str, str]) -> None:
    path = os.path.join(directory, _STAMP)
    with open(path + ".new", "w") as stamp:
        stamp.writelines(f"{name} {digest}\n" for name, digest in sorted(installed.items()))
    os.replace(path + ".new", path)


class _Lock:
    """A lock that the kernel frees however its holder ends."""

    def __init__(self, path: str, what: str) -> None:
        self._path = path
        self._what = what

    def __enter__(self) -> None:
        self._file = open(self._path, "w")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            _say(f"another process is installing into {self._what}; waiting for it")
            fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _say(text: str) -> None:
    print(text, flush=True)


def main() -> int:
    """Install what the command line names; 1 and a line if that cannot be done."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory")
    parser.add_argument("requirements")
    parser.add_argument("--python", action="append", help="what to make it with; the first that fits is taken")
    parser.add_argument("--program", default="make", help="the name that errors begin with")
    parser.add_argument("--newest", help="the newest version of Python that it may be made with, such as 3.13")
    options = parser.parse_args()
    newest = tuple(int(part) for part in options.newest.split(".")) if options.newest else None
    try:
        install(options.directory, options.requirements, options.python or [sys.executable], newest)
    except Problem as problem:
        sys.stderr.write(f"{options.program}: {problem}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
