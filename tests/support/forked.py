"""Processes of `manage.py` that are forked from the template (`tests.support.template`)."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from queuesite.foundation.config import BASE_DIR

#: Variables with these prefixes affect how the interpreter or the loader starts.
_FOR_THE_INTERPRETER = ("PYTHON", "LD_", "LC_", "LANG", "FAKETIME")
#: The one of these that the template heeds.
_PATH = "PYTHONPATH"
#: Whether coverage.py measures this run, some of whose tests exempt their processes.
_MEASURED = any(name.startswith("COVERAGE_") for name in os.environ)


class Forked:
    """A process in a session of its own, with the part of `subprocess.Popen` that tests use."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], streams: Sequence[int]) -> None:
        self.args = list(arguments)
        self.returncode: int | None = None
        self._answers, theirs = os.pipe()
        self._text = b""
        self._reading = threading.Lock()
        try:
            _template().ask(arguments, environment, [*streams, theirs])
        finally:
            os.close(theirs)
        self._read_until(1, None)
        self.pid = int(self._text.split()[0])

    def __del__(self) -> None:
        os.close(self._answers)

    def poll(self) -> int | None:
        """The exit code, negative for a signal's number; None while it runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code. Raises `subprocess.TimeoutExpired` if it still runs after so many seconds."""
        with self._reading:
            if self.returncode is None:
                self._read_until(2, timeout)
                self.returncode = int(self._text.split()[1])
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        if self.poll() is None:
            with suppress(ProcessLookupError):  # the template reaps it before it reports its end
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _read_until(self, lines: int, timeout: float | None) -> None:
        waiting = select.poll()
        waiting.register(self._answers, select.POLLIN)
        while self._text.count(b"\n") < lines:
            if not waiting.poll(None if timeout is None else timeout * 1000):
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
            part = os.read(self._answers, 100)
            assert part, "the template of manage.py has ended"
            self._text += part


class _Template:
    """The template of this test process, which ends with it."""

    def __init__(self) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            # If coverage.py measured the template, its forks would be measured twice.
            environment = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_")}
            self.environment = _for_the_interpreter(environment)
            self._process = subprocess.Popen(
                [
                    *(sys.executable, str(Path(__file__).with_name("template.py"))),
                    *(str(BASE_DIR), str(theirs.fileno()), *(["measured"] if _MEASURED else [])),
                ],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def ask(self, arguments: Sequence[str], environment: Mapping[str, str], descriptors: Sequence[int]) -> None:
        request = {"arguments": list(arguments), "directory": str(BASE_DIR), "environment": dict(environment)}
        socket.send_fds(self._requests, [json.dumps(request).encode()], descriptors)


@cache
def _template() -> _Template:
    return _Template()


def can_fork(environment: Mapping[str, str]) -> bool:
    """Whether a fork is as good as a start in this environment: no variable in it is for the interpreter itself."""
    return _for_the_interpreter(environment) == _template().environment


def _for_the_interpreter(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value for name, value in environment.items() if name.startswith(_FOR_THE_INTERPRETER) and name != _PATH
    }
