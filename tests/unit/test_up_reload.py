"""Replacing workers when their code changes, with shells as workers, and what is watched."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from queues.handlers import code
from queuesite.foundation import home
from queuesite.foundation.errors import InvalidInput
from queuesite.foundation.processes import spawn
from queuesite.local import reloading
from queuesite.local.reloading import READY, Replacements
from queuesite.local.supervisor import Child, ChildSpec, Supervisor
from tests.support.processes import ROOT
from tests.unit.test_up_supervisor import LONG, Screen, pid_of, screen, supervisor, until

if TYPE_CHECKING:
    from tests.conftest import Configure

__all__ = ["screen", "supervisor"]


class Workers:
    """Two shells that run the script in a file, which stands for the code of their handlers."""

    GOOD = f"trap 'echo bye; exit 0' TERM; echo {READY}; echo up; while :; do sleep 0.05; done"

    def __init__(self, directory: Path, supervisor: Supervisor, screen: Screen) -> None:
        self.screen = screen
        self.script = directory / "worker.sh"
        self.write(self.GOOD)
        self.supervisor = supervisor

    def write(self, script: str) -> None:
        draft = self.script.with_suffix(".new")
        draft.write_text(script)
        draft.replace(self.script)

    def start(self) -> tuple[list[Child], Replacements]:
        start = partial(spawn, ["sh", str(self.script)], env=os.environ, output=subprocess.PIPE)
        specs = (ChildSpec(f"w{n}", start, LONG, screen=reloading.hides_ready) for n in (1, 2))
        children = self.supervisor.start(*specs)
        until(self.supervisor, lambda: {"w1: up", "w2: up"} <= set(self.screen.lines))
        return children, Replacements(self.supervisor, children)


@pytest.fixture
def workers(tmp_path: Path, supervisor: Supervisor, screen: Screen) -> Workers:
    return Workers(tmp_path, supervisor, screen)


def after(replacements: Replacements, condition: Callable[[], bool]) -> Callable[[], bool]:
    def reached() -> bool:
        replacements.step()
        return condition()

    return reached


def test_workers_are_replaced_in_order_and_none_is_missing_meanwhile(
    supervisor: Supervisor, screen: Screen, workers: Workers
) -> None:
    with supervisor:
        old, replacements = workers.start()
        before = [psutil.Process(pid_of(child)) for child in old]
        replacements.changed("shop/handlers.py")
        until(supervisor, after(replacements, lambda: not any(child.running for child in old)))

        new = [child for child in supervisor.children if child.running]
        assert [child.spec.name for child in new] == ["w1", "w2"]
        assert [child.spec.restart for child in new] == ["always", "always"]
        assert not any(process.is_running() for process in before)
        said = [line for line in screen.lines if line.startswith("up: ")]
        assert said == [
            "up: shop/handlers.py changed: replacing the workers",
            "up: w1 has the new code; the old process finishes what it has begun",
            "up: w2 has the new code; the old process finishes what it has begun",
        ]
        assert not screen.shows(READY)()
        # They are supervised as the first ones were.
        os.kill(pid_of(new[0]), signal.SIGKILL)
        until(supervisor, screen.shows("up: starting w1"))


def test_code_that_does_not_start_leaves_the_old(supervisor: Supervisor, screen: Screen, workers: Workers) -> None:
    with supervisor:
        old, replacements = workers.start()
        workers.write("echo 'handlers.py:3: NameError'; exit 2")
        replacements.changed("handlers.py")
        until(supervisor, after(replacements, screen.shows("still with the old code: w1, w2")))
        assert screen.shows("w1: handlers.py:3: NameError")()
        until(supervisor, lambda: supervisor.children == old)
        assert all(child.running and child.retired_at is None for child in old)

        workers.write(workers.GOOD)
        replacements.changed("handlers.py")
        until(supervisor, after(replacements, lambda: not any(child.running for child in old)))
        assert sum(child.running for child in supervisor.children) == 2


def test_a_change_during_the_change_begins_again(supervisor: Supervisor, screen: Screen, workers: Workers) -> None:
    with supervisor:
        old, replacements = workers.start()
        workers.write("echo hangs; while :; do sleep 0.05; done")
        replacements.changed("one.py")
        until(supervisor, after(replacements, screen.shows("w1: hangs")))
        workers.write(workers.GOOD)
        replacements.changed("two.py")
        until(supervisor, after(replacements, lambda: not any(child.running for child in old)))
        until(supervisor, lambda: len(supervisor.children) == 2)


def test_an_old_worker_that_does_not_end_is_killed(supervisor: Supervisor, screen: Screen) -> None:
    with supervisor:
        script = "trap '' TERM; echo deaf; while :; do sleep 0.05; done"
        deaf = partial(spawn, ["sh", "-c", script], env=os.environ, output=subprocess.PIPE)
        (child,) = supervisor.start(ChildSpec("deaf", deaf, stop_seconds=0.2))
        until(supervisor, screen.shows("deaf: deaf"))
        process = psutil.Process(pid_of(child))
        supervisor.retire(child)
        until(supervisor, lambda: not child.running)

        assert not process.is_running()
        assert screen.shows("up: deaf did not end within 0.2 s: killing it")()
        assert supervisor.children == []


def test_the_watcher_reports_changes(tmp_path: Path, supervisor: Supervisor, screen: Screen) -> None:
    package, folder = tmp_path / "shop", tmp_path / "home"
    package.mkdir()
    (folder / "below").mkdir(parents=True)
    seen: list[str] = []
    numbers = itertools.count()
    with supervisor:
        supervisor.start(reloading.watcher([package], [folder], seen.append))
        until(supervisor, screen.shows("reload: watching the code of handlers"))
        (package / "notes.txt").write_text("no code")
        (folder / "below" / "other.py").write_text("not a module of the folder")

        def noticed() -> bool:
            # Again and again: the kernel may begin to watch after the line above.
            for file in (package / "handlers.py", folder / "tasks.py"):
                file.write_text(f"x = {next(numbers)}")
            return {str(package / "handlers.py"), str(folder / "tasks.py")} <= set(seen)

        until(supervisor, noticed)
    assert str(folder / "below" / "other.py") not in seen


def test_what_is_watched(tmp_path: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    packages = ("reload_shop", "reload_shop/deep", "team/reload_own", "team/.venv/lib/reload_library")
    for name in packages:
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "__init__.py").touch()
    (tmp_path / "single").mkdir()
    (tmp_path / "single" / "reload_single.py").touch()
    for path in (tmp_path, tmp_path / "single"):
        monkeypatch.syspath_prepend(str(path))
    monkeypatch.setenv(home.VARIABLE, str(tmp_path / "team"))
    config = configure(handler_modules="reload_shop.deep.handlers,reload_single", task_modules="reload_shop.tasks")

    found = code.watched(config)
    assert set(found.packages) == {
        *(ROOT / name for name in ("jobs", "queues", "queuesite")),
        tmp_path / "reload_shop",
        tmp_path / "team" / "reload_own",
    }
    assert found.folders == (tmp_path / "single", tmp_path / "team")
    assert "reload_shop.deep" not in sys.modules
    with pytest.raises(InvalidInput, match=r"HANDLER_MODULES: there is no module 'nowhere.handlers'"):
        code.watched(configure(handler_modules="nowhere.handlers"))
