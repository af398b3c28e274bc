"""Runs `manage.py` as a process of its own."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.forked import Forked, can_fork

ROOT = Path(__file__).resolve().parents[2]
#: Most seconds that a command may take. The slowest waits 5 s for a server that does not exist.
LONGEST = 60.0

#: By which a process that coverage.py measures tells those that it starts to do the same.
_COVERAGE = "COVERAGE_PROCESS_CONFIG"

Process = Forked | subprocess.Popen[bytes]


@contextmanager
def unmeasured() -> Iterator[None]:
    """Start processes that coverage.py does not measure.

    Measuring doubles the start of each of hundreds of processes, and lines are what the other tests are to cover.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(_COVERAGE, raising=False)
        yield


def start(
    *args: str,
    env: Mapping[str, str] | None = None,
    streams: tuple[int, int, int],
    from_nothing: bool = False,
    clone: Path = ROOT,
) -> Process:
    """Start `manage.py` in a session of its own, with the test's environment and `env`.

    It is forked from the template, which costs a third of a start, unless the test is about the start (`from_nothing`)
    or the environment changes how the interpreter itself starts. `clone` has another version of the code, which is
    not measured.
    """
    environment = {**os.environ, **(env or {})}
    if clone != ROOT:
        environment = {name: value for name, value in environment.items() if not name.startswith("COVERAGE")}
    elif not from_nothing and can_fork(environment):
        return Forked(["manage.py", *args], environment, streams)
    stdin, stdout, stderr = streams
    return subprocess.Popen(
        [sys.executable, "manage.py", *args],
        cwd=clone,
        env=environment,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
    )


def manage(
    *args: str,
    env: Mapping[str, str] | None = None,
    stdin: str = "",
    longest: float = LONGEST,
    from_nothing: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run `manage.py` to its end. None of its streams is a terminal."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(stdin.encode())
        given.seek(0)
        process = start(*args, env=env, streams=(given.fileno(), out.fileno(), err.fileno()), from_nothing=from_nothing)
        try:
            code = process.wait(longest)
        except BaseException:
            process.kill()
            process.wait()
            raise
        said = []
        for stream in (out, err):
            stream.seek(0)
            said.append(stream.read().decode().replace("\r\n", "\n"))
    return subprocess.CompletedProcess(process.args, code, *said)


def manage_on_terminal(*args: str, types: str) -> subprocess.CompletedProcess[str]:
    """Run `manage.py` with a terminal as its input, on which `types` is typed."""
    ours, theirs = pty.openpty()
    try:
        with subprocess.Popen(
            [sys.executable, "manage.py", *args],
            cwd=ROOT,
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        ) as process:
            os.write(ours, types.encode())
            out, err = process.communicate(timeout=LONGEST)
    finally:
        os.close(theirs)
        os.close(ours)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
