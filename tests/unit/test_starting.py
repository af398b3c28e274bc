"""The start of a process."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from queuesite.foundation import starting
from queuesite.foundation.command_line import CommandLine


@pytest.fixture
def collecting() -> Iterator[None]:
    yield
    gc.enable()
    gc.unfreeze()


@pytest.mark.usefixtures("collecting")
def test_garbage_is_collected_again_once_the_command_is_imported() -> None:
    starting.begin()
    assert not gc.isenabled()

    CommandLine(["manage.py"]).fetch_command("showconfig")

    assert gc.isenabled()
    assert gc.get_freeze_count() > 10_000, "no collection looks at what was imported"
