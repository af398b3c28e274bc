"""What a worker keeps of its consumers' reports, and that keeping it needs no server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from bson import ObjectId

from jobs import histogram
from jobs.consumer.meter import WorkCounts
from jobs.failures import FailureGroup
from jobs.repositories import failures as failure_repository
from jobs.repositories import handlers, throughput
from jobs.repositories.failures import Seen
from jobs.repositories.handlers import Done
from jobs.repositories.throughput import Row
from jobs.worker import stats_buffer
from jobs.worker.stats_buffer import STEP_SECONDS, StatsBuffer
from queues.models import Queue
from queuesite.foundation.clock import DatabaseClock
from queuesite.foundation.databases import MongoError

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
ORDERS = Queue(id=ObjectId(), name="orders", queue_url="http://sqs/orders")


class Database:
    """A database that can be away, and counts how often its clock is read."""

    def __init__(self) -> None:
        self.readings = 0
        self.away = False
        self.rows: list[Row] = []
        self.done: list[Done] = []

    def read_clock(self) -> datetime:
        self.readings += 1
        self._answer()
        return NOON

    def add(self, rows: list[Row]) -> None:
        self._answer()
        self.rows += rows

    def add_done(self, done: list[Done]) -> None:
        self._answer()
        self.done += done

    def _answer(self) -> None:
        if self.away:
            raise MongoError("away")


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Database:
    made = Database()
    monkeypatch.setattr(stats_buffer, "database_clock", DatabaseClock(made.read_clock, lambda: 0.0))
    monkeypatch.setattr(throughput, "add", made.add)
    monkeypatch.setattr(handlers, "add", made.add_done)
    monkeypatch.setattr(failure_repository, "add", list)
    return made


def work(processed: int) -> WorkCounts:
    return WorkCounts(
        processed=processed,
        requests=1,
        durations=histogram.counts([0.001] * processed),
        seconds=0.5,
        waits=histogram.counts([7_000.0], histogram.WAIT_BOUNDS),
        waited=7_000.0,
    )


def failing() -> FailureGroup:
    return FailureGroup("ValueError", "shop.buy", "no", "trace", 1.0, 1.0)


def test_notes_are_taken_without_asking_the_server_for_the_time(database: Database) -> None:
    """Each attempt to ask would take seconds while it is away, and a worker takes notes every second."""
    database.away = True
    kept = StatsBuffer()
    for second in range(100):
        kept.worked(ORDERS, work(1), float(second))
        kept.failed(ORDERS, (failing(),))
    assert database.readings == 0
    with pytest.raises(MongoError):
        kept.flush()
    database.away = False
    kept.flush()
    assert sum(row.processed for row in database.rows) == 100


def test_work_is_written_by_minute(database: Database) -> None:
    kept = StatsBuffer()
    for at in (1.0, 2.0, 59.0, 61.0, 119.0):
        kept.worked(ORDERS, work(2), at)
    kept.flush()
    first, second = database.rows
    assert (first.minute, first.processed, first.requests) == (NOON, 6, 3)
    assert (second.minute, second.processed) == (NOON + timedelta(minutes=1), 4)
    assert first.durations == histogram.counts([0.001] * 6)
    assert first.duration_sum == pytest.approx(1.5)
    assert (first.waits, first.wait_sum) == (histogram.counts([7_000.0] * 3, histogram.WAIT_BOUNDS), 21_000.0)


def test_work_is_written_by_handler_version_and_hour(database: Database) -> None:
    kept = StatsBuffer()
    for at, handler, version in (
        (1.0, "log", "1"),
        (100.0, "log", "1"),
        (3_599.0, "log", "2"),
        (3_601.0, "log", "1"),
        (3.0, "http", "1"),
        (4.0, "gone", None),
    ):
        kept.worked(ORDERS, work(2), at, handler, version)
    kept.flush()
    kept.flush()
    found = {(one.name, one.version, one.hour): (one.processed, one.duration_sum) for one in database.done}
    assert found == {
        ("log", "1", NOON): (4, 1.0),
        ("log", "2", NOON): (2, 0.5),
        ("log", "1", NOON + timedelta(hours=1)): (2, 0.5),
        ("http", "1", NOON): (2, 0.5),
    }
    assert len(database.done) == 4
    assert sum(row.processed for row in database.rows) == 12


def test_reports_close_to_each_other_are_one_row_in_memory(database: Database) -> None:
    kept = StatsBuffer()
    for n in range(1_000):
        kept.worked(ORDERS, work(1), n * STEP_SECONDS / 1_000)
    assert len(kept._work) == 1


def away(_: object) -> None:
    raise MongoError("away")


@pytest.mark.parametrize("broken", [throughput, failure_repository, handlers])
def test_what_could_not_be_written_is_written_once(
    database: Database, monkeypatch: pytest.MonkeyPatch, broken: object
) -> None:
    written: list[Seen] = []
    monkeypatch.setattr(failure_repository, "add", written.extend)
    kept = StatsBuffer()
    kept.worked(ORDERS, work(3), 1.0, "log", "1")
    kept.failed(ORDERS, (failing(),))
    with monkeypatch.context() as patch:
        patch.setattr(broken, "add", away)
        with pytest.raises(MongoError):
            kept.flush()
    kept.flush()
    kept.flush()
    assert [row.processed for row in database.rows] == [3]
    assert [one.processed for one in database.done] == [3]
    assert len(written) == 1
