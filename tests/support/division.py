"""How pytest-xdist divides the tests among its processes: by files, the longest first.

The tests of a file share servers and processes, so they stay together. A file that would outlast the rest of the run is
handed out in parts. A process takes its next part when it is about to begin the last test of the one before, so short
files at the end fill what the long ones leave.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    import pytest

#: Beginnings of the ids of tests, the longest part of a run first. What no entry fits comes after them, a file at a
#: time. The longest entry that fits a test is the one that counts.
LONG = (
    "tests/browser",
    "tests/acceptance/test_api_schema.py",
    "tests/acceptance/test_up.py::test_a_whole_life",
    "tests/acceptance/faults",  # a process that runs several of them makes one cluster for them
    "tests/acceptance/test_benchmark.py",
    "tests/acceptance/test_wheel.py",
    "tests/acceptance/test_master_worker.py",
    "tests/acceptance",
    "tests/integration/test_consumer_process.py",
    "tests/integration/test_manage.py",
    "tests/integration/test_crawl.py",
    "tests/integration/test_jobs_master.py",
    "tests/integration/test_embedded.py",
    "tests/integration/test_jobs_worker.py",
    "tests/integration/test_messages.py",
    "tests/integration/test_api_messages.py",
    "tests/integration",
)

#: Folders whose files share servers and processes too.
TOGETHER = ("tests/browser",)


def part_of(test: str) -> str:
    """The part that a test is handed out in, by its id."""
    path = test.partition("::")[0]
    if (folder := path.rpartition("/")[0]) in TOGETHER:
        return folder
    fits = [part for part in LONG if test.startswith(part) and len(part) > len(path)]
    return max(fits, key=len, default=path)


def rank(test: str) -> int:
    """Where a test's part comes in the order of `LONG`."""
    fits = [part for part in LONG if test.startswith(part)]
    return LONG.index(max(fits, key=len)) if fits else len(LONG)


def shuffle(items: list[pytest.Item], seed: str) -> None:
    """Put files, and the tests of each, into the random order of this seed; what shares servers stays together."""
    random = Random(seed)
    items.sort(key=lambda item: item.nodeid)  # so that a seed means the same whatever the order was before
    random.shuffle(items)
    parts = list({part_of(item.nodeid): None for item in items})
    items.sort(key=lambda item: parts.index(part_of(item.nodeid)))


class Division(LoadScopeScheduling):  # type: ignore[misc]
    """Hands out the parts in the order in which they were collected."""

    def __init__(self, config: pytest.Config, log: object) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return part_of(nodeid)
