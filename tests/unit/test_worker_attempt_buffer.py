"""What a worker keeps of attempts until MongoDB takes them."""

from __future__ import annotations

from typing import Any

import pytest
from bson import ObjectId

from jobs.attempts import AttemptOutcome, AttemptReport
from jobs.consumer.settings import QueueSettings
from jobs.models import Assignment
from jobs.repositories import attempts as repository
from jobs.repositories.attempts import Reported, share
from jobs.worker import attempt_buffer
from jobs.worker.attempt_buffer import AttemptBuffer
from jobs.worker.runs import ActiveRun
from queues.models import Queue
from queuesite.foundation.databases import MongoError

ORDERS = Queue(id=ObjectId(), name="orders", queue_url="http://sqs/orders", handler="log")
RUN = ActiveRun(Assignment(job_id=ObjectId()), ORDERS, QueueSettings.of(ORDERS), None, "w1", 0.0)


def report(number: int, log: str = "") -> AttemptReport:
    return AttemptReport(f"m{number}", 1, AttemptOutcome.FAILED, 1.0, 0.1, 2.0, log=log)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[Reported]:
    found: list[Reported] = []
    monkeypatch.setattr(repository, "add", found.extend)
    return found


def ids(found: list[Reported]) -> list[str]:
    return [one.attempt.message_id for one in found]


def test_they_are_written_once_with_what_the_worker_knows(written: list[Reported]) -> None:
    kept = AttemptBuffer()
    kept.add([report(1), report(2)], 0, RUN, "v7")
    kept.flush()
    kept.flush()
    assert ids(written) == ["m1", "m2"]
    one = written[0]
    assert (one.queue, one.job_id, one.worker, one.handler, one.version) == (
        ORDERS, RUN.assignment.job_id, "w1", "log", "v7",
    )  # fmt: skip


def test_the_oldest_make_room(written: list[Reported]) -> None:
    kept = AttemptBuffer(most=3)
    kept.add([report(number) for number in range(5)], 0, RUN, None)
    kept.flush()
    assert ids(written) == ["m2", "m3", "m4"]


def test_long_texts_make_room_too(written: list[Reported]) -> None:
    kept = AttemptBuffer(characters=3_000)
    kept.add([report(number, "x" * 1_000) for number in range(5)], 0, RUN, None)
    kept.flush()
    assert ids(written) == ["m4"]


def test_a_flush_writes_so_many_that_heartbeats_go_on(written: list[Reported], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt_buffer, "MOST_WRITTEN", 2)
    kept = AttemptBuffer()
    kept.add([report(number) for number in range(3)], 0, RUN, None)
    kept.flush()
    assert (ids(written), len(kept)) == (["m0", "m1"], 1)


def test_what_was_not_written_is_written_under_the_same_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[list[ObjectId]] = []

    def refuse(some: list[Reported]) -> Any:
        tried.append([one.id for one in some])
        if len(tried) == 1:
            raise MongoError("away")

    monkeypatch.setattr(repository, "add", refuse)
    kept = AttemptBuffer()
    kept.add([report(1)], 0, RUN, None)
    with pytest.raises(MongoError):
        kept.flush()
    kept.flush()
    assert tried[0] == tried[1]
    assert len(kept) == 0


@pytest.mark.parametrize(
    ("counts", "most", "expected"),
    [
        ({"a": 10, "b": 20}, 100, 20),
        ({"a": 10, "b": 1_000}, 100, 90),
        ({"a": 1_000, "b": 1_000}, 100, 50),
        ({"a": 10, "b": 500, "c": 900}, 100, 45),
        ({}, 100, 100),
    ],
)
def test_a_busy_queue_does_not_cost_others_their_records(counts: dict[str, int], most: int, expected: int) -> None:
    each = share(counts, most)
    assert each == expected
    assert sum(min(count, each) for count in counts.values()) <= most
