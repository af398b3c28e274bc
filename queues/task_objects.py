"""Django's objects of results, made from what a message, an attempt or a document says."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from queues.task_calls import Attempt, Call, Change
from queues.task_library import AnyTask, ResultOfAny, TaskError, TaskResult, TaskResultStatus


def result(
    task: AnyTask,
    call: Call,
    status: str,
    *,
    enqueued_at: datetime | None = None,
    started_at: datetime | None = None,
    last_attempted_at: datetime | None = None,
    finished_at: datetime | None = None,
    errors: Sequence[tuple[str, str]] = (),
    worker_ids: Sequence[str] = (),
    returned: str | None = None,
) -> ResultOfAny:
    """A result. `errors` are paths of classes with their tracebacks; `returned` is JSON."""
    made: ResultOfAny = TaskResult(
        task=task,
        id=call.id,
        status=TaskResultStatus(status),
        enqueued_at=enqueued_at or call.enqueued_at,
        started_at=started_at,
        finished_at=finished_at,
        last_attempted_at=last_attempted_at,
        args=json.loads(call.args),
        kwargs=json.loads(call.kwargs),
        backend=call.backend,
        errors=[TaskError(exception_class_path=path, traceback=trace) for path, trace in errors],
        worker_ids=list(worker_ids),
    )
    if returned is not None:
        object.__setattr__(made, "_return_value", json.loads(returned))  # Django's own backends do the same
    return made


def running(task: AnyTask, call: Call, attempt: Attempt, receive_count: int, sent_at: datetime) -> ResultOfAny:
    """The result as a task's context has it: of earlier attempts, a consumer knows only how many there were."""
    now = datetime.now(UTC)
    return result(
        task,
        call,
        attempt.status,
        enqueued_at=call.enqueued_at or sent_at,
        started_at=now,
        last_attempted_at=now,
        worker_ids=[*["unknown"] * (receive_count - 1), attempt.worker],
    )


def finished(task: AnyTask, change: Change) -> ResultOfAny:
    """The result after the last attempt, as its signal has it."""
    attempt = change.attempt
    assert attempt is not None
    started = _moment(attempt.started)
    return result(
        task,
        change.call,
        attempt.status,
        started_at=started,
        last_attempted_at=started,
        finished_at=_moment(attempt.ended or attempt.started),
        errors=[attempt.error] if attempt.error else (),
        worker_ids=[attempt.worker],
        returned=attempt.returned,
    )


def _moment(monotonic: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=time.monotonic() - monotonic)
