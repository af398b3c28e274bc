"""`up --reload`: when code has changed, each worker is replaced by a new one, in order.

A worker is asked to end only when its replacement has imported the new code. So if the code cannot be imported, the
replacement says where, and the worker goes on with the old code; and there is always one that takes messages.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from queuesite.foundation import home, processes
from queuesite.local.supervisor import Child, ChildSpec, Supervisor
from queuesite.local.watcher import CHANGED, SEPARATOR, WATCHING

#: The line that a worker prints when it has imported its handlers (`runworker --say-ready`).
READY = "handlers imported"


class Replacements:
    """Replaces workers, a step at a time; called by the one thread of the supervisor."""

    def __init__(self, supervisor: Supervisor, workers: Sequence[Child]) -> None:
        self._supervisor = supervisor
        #: By their order: each is replaced in its place.
        self._workers = list(workers)
        #: Places of those that still have the old code.
        self._outdated: list[int] = []
        self._changed: str | None = None
        self._new: Child | None = None
        self._ready = False

    def changed(self, files: str) -> None:
        """Have all workers replaced: these files have changed."""
        self._changed = files

    def step(self) -> bool:
        """Do what can be done now. Always False, since it is what the supervisor waits for."""
        if self._changed is not None:
            self._supervisor.say(f"{self._changed} changed: replacing the workers")
            self._changed = None
            self._outdated = list(range(len(self._workers)))
            if self._new is not None:  # it may have imported what is old already
                self._supervisor.retire(self._new)
                self._new = None
        if self._new is None:
            if self._outdated:
                self._begin()
        elif self._ready:
            self._finish(self._new)
        elif self._new.returncode is not None:
            self._give_up(self._new)
        return False

    def _begin(self) -> None:
        old = self._workers[self._outdated[0]]
        self._ready = False
        # If it ends before it is ready, starting it again would not help.
        self._new = self._supervisor.join(old, replace(old.spec, restart="never", screen=self._screen))

    def _screen(self) -> Callable[[str], str | None]:
        def shown(line: str) -> str | None:
            if line != READY:
                return line
            self._ready = True
            return None

        return shown

    def _finish(self, new: Child) -> None:
        place = self._outdated.pop(0)
        old, self._workers[place] = self._workers[place], new
        new.spec = replace(new.spec, restart=old.spec.restart, screen=old.spec.screen)
        self._supervisor.retire(old)
        self._supervisor.say(f"{new.spec.name} has the new code; the old process finishes what it has begun")
        self._new = None

    def _give_up(self, failed: Child) -> None:
        self._supervisor.retire(failed)
        names = ", ".join(self._workers[place].spec.name for place in self._outdated)
        self._supervisor.say(f"the new code does not start, see the error above; still with the old code: {names}")
        self._outdated.clear()
        self._new = None


def hides_ready() -> Callable[[str], str | None]:
    """A screen for the workers that are started first: nobody waits for them."""
    return lambda line: None if line == READY else line


def screen_of_changes(changed: Callable[[str], None]) -> Callable[[], Callable[[str], str | None]]:
    """A screen for the watcher: it passes changes on in place of showing them."""

    def shown(line: str) -> str | None:
        if line.startswith(CHANGED):
            changed(line.removeprefix(CHANGED))
            return None
        return "watching the code of handlers" if line == WATCHING else line

    return lambda: shown


def watcher(packages: Sequence[Path], folders: Sequence[Path], changed: Callable[[str], None]) -> ChildSpec:
    """The process that watches packages with all below them, and the files of folders; `changed` gets the names."""
    spawn = partial(
        processes.spawn,
        [sys.executable, "-P", "-m", "queuesite.local.watcher", *map(str, packages), SEPARATOR, *map(str, folders)],
        env=home.environment(os.environ),
        output=subprocess.PIPE,
    )
    return ChildSpec("reload", spawn, stop_seconds=2.0, screen=screen_of_changes(changed))
