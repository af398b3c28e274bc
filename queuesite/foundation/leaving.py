"""The end of a process: without work and waits whose results nobody sees."""

from __future__ import annotations

import atexit
import gc

from pymongo.synchronous import monitor


def leave_quickly() -> None:
    """Shorten the interpreter's end. Call it last, since garbage in cycles is not collected afterwards.

    - The interpreter collects garbage once more, which takes 0.15 s of the processor with all our libraries loaded, for
      memory that the system takes back anyway. `gc.freeze` leaves nothing to look at.
    - pymongo waits for its monitors, which look up from their sleep twice a second. They are daemon threads, which
      hold nothing that must be given back, and end with the process.
    """
    gc.freeze()
    atexit.unregister(monitor._shutdown_resources)
