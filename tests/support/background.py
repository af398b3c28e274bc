"""`manage.py` commands that run while a test runs."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from queuesite.foundation.processes import signal_all
from tests.support.processes import ROOT, start
from tests.support.waiting import eventually

#: How long a process may take to shut down, in seconds.
ORDERLY = 40.0


class Background:
    """A running `manage.py` command; its output, both streams together, goes to a file."""

    def __init__(
        self,
        directory: Path,
        name: str,
        *args: str,
        env: Mapping[str, str] | None = None,
        from_nothing: bool = False,
        clone: Path = ROOT,
    ) -> None:
        self.name = name
        #: Its settings.
        self.environment = dict(env or {})
        self.log = directory / f"{name}.log"
        with self.log.open("ab") as output, Path(os.devnull).open("rb") as nothing:
            self.process = start(
                *args,
                env={"LOG_LEVEL": "INFO", **self.environment},
                streams=(nothing.fileno(), output.fileno(), output.fileno()),
                from_nothing=from_nothing,
                clone=clone,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def says(self, text: str, seconds: float = 45.0) -> str:
        """Wait until the process has written `text`."""
        return eventually(lambda: self.output() if text in self.output() else "", seconds, f"{self.name} says {text!r}")

    def descendants(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self, seconds: float = ORDERLY) -> int:
        """Shut it down. Returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(ORDERLY)


@contextmanager
def running(*processes: Background) -> Iterator[None]:
    """End these processes and their children after the test, and show their output if it failed."""
    try:
        yield
    except BaseException:
        show(processes)
        raise
    finally:
        end(processes)


def show(processes: Sequence[Background]) -> None:
    """Print the end of what they have written."""
    for process in processes:
        print(f"--- {process.name} ---", process.output()[-4000:], sep="\n")  # noqa: T201


def end(processes: Sequence[Background]) -> None:
    """End those that run in order, all at the same time, and what they started."""
    children = {process: process.descendants() for process in processes if process.process.poll() is None}
    for process in children:
        process.send(signal.SIGCONT)
        process.send(signal.SIGTERM)
    for process, descendants in children.items():
        try:
            process.process.wait(ORDERLY)
        except subprocess.TimeoutExpired:
            signal_all(descendants, signal.SIGKILL)
            process.kill()
