"""Limits the memory of a process with many threads."""

from __future__ import annotations

import ctypes

#: glibc's name for the number of its heaps (malloc.h).
_M_ARENA_MAX = -8


def share_one_heap() -> bool:
    """Make all threads of this process use one heap. Returns whether the C library supports it.

    glibc gives each thread a heap of its own, which keeps what the thread's largest request took: a dozen requests of
    4 MiB, one after another, left 200 MB behind. Python's threads take turns anyway, so sharing a heap costs nothing.
    """
    try:
        return bool(ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1))
    except (OSError, AttributeError, TypeError):  # another C library, which has no such option
        return False
