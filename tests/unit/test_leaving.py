"""The end of a process."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.processes import ROOT

_SCRIPT = """
import sys, gc
from pymongo.synchronous import monitor
from queuesite.foundation.leaving import leave_quickly
monitor._shutdown_monitors = lambda: print("waits")
if sys.argv[1] == "quickly":
    leave_quickly()
print("collects" if len(gc.get_objects()) > 1_000 else "collects nothing")
"""


@pytest.mark.parametrize(("how", "said"), [("slowly", "collects\nwaits\n"), ("quickly", "collects nothing\n")])
def test_nothing_is_waited_for_or_collected(how: str, said: str) -> None:
    done = subprocess.run([sys.executable, "-c", _SCRIPT, how], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout == said
