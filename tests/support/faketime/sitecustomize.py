"""Imported by every Python with this directory in PYTHONPATH: those whose clock libfaketime moves.

libfaketime 0.9.10 fails with EINVAL if `clock_nanosleep` gets a time of the monotonic clock and does not fake that
clock, and Python sleeps by that call. A select without files sleeps as long.
"""

from __future__ import annotations

import select
import time
from typing import SupportsIndex


def _sleep(seconds: float | SupportsIndex, /) -> None:
    select.select([], [], [], float(seconds))


time.sleep = _sleep
