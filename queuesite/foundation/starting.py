"""The start of a process: imports without a search for garbage.

While libraries are imported, the interpreter looks through all objects again and again for garbage that imports hardly
make. It takes a quarter of the time of a start.
"""

from __future__ import annotations

import gc


def begin() -> None:
    """Collect no garbage until `begun`. Call it before the libraries are imported."""
    gc.disable()


def begun() -> None:
    """Collect garbage from now on, among what is made from now on.

    What was imported stays to the end. No collection looks at it again, so processes that are forked share its memory.
    """
    gc.freeze()
    gc.enable()
