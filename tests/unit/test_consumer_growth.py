"""What a consumer's recycling goes by."""

from __future__ import annotations

import os

import psutil
import pytest

from jobs.consumer.growth import Growth, warn_of_large_imports

MIB = 1_048_576


class Process:
    """A process of `mb` MB, whose parent has 300."""

    mb = 100

    def __init__(self, pid: int | None = None) -> None:
        self._mb = None if pid is None else 300

    def ppid(self) -> int:
        return 1

    def memory_info(self) -> object:
        mb = self.mb if self._mb is None else self._mb
        return type("Info", (), {"rss": mb * MIB})


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> type[Process]:
    monkeypatch.setattr("jobs.consumer.growth.psutil.Process", Process)
    monkeypatch.setattr(Process, "mb", 100)
    return Process


def test_only_what_came_on_top_of_the_imports_counts(process: type[Process]) -> None:
    """The fork server's pages of files are counted in its children once they use them."""
    made = Growth(64)
    for mb, too_large in ((100, False), (364, False), (365, True)):
        process.mb = mb
        assert made.too_large(made.memory()) is too_large
    assert made.in_words(365 * MIB) == (
        "the consumer grew from 300 MB to 365 MB, by more than CONSUMER_MEMORY_MB=64: it is replaced"
    )


def test_without_a_limit_nothing_is_too_large(process: type[Process]) -> None:
    made = Growth(0)
    assert not made.too_large(100_000 * MIB)


def test_a_parent_that_is_gone(process: type[Process], monkeypatch: pytest.MonkeyPatch) -> None:
    made = Process()

    def find(pid: int | None = None) -> Process:
        if pid is not None:
            raise psutil.NoSuchProcess(pid)
        return made

    monkeypatch.setattr("jobs.consumer.growth.psutil.Process", find)
    assert Growth(64).too_large(165 * MIB)


def test_imports_larger_than_the_limit_are_told(process: type[Process], capfd: pytest.CaptureFixture[str]) -> None:
    warn_of_large_imports(100)
    assert "consumers_start_large" not in capfd.readouterr().err
    process.mb = 101
    warn_of_large_imports(100)
    told = capfd.readouterr()
    assert "only what consumers grow by is limited" in told.err + told.out


def test_this_process() -> None:
    assert Growth(10_000).memory() == pytest.approx(psutil.Process(os.getpid()).memory_info().rss, rel=0.5)
