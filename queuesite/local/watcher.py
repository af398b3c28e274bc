"""Prints a line for each change of Python files below the directories that it is given; `up --reload` runs it.

It is a process of its own because watchfiles has threads, and `up` must not have any.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from watchfiles import PythonFilter, watch

#: What its lines begin with.
CHANGED = "changed: "
WATCHING = "watching"
#: Changes within this time are one: an editor writes several files, or one in several steps.
DEBOUNCE_MS = 200


def main(directories: Sequence[str]) -> None:
    """Watch until the process is ended."""
    print(WATCHING, flush=True)  # noqa: T201
    for changes in watch(*directories, watch_filter=PythonFilter(), debounce=DEBOUNCE_MS, step=50):
        print(CHANGED + ", ".join(sorted({path for _, path in changes})), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
