"""Running `manage.py` as a real process."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: No command may take longer than this, in seconds: the slowest waits 5 s for a server that is not there.
LONGEST = 60.0


def manage(
    *args: str, env: Mapping[str, str] | None = None, stdin: str | None = None, longest: float = LONGEST
) -> subprocess.CompletedProcess[str]:
    """Run `manage.py` with the test's environment and `env`. Its input is no terminal."""
    return subprocess.run(
        [sys.executable, "manage.py", *args],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        input=stdin if stdin is not None else "",
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=longest,
        check=False,
    )


def manage_on_terminal(*args: str, types: str) -> subprocess.CompletedProcess[str]:
    """Run `manage.py` with a terminal as its input, on which somebody types `types`."""
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
