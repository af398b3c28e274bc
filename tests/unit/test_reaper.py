"""Nothing of a test run outlives it, even if pytest is killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil

from queuesite.foundation.processes import wait_gone
from tests.support.processes import ROOT
from tests.support.waiting import eventually

#: On a busy machine.
LONG = 60.0
#: A run that starts a process of its own and one that belongs to nobody, says their pids, and waits to be killed.
RUN = """
import os, signal, subprocess, time
from pathlib import Path
from tests.support.reaper import Reaper
directory = input()
reaper = Reaper(Path(directory))
before = subprocess.Popen(["sleep", "1000"], start_new_session=True)
os.environ["RUN"] = directory
after = subprocess.Popen(["sleep", "1000"], start_new_session=True)
after.send_signal(signal.SIGSTOP)
print(before.pid, after.pid, flush=True)
time.sleep(1000)
"""


def test_what_a_killed_run_has_started_ends_with_it(tmp_path: Path) -> None:
    directory = tmp_path / "of-the-run"
    directory.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", RUN],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as run:
        assert run.stdin is not None
        assert run.stdout is not None
        # Not as an argument: then it would itself belong to the run.
        run.stdin.write(f"{directory}\n".encode())
        run.stdin.flush()
        before, after = (psutil.Process(int(pid)) for pid in run.stdout.readline().split())
        run.kill()
    try:
        assert wait_gone(after, LONG), "a frozen process is left"
        assert before.is_running(), "what does not belong to the run has been killed"
        eventually(lambda: not directory.exists(), LONG, "its directory is gone")
    finally:
        before.kill()
