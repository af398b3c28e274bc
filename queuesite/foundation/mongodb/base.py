"""django-mongodb-backend, imported without its search for GDAL, the library behind geographical fields.

We have no such fields. On a machine without GDAL, Django looks for it three times under twelve names, and for each
starts gcc, ld and ldconfig: 108 processes, which cost every process of ours 0.4 s of CPU at its first query.
"""

from __future__ import annotations

import ctypes.util
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _without_libraries() -> Iterator[None]:
    """No C library is found by name. Code that needs one is imported again, and finds it, when it is used."""
    find = ctypes.util.find_library
    ctypes.util.find_library = lambda name: None
    try:
        yield
    finally:
        ctypes.util.find_library = find


with _without_libraries():
    from django_mongodb_backend.base import DatabaseWrapper

__all__ = ["DatabaseWrapper"]
