"""When workers may be taken for dead."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from jobs.master.liveness import Liveness

DATE = datetime(2026, 1, 31, 8, 15, tzinfo=UTC)
STALLED_AFTER = 8.0


class Watched:
    """A leader that looks once a second, by a monotonic clock and the database's, which go together unless told."""

    def __init__(self) -> None:
        self.liveness = Liveness(STALLED_AFTER)
        self.now = 100.0
        self.date = DATE
        self.liveness.begin(self.now)

    def pass_by(self, seconds: float, date_seconds: float | None = None) -> None:
        self.now += seconds
        self.date += timedelta(seconds=seconds if date_seconds is None else date_seconds)

    def looks(self, count: int) -> list[bool]:
        """What it may do at each of its next looks."""
        found = []
        for _ in range(count):
            found.append(self.liveness.may_prune(self.now, self.date))
            self.pass_by(1)
        return found


def test_a_term_begins_with_a_time_for_heartbeats() -> None:
    assert Watched().looks(10) == [False] * 8 + [True] * 2


def test_each_term_does() -> None:
    watched = Watched()
    watched.looks(20)
    watched.liveness.begin(watched.now)
    assert watched.looks(10) == [False] * 8 + [True] * 2


def test_so_does_the_end_of_an_outage() -> None:
    watched = Watched()
    watched.looks(20)
    watched.liveness.lost(watched.now, 3)
    watched.pass_by(3)
    assert watched.looks(10) == [False] * 8 + [True] * 2


def test_an_outage_that_goes_on_never_shortens_the_time() -> None:
    watched = Watched()
    watched.liveness.lost(watched.now, 5)
    watched.liveness.lost(watched.now, 0)
    assert watched.looks(15) == [False] * 13 + [True] * 2


def test_so_does_a_freeze_of_this_process() -> None:
    watched = Watched()
    watched.looks(20)
    watched.pass_by(60)
    assert watched.looks(10) == [False] * 8 + [True] * 2


def test_even_if_the_monotonic_clock_stood_still_meanwhile() -> None:
    watched = Watched()
    watched.looks(20)
    watched.pass_by(0, date_seconds=3600)
    assert watched.looks(10) == [False] * 8 + [True] * 2


def test_slow_turns_are_no_gap() -> None:
    watched = Watched()
    watched.looks(20)
    for _ in range(5):
        watched.pass_by(STALLED_AFTER / 2 - 1)
        assert watched.looks(1) == [True]
