"""Outcomes of attempts at Django's tasks, for the worker to record."""

from __future__ import annotations

import time
from dataclasses import replace

from jobs import failures
from jobs.consumer.current_settings import CurrentSettings
from jobs.consumer.outcome import Done, GiveUp, Outcome, TimedOut, TryAgain, makes_dead_letter
from jobs.consumer.turn import Stage, Turn
from queues.handlers import Reject, Retry
from queues.handlers.task import TASK_HANDLER, finished
from queues.task_calls import Change
from queues.task_reports import reports

#: Characters of a traceback that are kept of each attempt. A message may have 1,000 of them, a document 16 MiB.
TRACEBACK_CHARACTERS = 4_000


class TaskOutcomes(Stage):
    """Reports the status of each task after an attempt, by what was decided of its message."""

    def __init__(self, current: CurrentSettings) -> None:
        self._current = current

    def before(self, turn: Turn) -> None:
        """Note that it is the last receive of a task's message."""
        received = turn.held.message
        if turn.spec.handler.name == TASK_HANDLER and self._current.queue.is_last_receive(received.receive_count):
            reports.last_receive(received.message_id)

    def after(self, turn: Turn) -> None:
        """Report an attempt that ended."""
        change = reports.take_attempt(turn.held.message.message_id)
        if change is not None:
            self._ended(change, turn, turn.outcome, turn.error)

    def gave_up(self, turn: Turn) -> None:
        """Report an attempt that is past its time limit and does not end."""
        change = reports.take_attempt(turn.held.message.message_id)
        if change is not None:
            error = TimedOut(turn.spec.timeout or 0.0)
            self._ended(change, turn, TryAgain(0, str(error), timed_out=True), error)

    def _ended(self, change: Change, turn: Turn, outcome: Outcome, error: BaseException | None) -> None:
        assert change.attempt is not None
        status = self._status(outcome, turn.held.message.receive_count)
        attempt = replace(change.attempt, status=status, ended=time.monotonic(), error=_described(outcome, error))
        if status != "SUCCESSFUL":
            attempt = replace(attempt, returned=None)
        change = replace(change, attempt=attempt)
        reports.add(change)
        finished(change)

    def _status(self, outcome: Outcome, receive_count: int) -> str:
        if isinstance(outcome, Done):
            return "SUCCESSFUL"
        return "FAILED" if makes_dead_letter(outcome, receive_count, self._current.queue) else "READY"


def _described(outcome: Outcome, error: BaseException | None) -> tuple[str, str] | None:
    """The class of what was raised, by its path, and the traceback. A retry that was asked for is not an error."""
    if isinstance(outcome, Done) or isinstance(error, Retry):
        return None
    if isinstance(error, Reject) and error.__cause__ is not None:
        error = error.__cause__
    if error is None:  # it was returned
        return (_path(Reject), outcome.reason) if isinstance(outcome, GiveUp) else None
    return _path(type(error)), failures.trace_text(error)[-TRACEBACK_CHARACTERS:]


def _path(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
