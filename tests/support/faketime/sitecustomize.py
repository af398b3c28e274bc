"""Read by every Python that has this directory in PYTHONPATH: those whose clock libfaketime moves.

libfaketime 0.9.10 answers EINVAL to `clock_nanosleep` with a moment of the monotonic clock when it leaves that clock
alone, and Python sleeps by that call. A select without files sleeps as long.
"""

from __future__ import annotations

import select
import time
from typing import SupportsIndex


def _sleep(seconds: float | SupportsIndex, /) -> None:
    select.select([], [], [], float(seconds))


time.sleep = _sleep
