"""A minute of everything at once, with the same faults in the same order each time."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.processes import ROOT

SEED = 20261124


@pytest.mark.long
@pytest.mark.timeout(420)
def test_a_minute_of_chaos() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tests.chaos", "--minutes", "1", "--seed", str(SEED)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    print(run.stdout, run.stderr, sep="\n")  # noqa: T201
    assert run.returncode == 0, run.stdout.rpartition("BROKEN")[2] or run.stderr[-2_000:]
    assert "every promise was kept" in run.stdout
