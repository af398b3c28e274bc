"""The collection of results, and what a worker keeps for it."""

from __future__ import annotations

import itertools
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from jobs.worker.task_buffer import TaskBuffer
from queues import declared_tasks, task_results
from queues.task_calls import Attempt, Call, Change
from queuesite.foundation.databases import MongoError
from tests.support import tasks_for_tests as tasks

pytestmark = pytest.mark.usefixtures("mongo")

_numbers = itertools.count(1)


def call(**changes: Any) -> Call:
    key = f"{time.time_ns()}-{next(_numbers)}"
    return Call.of(key, tasks.note.module_path, "orders", "default", ["$a.b"], {"$k.x": 1}, datetime.now(UTC))


def attempt(number: int, status: str, *, at: float = 0.0, **facts: Any) -> Attempt:
    started = time.monotonic() - 100 + number + at
    ended = None if status == "RUNNING" else started + 0.5
    return Attempt(f"attempt{number}", f"worker-{number}", started, status, ended, **facts)


def result(of: Call) -> Any:
    document = task_results.find(of.id)
    assert document is not None
    task = declared_tasks.find(of.task)
    assert task is not None
    return task_results.as_result(task, document)


def test_an_attempt_from_its_begin_to_its_end() -> None:
    one = call()
    task_results.enqueued(one)
    assert (result(one).status, result(one).args, result(one).kwargs) == ("READY", ["$a.b"], {"$k.x": 1})
    begun = attempt(1, "RUNNING")
    task_results.write([Change(one, begun)])
    running = result(one)
    assert (running.status, running.finished_at, running.worker_ids) == ("RUNNING", None, ["worker-1"])
    assert running.started_at == running.last_attempted_at is not None
    task_results.write(
        [Change(one, attempt(1, "SUCCESSFUL", at=begun.started - attempt(1, "").started, returned='"$x"'))]
    )
    done = result(one)
    assert (done.status, done.return_value, done.attempts, done.errors) == ("SUCCESSFUL", "$x", 1, [])
    assert done.finished_at > done.started_at


def test_a_task_whose_consumer_dies_at_the_last_receive_has_failed() -> None:
    last, another, again = call(), call(), call()
    buffer = TaskBuffer()
    buffer.add([Change(last, attempt(1, "RUNNING", last=True)), Change(again, attempt(2, "RUNNING"))], "w", "job-1")
    buffer.add([Change(another, attempt(3, "RUNNING", last=True))], "w", "job-2")
    buffer.flush(0.0)

    task_results.died(["job-1"], "the consumer process 7 was killed by signal 9 (SIGKILL)")
    task_results.died(["job-1"], "again")

    failed = result(last)
    assert (failed.status, result(again).status, result(another).status) == ("FAILED", "RUNNING", "RUNNING")
    assert failed.finished_at > failed.started_at
    [error] = failed.errors
    assert (error.exception_class_path, error.traceback) == (
        "queues.task_calls.ConsumerDied",
        "the consumer process 7 was killed by signal 9 (SIGKILL)",
    )
    # One that ended before its consumer did is left alone, and one that is redriven runs again.
    buffer.add([Change(another, attempt(3, "SUCCESSFUL", last=True, returned="1"))], "w", "job-2")
    buffer.add([Change(last, attempt(4, "RUNNING"))], "w", "job-3")
    buffer.flush(0.0)
    task_results.died(["job-2"], "killed")
    assert (result(another).status, result(last).status) == ("SUCCESSFUL", "RUNNING")


def test_the_latest_attempt_counts_in_whatever_order_it_is_written() -> None:
    one = call()
    first = Change(one, attempt(1, "READY", error=("builtins.OSError", "trace 1")))
    second = Change(one, attempt(2, "FAILED", error=("builtins.KeyError", "trace 2")))
    for order in ([second], [first], [first, second], [second]):
        task_results.write(order)

    found = result(one)
    assert (found.status, found.attempts) == ("FAILED", 2)
    assert [(e.exception_class, e.traceback) for e in found.errors] == [(OSError, "trace 1"), (KeyError, "trace 2")]
    assert found.finished_at is not None
    assert found.started_at < found.last_attempted_at


def test_what_is_enqueued_after_its_worker_was_faster_changes_nothing() -> None:
    one = call()
    task_results.write([Change(one, attempt(1, "SUCCESSFUL", returned="[1]"))])
    task_results.enqueued(one)
    task_results.write([Change(one)])

    assert (result(one).status, result(one).return_value) == ("SUCCESSFUL", [1])


def test_a_document_that_grows_too_large_does_not_keep_others(monkeypatch: pytest.MonkeyPatch) -> None:
    large, small = call(), call()
    for number in range(1, 6):
        task_results.write(
            [
                Change(large, attempt(number, "READY", error=("builtins.OSError", "x" * 4_000_000))),
                Change(small, attempt(number, "READY")),
            ]
        )

    assert result(small).attempts == 5
    assert result(large).attempts >= 3


class TestBuffer:
    def test_it_is_written_once_and_the_later_report_counts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        written: list[list[Change]] = []
        monkeypatch.setattr(task_results, "write", lambda changes: written.append(list(changes)))
        buffer = TaskBuffer()
        assert buffer.due() == float("inf")
        one = call()
        buffer.add([Change(one, attempt(1, "RUNNING"))], "worker-1")
        done = Change(one, attempt(1, "SUCCESSFUL"))
        buffer.add([done], "worker-1")
        assert buffer.due() <= time.monotonic()
        buffer.flush(1_000.0)
        buffer.flush(1_000.0)

        assert written == [[done]]

    def test_it_is_kept_while_mongodb_is_away_up_to_a_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        written: list[Change] = []
        away = True

        def write(changes: Any) -> None:
            if away:
                raise MongoError("away")
            written.extend(changes)

        monkeypatch.setattr(task_results, "write", write)
        buffer = TaskBuffer(most=1_200)
        changes = [Change(call()) for _ in range(3)]
        for change in changes:
            buffer.add([change], "worker-1")
            with pytest.raises(MongoError):
                buffer.flush(0.0)
        away = False
        buffer.flush(1.0)

        assert written == changes[1:]
