"""The tests are collected once, by a process from which the workers of pytest-xdist are forked.

Otherwise each worker imports everything and collects thousands of tests for itself, which takes several seconds of CPU.
Here each shares what was imported, and gets an environment, databases and temporary directories of its own when it is
forked. A worker that cannot be forked, since the collection failed or a worker has crashed, is started as usual.

execnet starts `entering.py` in place of Python, which passes its streams on to the collector, where they become those
of a fork that does what execnet wanted of Python.
"""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import _pytest.config
import pytest

from tests.support.environment import DIRECTORY, renew_worker

if TYPE_CHECKING:
    import execnet

#: What the collector's own interpreter runs; like a worker of pytest-xdist, it has no main module.
_COLLECT = "import sys; sys.path[:] = {path!r}; from tests.support.collected_once import collect; collect({order!r})"


def begin(arguments: Sequence[str], specs: Sequence[execnet.XSpec], directory: Path) -> subprocess.Popen[bytes] | None:
    """Start the collector for workers of these specs, which will be forked from it. One worker needs none.

    Only on Linux: elsewhere a fork of a process with so much in it is not safe, or there is no `pidfd_open`.
    """
    if sys.platform != "linux" or len(specs) < 2 or not all(spec.popen and spec.python is None for spec in specs):
        return None
    path = directory / "collector"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(len(specs))
        order = json.dumps({"arguments": list(arguments), "workers": len(specs), "listener": listener.fileno()})
        collector = subprocess.Popen(
            [sys.executable, "-c", _COLLECT.format(path=sys.path, order=order)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
        )
    enter = [sys.executable, "-S", "-E", str(Path(__file__).with_name("entering.py")), str(path)]
    for spec in specs:
        spec.python = shlex.join(enter)
    return collector


def collect(order: str) -> None:
    """Collect the tests, and fork a worker for each that enters. Returns only in workers, at their end."""
    wanted: dict[str, Any] = json.loads(order)
    try:
        with socket.socket(fileno=wanted["listener"]) as listener:
            session = _collected(wanted["arguments"])
            streams: list[int] = []
            for _ in range(wanted["workers"]):
                if streams := _fork(listener):
                    break
        while not streams:
            os.wait()
    except BaseException:  # the workers that are still to come start as usual, and tell what is wrong
        os._exit(1)
    _be_worker(session, streams)


def _fork(listener: socket.socket) -> list[int]:
    """Fork a worker. Returns its streams in the worker, and nothing in the collector."""
    entered, _ = listener.accept()
    with entered:
        _, streams, _, _ = socket.recv_fds(entered, 1, 3)
        if not (pid := os.fork()):
            return streams
        entered.sendall(str(pid).encode())
    for stream in streams:
        os.close(stream)
    return []


def _collected(arguments: Sequence[str]) -> pytest.Session:
    """What a worker of pytest-xdist does, until it has collected."""
    config: Any = _pytest.config._prepareconfig(list(arguments), None)
    from xdist import remote  # pytest rewrites its plugins, so none may be imported before

    remote.setup_config(config, None)
    config.workerinput = {"workerid": "collector"}
    session = pytest.Session.from_config(config)
    session.exitstatus = pytest.ExitCode.OK
    config._do_configure()
    config.hook.pytest_sessionstart(session=session)
    config.hook.pytest_collection(session=session)
    assert not session.testsfailed, "not everything could be collected"
    assert threading.active_count() == 1, "a fork has one thread only"
    # What is captured goes to a file that the forks would share.
    config.pluginmanager.getplugin("capturemanager").stop_global_capturing()
    return session


def _be_worker(session: pytest.Session, streams: Sequence[int]) -> None:
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    session.config.pluginmanager.register(_Resumed(session))
    # What execnet wants of Python: pytest-xdist's code, which asks pytest for a configuration and runs its main hook.
    setattr(_pytest.config, "_prepareconfig", lambda *_: session.config)  # noqa: B010 (it has another signature)
    sys.argv = ["-c"]
    exec("import sys; exec(eval(sys.stdin.readline()))", {"__name__": "__main__"})


class _Resumed:
    """Goes on from the collected session, where pytest's main function would begin a new one."""

    def __init__(self, session: pytest.Session) -> None:
        self._session = session
        self._before = {*session.config.pluginmanager.get_plugins(), self}

    def pytest_cmdline_main(self, config: Any) -> int:
        (worker,) = config.pluginmanager.get_plugins() - self._before
        config._tmp_path_factory._given_basetemp = Path(config.option.basetemp)
        renew_worker(os.environ, config.workerinput["workerid"], Path(os.environ[DIRECTORY]))
        config.pluginmanager.getplugin("capturemanager").start_global_capturing()
        worker.pytest_sessionstart(self._session)
        worker.pytest_collection()
        worker.pytest_collection_finish(self._session)
        try:
            self._session.exitstatus = self._run(config)
        finally:
            config.hook.pytest_sessionfinish(session=self._session, exitstatus=self._session.exitstatus)
            config._ensure_unconfigure()
        return int(self._session.exitstatus)

    def _run(self, config: Any) -> pytest.ExitCode:
        try:
            config.hook.pytest_runtestloop(session=self._session)
        except self._session.Failed:
            return pytest.ExitCode.TESTS_FAILED
        except (KeyboardInterrupt, pytest.exit.Exception):
            config.hook.pytest_keyboard_interrupt(excinfo=pytest.ExceptionInfo.from_current())
            return pytest.ExitCode.INTERRUPTED
        except BaseException:
            config.notify_exception(pytest.ExceptionInfo.from_current(), config.option)
            return pytest.ExitCode.INTERNAL_ERROR
        return pytest.ExitCode.TESTS_FAILED if self._session.testsfailed else pytest.ExitCode.OK
