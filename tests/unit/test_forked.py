"""A process that is forked from the template is as one that was started from nothing."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.support.processes import manage

LOOK = """
import json, os, signal, sys, threading
streams = [[s.encoding, s.errors, s.line_buffering, s.isatty()] for s in (sys.stdin, sys.stdout, sys.stderr)]
print(json.dumps({
    "environment": dict(os.environ), "directory": os.getcwd(), "arguments": sys.argv, "path": sys.path,
    "main": os.path.abspath(sys.modules["__main__"].__file__), "streams": streams,
    "signals": {s.name: repr(signal.getsignal(s)) for s in signal.valid_signals() if isinstance(s, signal.Signals)},
    "open": [n for n in range(3, 100) if os.path.exists(f"/proc/self/fd/{n}")],
    "session": os.getsid(0) == os.getpid(), "threads": threading.active_count(), "read": sys.stdin.read(),
}, sort_keys=True))
"""


def test_it_is_as_one_that_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)  # by which coverage handles SIGTERM in a true start
    seen = {}
    for from_nothing in (False, True):
        ended = manage(
            *("shell", "-v", "0", "-c", LOOK),
            env={"DATA_DIR": str(tmp_path), "MARK": "as given", "PYTHONPATH": f"{tmp_path}{os.pathsep}/elsewhere"},
            stdin="zażółć\n",
            from_nothing=from_nothing,
        )
        assert (ended.returncode, ended.stderr) == (0, "")
        seen[from_nothing] = json.loads(ended.stdout)
    assert seen[False] == seen[True]


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("raise SystemExit(7)", 7),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("raise KeyError('a bug')", 1),
    ],
)
def test_how_it_ended_is_known(program: str, code: int) -> None:
    ended = manage("shell", "-v", "0", "-c", program)

    assert ended.returncode == code
    assert ("KeyError: 'a bug'" in ended.stderr) == (code == 1)
