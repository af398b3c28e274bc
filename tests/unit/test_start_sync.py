"""The sync at a master's start: tried until it succeeds, and broken off when the master stops."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from jobs.master.start_sync import StartSync
from queuesite.foundation.errors import SqsUnavailable

Count = Callable[[int], None]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("queuesite.foundation.outage.FIRST_PAUSE", 0.01)


def test_it_is_tried_until_it_succeeds() -> None:
    answers: list[Exception | None] = [SqsUnavailable("away"), SqsUnavailable("away"), None]

    def synchronize(*_: Count) -> None:
        answer = answers.pop(0)
        if answer is not None:
            raise answer

    StartSync(synchronize).run()
    assert answers == []


def test_a_stop_ends_the_pause_between_two_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("queuesite.foundation.outage.FIRST_PAUSE", 3_600.0)
    tried = threading.Event()

    def synchronize(*_: Count) -> None:
        tried.set()
        raise SqsUnavailable("away")

    started = StartSync(synchronize)
    started.start()
    assert tried.wait(30)
    started.stop()
    assert started.join(30)


def test_a_stop_breaks_it_off_before_the_next_queue() -> None:
    begun, stopped = threading.Event(), threading.Event()
    synced: list[int] = []
    deaths: list[BaseException] = []

    def synchronize(total: Count, progress: Count) -> None:
        total(3)
        for number in range(3):
            synced.append(number)
            begun.set()
            assert stopped.wait(30)
            progress(1)

    started = StartSync(synchronize, deaths.append)
    started.start()
    assert begun.wait(30)
    started.stop()
    stopped.set()
    assert started.join(30)
    assert (synced, deaths) == ([0], [])


def test_the_end_of_the_interpreter_in_the_midst_of_it_is_no_death_of_a_thread() -> None:
    """The executor of a process that ends takes no more work: "cannot schedule new futures after shutdown"."""
    begun, ended = threading.Event(), threading.Event()
    deaths: list[BaseException] = []

    def synchronize(*_: Count) -> None:
        executor = ThreadPoolExecutor(1)
        executor.shutdown()
        begun.set()
        assert ended.wait(30)
        executor.submit(print)

    started = StartSync(synchronize, deaths.append)
    started.start()
    assert begun.wait(30)
    started.stop()
    ended.set()
    assert started.join(30)
    assert deaths == []


def test_an_error_that_nobody_foresaw_is_a_death_while_the_master_goes_on() -> None:
    deaths: list[BaseException] = []

    def synchronize(*_: Count) -> None:
        raise ZeroDivisionError

    started = StartSync(synchronize, deaths.append)
    started.start()
    assert started.join(30)
    assert len(deaths) == 1
