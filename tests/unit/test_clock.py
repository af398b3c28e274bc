"""The database server's time, carried on by the monotonic clock."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from queuesite.foundation.clock import INEXACT_SECONDS, REFRESH_SECONDS, RETRY_SECONDS, DatabaseClock

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


class World:
    """A server and a monotonic clock that a test moves by hand."""

    def __init__(self) -> None:
        self.monotonic = 1_000.0
        self.offset = timedelta()
        self.trip = 0.0
        #: The share of a round trip that its first half takes.
        self.there = 0.5
        self.reads = 0
        self.error: Exception | None = None
        self.naive = False
        self.meanwhile: Callable[[], object] = lambda: None
        self.clock = DatabaseClock(self.read, lambda: self.monotonic)

    @property
    def server_time(self) -> datetime:
        return NOON + timedelta(seconds=self.monotonic - 1_000.0) + self.offset

    def read(self) -> datetime:
        self.reads += 1
        self.meanwhile()
        self.monotonic += self.trip * self.there
        if self.error is not None:
            raise self.error
        answer = self.server_time
        self.monotonic += self.trip * (1 - self.there)
        return answer.replace(tzinfo=None) if self.naive else answer


@pytest.fixture
def world() -> World:
    return World()


def test_server_is_asked_at_the_first_call_and_not_before(world: World) -> None:
    assert world.reads == 0

    assert world.clock.now() == NOON
    assert world.reads == 1


def test_time_goes_on_without_asking(world: World) -> None:
    world.clock.now()

    world.monotonic += REFRESH_SECONDS - 1

    assert world.clock.now() == NOON + timedelta(seconds=REFRESH_SECONDS - 1)
    assert world.reads == 1


def test_server_is_asked_again_after_a_minute(world: World) -> None:
    world.clock.now()
    world.offset = timedelta(seconds=5)  # the server's clock was set
    world.monotonic += REFRESH_SECONDS + 1

    assert world.clock.now() == NOON + timedelta(seconds=REFRESH_SECONDS + 6)
    assert world.reads == 2


def test_step_of_the_host_clock_changes_nothing(world: World) -> None:
    """Only the monotonic clock is read, which no step of the wall clock moves."""
    before = world.clock.now()

    world.monotonic += 3

    assert world.clock.now() - before == timedelta(seconds=3)


def test_reading_is_taken_to_be_half_way_of_the_round_trip(world: World) -> None:
    world.trip = 0.4

    assert world.clock.now() == NOON  # when the call was made
    assert world.clock.now() == world.server_time
    assert world.clock.error_seconds == pytest.approx(0.2)


def test_a_first_reading_that_took_long_is_soon_repeated(world: World) -> None:
    world.trip, world.there = 3.0, 0.1
    assert abs(world.clock.now() - NOON) == timedelta(seconds=1.2)
    world.trip = 0.0
    world.monotonic += INEXACT_SECONDS

    assert world.clock.now() == world.server_time
    assert world.reads == 2


@pytest.mark.parametrize("there", [0.0, 0.3, 1.0])
def test_a_later_reading_that_took_long_does_not_replace_an_exact_one(world: World, there: float) -> None:
    world.clock.now()
    world.trip, world.there = 3.0, there
    world.monotonic += REFRESH_SECONDS
    world.clock.now()
    assert world.clock.now() == world.server_time
    assert world.reads == 2
    world.monotonic += INEXACT_SECONDS
    world.clock.now()

    assert world.clock.now() == world.server_time
    assert world.reads == 3


def test_a_reading_that_took_long_replaces_an_exact_one_that_cannot_be_right(world: World) -> None:
    world.clock.now()
    world.offset = timedelta(seconds=5)  # the server's clock was set
    world.trip = 3.0
    world.monotonic += REFRESH_SECONDS
    world.clock.now()

    assert world.clock.now() == world.server_time


def test_time_of_an_earlier_moment(world: World) -> None:
    started = world.monotonic
    world.monotonic += 10

    assert world.clock.at(started) == NOON
    assert world.clock.at(started + 4) == NOON + timedelta(seconds=4)


def test_naive_answer_is_utc(world: World) -> None:
    world.naive = True

    assert world.clock.now() == NOON


def test_failure_of_the_first_reading_goes_through(world: World) -> None:
    world.error = ConnectionError("away")

    with pytest.raises(ConnectionError, match="away"):
        world.clock.now()

    world.error = None
    assert world.clock.now() == NOON


def test_later_failure_leaves_the_last_reading(world: World) -> None:
    world.clock.now()
    world.error = ConnectionError("away")
    world.monotonic += REFRESH_SECONDS + 1

    assert world.clock.now() == world.server_time

    world.error = None
    world.offset = timedelta(seconds=1)
    world.monotonic += RETRY_SECONDS
    assert world.clock.now() == world.server_time


def test_a_server_that_is_away_is_not_asked_at_each_call(world: World) -> None:
    """Each attempt takes seconds: a worker that notes many reports would do nothing else."""
    world.clock.now()
    world.error = ConnectionError("away")
    world.monotonic += REFRESH_SECONDS + 1
    world.trip = 10.0

    for _ in range(5):
        world.clock.now()

    assert world.reads == 2
    world.monotonic += RETRY_SECONDS
    world.clock.now()
    world.clock.now()
    assert world.reads == 3


def test_while_one_caller_waits_for_a_reading_others_do_not(world: World) -> None:
    world.clock.now()
    world.monotonic += REFRESH_SECONDS
    others: list[datetime] = []
    world.meanwhile = lambda: others.append(world.clock.now())

    world.clock.now()

    assert others == [NOON + timedelta(seconds=REFRESH_SECONDS)]
    assert world.reads == 2


def test_many_threads_ask_the_server_once(world: World) -> None:
    start = threading.Barrier(8)

    def now(_: int) -> datetime:
        start.wait()
        return world.clock.now()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(now, range(8))) == {NOON}
    assert world.reads == 1
