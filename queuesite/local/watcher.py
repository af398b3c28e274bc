"""Prints a line for each change of Python files in the places that it is given; `up --reload` runs it.

Its arguments are directories that are watched with all below them, `--`, and directories whose own files are watched.
It is a process of its own because watchfiles has threads, and `up` must not have any.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial

from watchfiles import PythonFilter, watch

from queuesite.foundation.threads import supervised

#: What its lines begin with.
CHANGED = "changed: "
WATCHING = "watching"
#: Between the two kinds of directories.
SEPARATOR = "--"
#: Changes within this time are one: an editor writes several files, or one in several steps.
DEBOUNCE_MS = 200


def main(arguments: Sequence[str]) -> None:
    """Watch until the process is ended."""
    print(WATCHING, flush=True)  # noqa: T201
    middle = arguments.index(SEPARATOR)
    kinds = ((arguments[:middle], True), (arguments[middle + 1 :], False))
    threads = [supervised("watcher", partial(_report, *kind)) for kind in kinds if kind[0]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _report(directories: Sequence[str], recursive: bool) -> None:
    for changes in watch(*directories, watch_filter=PythonFilter(), debounce=DEBOUNCE_MS, step=50, recursive=recursive):
        print(CHANGED + ", ".join(sorted({path for _, path in changes})), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
