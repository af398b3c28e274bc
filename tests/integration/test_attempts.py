"""Attempts in MongoDB: written by workers, limited in number by the leader."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from bson import ObjectId

from jobs.attempt_model import Attempt
from jobs.attempts import AttemptOutcome, AttemptReport
from jobs.master import attempt_upkeep
from jobs.repositories import attempts
from jobs.repositories.attempts import Reported
from queues.models import Queue
from queuesite.foundation.databases import collection, database_clock
from queuesite.foundation.documents import to_models
from tests.support import records

pytestmark = [pytest.mark.usefixtures("mongo")]


def made(queue: Queue, number: int = 1, age: float = 0.0, **values: Any) -> Reported:
    facts: dict[str, Any] = {"outcome": AttemptOutcome.FAILED, "took": 0.25, "waited": 3.5, **values}
    report = AttemptReport(f"m{number}", 2, started=time.monotonic() - age, **facts)
    return Reported(report, queue, ObjectId(), "w1", "charge", "v1")


def stored(**filters: Any) -> list[Attempt]:
    return to_models(Attempt, collection(Attempt).find(filters).sort("startedAt", 1))


def test_a_record_says_all_and_a_repeated_write_changes_nothing() -> None:
    queue = records.define()
    one = made(queue, age=60.0, error_type="KeyError", error="KeyError: 1", log="line", trace_id="a" * 32)
    attempts.add([one, made(queue, 2)])
    attempts.add([one])
    (found,) = stored(messageId="m1")
    assert (found.queue_name, found.queue_id, found.job_id, found.worker) == (queue.name, queue.id, one.job_id, "w1")
    assert (found.handler, found.handler_version, found.receive_count) == ("charge", "v1", 2)
    assert (found.outcome, found.seconds, found.waited) == ("failed", 0.25, 3.5)
    assert (found.error_type, found.error, found.log, found.trace_id) == ("KeyError", "KeyError: 1", "line", "a" * 32)
    assert abs(database_clock.now() - found.started_at - timedelta(seconds=60)) < timedelta(seconds=20)


def test_beyond_the_limit_the_oldest_of_the_busiest_queues_go() -> None:
    quiet, busy = records.define("quiet"), records.define("busy")
    attempts.add([made(quiet, age=1_000.0), *(made(busy, number, age=100.0 - number) for number in range(40))])
    assert attempt_upkeep.trim(50) == 0
    assert attempt_upkeep.trim(20) == 40 - 17
    assert len(stored(queueName="quiet")) == 1
    assert [one.message_id for one in stored(queueName="busy")] == [f"m{number}" for number in range(23, 40)]


def test_the_attempts_of_a_queue_can_be_forgotten() -> None:
    gone, left = records.define("gone"), records.define("left")
    attempts.add([made(gone), made(left)])
    attempts.forget(gone.queue_url)
    assert [one.queue_name for one in stored()] == ["left"]
