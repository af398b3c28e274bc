"""The handler `task` in runs on the in-memory SQS, and what is reported of its attempts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from django_tasks.signals import task_finished, task_started

from jobs.consumer.settings import RunLimits
from jobs.models import EndReason
from queues import declared_tasks
from queues.handlers import registry
from queues.models import Queue
from queues.task_calls import Attempt, Call, Change, NoCall
from queues.task_reports import reports
from tests.support import tasks_for_tests as tasks
from tests.support.runs import LASTING, QUICK, MemoryQueues, Running
from tests.support.waiting import eventually

PREFIX = "tests.support.tasks_for_tests"


@pytest.fixture(autouse=True)
def as_in_a_consumer(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    registry.discover()
    reports.take()
    monkeypatch.setattr(reports, "worker", "worker-1")
    tasks.ran.clear()
    tasks.may_end.clear()
    yield
    reports.take()


def call(name: str, *args: Any, **kwargs: Any) -> Call:
    return Call.of(f"id-{name}", f"{PREFIX}.{name}", "orders", "default", args, kwargs, datetime.now(UTC))


def run(*bodies: str, limits: RunLimits = QUICK, **settings: Any) -> tuple[list[Attempt], MemoryQueues, Queue]:
    """Handle messages until none comes back; the last report of each attempt, in order."""
    sqs = MemoryQueues()
    queue = sqs.create(handler="task", **settings)
    sqs.put(queue, *bodies)
    Running(sqs, queue, limits).report()
    changes = reports.take()
    return [change.attempt for change in changes if change.attempt is not None], sqs, queue


def only(attempts: list[Attempt]) -> Attempt:
    (attempt,) = attempts
    return attempt


class TestOutcomes:
    @pytest.mark.parametrize(
        ("name", "args", "returned"),
        [
            ("calculate_meaning_of_life", [], 42),
            ("calculate_meaning_of_life_async", [], 42),
            ("noop_task", [1, {"two": 3}], None),
            ("get_task_id", [], "id-get_task_id"),
            ("attempts", [0], [1, "RUNNING", {"$set": "a.b"}]),
        ],
    )
    def test_success(self, name: str, args: list[Any], returned: Any) -> None:
        attempts, sqs, queue = run(call(name, *args).body)

        attempt = only(attempts)
        assert (attempt.status, attempt.worker, attempt.error) == ("SUCCESSFUL", "worker-1", None)
        assert json.loads(str(attempt.returned)) == returned
        assert attempt.ended is not None
        assert attempt.ended >= attempt.started
        assert sqs.depth_of(queue).total == 0

    @pytest.mark.parametrize(
        ("name", "path", "text"),
        [
            ("failing_task_value_error", "builtins.ValueError", "This task failed due to ValueError"),
            ("failing_task_system_exit", "builtins.SystemExit", "This task failed due to SystemExit"),
            ("failing_task_keyboard_interrupt", "builtins.KeyboardInterrupt", "KeyboardInterrupt"),
            ("complex_exception", "builtins.ValueError", 'ValueError(ValueError("This task failed"))'),
            ("complex_return_value", "builtins.TypeError", "Unsupported type"),
            ("rejects", "queues.handlers.contract.Reject", "no use"),
        ],
    )
    def test_the_last_failure(self, name: str, path: str, text: str) -> None:
        attempts, _, _ = run(call(name).body, max_receive_count=1)

        attempt = only(attempts)
        assert (attempt.status, attempt.returned) == ("FAILED", None)
        assert attempt.error is not None
        assert attempt.error[0] == path
        assert text in attempt.error[1]

    def test_a_failure_that_is_tried_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("jobs.consumer.outcome.retry_delay", lambda receive_count: 0)
        attempts, _, _ = run(call("attempts", 2).body, limits=LASTING)

        assert [attempt.status for attempt in attempts] == ["READY", "READY", "SUCCESSFUL"]
        assert [attempt.error and attempt.error[0] for attempt in attempts] == ["builtins.ConnectionError"] * 2 + [None]
        assert json.loads(str(attempts[-1].returned))[0] == 3
        assert len({attempt.id for attempt in attempts}) == 3

    def test_a_retry_that_was_asked_for_is_no_error(self) -> None:
        attempts, _, _ = run(call("asks_for_a_retry").body, limits=LASTING, max_receive_count=2)

        assert [(attempt.status, attempt.error) for attempt in attempts] == [("READY", None), ("FAILED", None)]

    @pytest.mark.parametrize(("name", "status"), [("orders", "READY"), ("orders.fifo", "FAILED")])
    def test_what_is_down_does_not_use_up_receives(self, name: str, status: str) -> None:
        sqs = MemoryQueues()
        queue = sqs.create(name, handler="task", max_receive_count=1)
        sqs.put(queue, call("depends").body, group="a" if queue.fifo else None)
        assert Running(sqs, queue).report().reason is EndReason.TRIPPED

        attempt = only([change.attempt for change in reports.take() if change.attempt])
        assert (attempt.status, attempt.error and attempt.error[0]) == (status, "queues.handlers.contract.Unavailable")

    def test_an_attempt_at_the_last_receive_is_told_before_it_may_end_the_process(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        told: list[Change] = []
        monkeypatch.setattr(reports, "urgent", lambda: told.extend(reports.take()))
        run(call("note", "many receives").body, max_receive_count=2)
        assert told == []

        ended, _, _ = run(call("note", "the last").body, max_receive_count=1)
        [begun] = [change.attempt for change in told if change.attempt]
        assert (begun.status, begun.last, begun.ended) == ("RUNNING", True, None)
        assert (only(ended).id, only(ended).status) == (begun.id, "SUCCESSFUL")

    def test_without_a_dead_letter_queue_nothing_fails_for_good(self) -> None:
        sqs = MemoryQueues()
        queue = sqs.create(handler="task", with_dlq=False, max_receive_count=1)
        sqs.put(queue, call("failing_task_value_error").body)
        running = Running(sqs, queue, LASTING)
        eventually(lambda: any(c.attempt and c.attempt.ended for c in reports._changes.values()), 20, "it failed")
        running.end()

        assert {change.attempt.status for change in reports.take() if change.attempt} == {"READY"}

    def test_past_its_time_limit(self) -> None:
        sqs = MemoryQueues()
        queue = sqs.create(handler="task", timeout=1, max_receive_count=1)
        sqs.put(queue, call("waits_until_told").body)
        running = Running(sqs, queue)
        eventually(lambda: any(c.attempt and c.attempt.ended for c in reports._changes.values()), 20, "it timed out")
        tasks.may_end.set()

        assert running.report().reason is EndReason.TIMED_OUT
        attempt = only([change.attempt for change in reports.take() if change.attempt])
        assert attempt.status == "FAILED"
        assert attempt.error is not None
        assert attempt.error[0] == "jobs.consumer.outcome.TimedOut"

    def test_signals(self) -> None:
        seen: list[tuple[str, str, Any]] = []

        def note(signal: Any, task_result: Any, **_: Any) -> None:
            value = task_result.return_value if task_result.status == "SUCCESSFUL" else None
            seen.append(("finished" if signal is task_finished else "started", task_result.status, value))

        for signal in (task_started, task_finished):
            signal.connect(note)
        try:
            run(call("calculate_meaning_of_life").body)
        finally:
            for signal in (task_started, task_finished):
                signal.disconnect(note)
        assert seen == [("started", "RUNNING", None), ("finished", "SUCCESSFUL", 42)]


class TestOnlyDeclaredTasks:
    @pytest.mark.parametrize("path", ["os.getcwd", f"{PREFIX}.renamed", f"{PREFIX}.Retry", "tests.support.probe.begin"])
    def test_are_run(self, path: str) -> None:
        call_ = Call.of("id-1", path, "orders", "default", (), {}, datetime.now(UTC))
        attempts, sqs, queue = run(call_.body)

        attempt = only(attempts)
        assert attempt.status == "FAILED"
        assert attempt.error is not None
        assert f"task {path!r} is not declared here" in attempt.error[1]
        assert sqs.depth(str(queue.dlq_url)).total == 1

    def test_the_closest_names_are_given(self) -> None:
        assert f"did you mean {PREFIX}.noop_task" in declared_tasks.why_not(f"{PREFIX}.noop_tasks")

    @pytest.mark.parametrize(
        ("body", "problem"),
        [
            ("{", "the body is not JSON"),
            ("[1]", "the body is a JSON list"),
            ("{}", "task is missing: expected text"),
            ('{"task": 1}', "task is 1: expected text"),
            ('{"task": "../x", "id": "1"}', "task is '../x': expected 1 to 500 letters"),
            ('{"task": "a.b", "id": "\\ud800"}', "id is '"),
            ('{"task": "a.b", "id": "%s"}' % ("x" * 65), "expected 1 to 64 letters"),
            ('{"task": "a.b", "id": "1", "args": {}}', "args is {}: expected an array"),
            ('{"task": "a.b", "id": "1", "args": [], "kwargs": []}', "kwargs is []: expected an object"),
        ],
    )
    def test_what_is_no_call_is_rejected(self, body: str, problem: str) -> None:
        with pytest.raises(NoCall) as raised:
            Call.parse(body, "orders")
        assert problem in str(raised.value)

    def test_with_its_reason(self) -> None:
        attempts, sqs, queue = run("{}")

        assert attempts == []
        (letter,) = sqs.receive(str(queue.dlq_url), limit=1, wait=0)
        assert letter.attributes["QueuesiteRejectReason"]["StringValue"] == "no task: task is missing: expected text"


def test_a_task_may_enqueue_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its worker records it: a consumer does not use MongoDB."""
    delivered: list[Call] = []
    monkeypatch.setattr("queues.task_sending.deliver", lambda call, delay: delivered.append(call))
    monkeypatch.setattr("queues.task_results.enqueued", pytest.fail)
    sqs = MemoryQueues()
    queue = sqs.create(handler="task")
    sqs.put(queue, call("enqueues_another", "x").body)
    Running(sqs, queue).report()

    assert [change.call for change in reports.take() if change.attempt is None] == delivered
    assert len(delivered) == 1


def test_a_call_survives_its_message() -> None:
    before = call("noop_task", "ü\x00\ud800", 1.5, two=[None, {"a": True}])

    assert before.body.isascii()
    assert Call.parse(before.body, "orders") == before
    assert Change(before).size >= len(before.args)
