"""How the tests are divided among processes."""

from __future__ import annotations

import itertools
import os
import re
from dataclasses import dataclass
from typing import Any

import pytest
from django.conf import settings
from django.db import connections

from queuesite.foundation.config import BASE_DIR, get_config, secret_key
from queuesite.foundation.databases import MONGO
from tests.support.division import LONG, part_of, rank, shuffle


@pytest.mark.parametrize("part", LONG)
def test_every_part_is_there(part: str) -> None:
    path, _, name = part.partition("::")

    file = BASE_DIR / path
    assert file.exists()
    assert not name or re.search(rf"^(def|class) {name}\b", file.read_text(), re.MULTILINE)


def test_a_file_is_a_part_unless_a_part_of_it_has_a_name() -> None:
    long = "tests/acceptance/test_up.py::test_a_whole_life"

    assert part_of(long) == long
    assert part_of("tests/acceptance/test_up.py::test_servers_that_are_not_installed") == "tests/acceptance/test_up.py"
    assert part_of("tests/browser/test_queues.py::test_a") == "tests/browser"
    assert part_of("tests/unit/test_clock.py::TestClock::test_a[tests/b::c]") == "tests/unit/test_clock.py"


def test_what_takes_long_comes_first() -> None:
    tests = ["tests/unit/test_clock.py::test", "tests/acceptance/test_race.py::test", f"{LONG[0]}::test"]

    assert sorted(tests, key=rank) == tests[::-1]


@dataclass(frozen=True)
class Item:
    nodeid: str


def test_a_seed_makes_an_order_that_keeps_what_belongs_together() -> None:
    files = (
        *(f"tests/unit/test_{number}.py" for number in range(9)),
        "tests/browser/test_a.py",
        "tests/browser/test_b.py",
    )
    there = [Item(f"{file}::test_{number}") for file in files for number in range(9)]

    def order(items: list[Item], seed: str) -> list[str]:
        shuffled: Any = list(items)
        shuffle(shuffled, seed)
        return [item.nodeid for item in shuffled]

    one = order(there, "1")
    assert sorted(one) == sorted(item.nodeid for item in there)
    assert one == order(there[::-1], "1") != order(there, "2")
    parts = [part_of(test) for test in one]
    assert sum(before != after for before, after in itertools.pairwise(parts)) == 9  # ten parts
    browser = [test for test in one if test.startswith("tests/browser")]
    assert browser != sorted(browser)


def test_each_process_has_databases_and_files_of_its_own() -> None:
    name = os.environ.get("PYTEST_XDIST_WORKER", "main")
    config = get_config()

    assert name in os.environ["MONGODB_NAME"] == config.mongodb_name == connections[MONGO].settings_dict["NAME"]
    assert name in config.queue_name_prefix
    assert config.data_dir.name.startswith(name)
    assert connections["default"].settings_dict["NAME"].parent == config.data_dir
    assert secret_key(config) == settings.SECRET_KEY
