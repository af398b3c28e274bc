"""Counts what handlers raise and what they ask retries for, by kind, for the worker to record; safe for all slots."""

from __future__ import annotations

import threading
import time

from jobs import failures, retry_reasons
from jobs.consumer.outcome import Done, GiveUp, TimedOut, TryAgain, text_of
from jobs.consumer.turn import Stage, Turn
from queues.handlers import Reject
from queues.sqs import ReceivedMessage
from queuesite.foundation.logs import get_logger

log = get_logger(__name__)


class Recorder(Stage):
    """The failures of one run since the last report."""

    def __init__(self) -> None:
        self._groups = failures.FailureGroups()
        self._lock = threading.Lock()
        #: The kinds of reason for which the run has asked for retries.
        self._reasons: set[str] = set()

    def take(self) -> tuple[failures.FailureGroup, ...]:
        """What was counted since the last call."""
        with self._lock:
            return self._groups.take()

    def after(self, turn: Turn) -> None:
        """Record a failed attempt."""
        outcome = turn.outcome
        if isinstance(outcome, Done):
            return
        received, handler = turn.held.message, turn.spec.handler.path
        log.info(
            "message_failed",
            queue=turn.spec.queue,
            message_id=received.message_id,
            receive_count=received.receive_count,
            outcome=type(outcome).__name__,
            error=outcome.reason if isinstance(outcome, GiveUp) else outcome.error,
        )
        if isinstance(outcome, TryAgain) and outcome.asked:
            turn.fingerprint = self.asked(outcome.error, received, handler, _class_of(turn.error or turn.result))
        elif turn.error is not None:
            turn.fingerprint = self.raised(turn.error, received, handler)
        elif isinstance(outcome, GiveUp):
            turn.fingerprint = self.rejected(outcome.reason, received, handler, _class_of(turn.result))

    def raised(self, error: BaseException, message: ReceivedMessage, handler: str) -> str:
        """Count an error that the function `handler` raised; return the fingerprint of its kind.

        Formatting is expensive; format one traceback per kind and report.
        """
        place = failures.place_of(error.__traceback__, handler)
        return self._count(
            failures.type_name(error), place, text_of(error), message, lambda: failures.trace_text(error)
        )

    def rejected(self, reason: str, message: ReceivedMessage, handler: str, kind: type = Reject) -> str:
        """Count a message that its handler gave up by returning a `Reject` of this kind; return the fingerprint."""
        return self._count(f"{kind.__module__}.{kind.__qualname__}", handler, reason, message, str)

    def asked(self, reason: str, message: ReceivedMessage, handler: str, kind: type) -> str:
        """Count a retry that the handler asked for, by an answer of the class `kind`; return the fingerprint."""
        words = retry_reasons.kind_of(reason)
        with self._lock:
            if words not in self._reasons and len(self._reasons) >= retry_reasons.MOST_OF_RUN:
                words = retry_reasons.OTHER
            self._reasons.add(words)
        return self._count(f"{kind.__module__}.{kind.__qualname__}", handler, reason, message, str, words)

    def stuck(self, error: TimedOut, message: ReceivedMessage, handler: str, stack: str) -> str:
        """Count a handler that is past its time limit and does not end; `stack` is where it is."""
        return self._count(failures.type_name(error), handler, str(error), message, lambda: stack)

    def _count(
        self,
        kind: str,
        place: str,
        text: str,
        message: ReceivedMessage,
        trace: failures.Trace,
        reason: str | None = None,
    ) -> str:
        now = time.monotonic()
        kind = failures.storable(kind)[: failures.NAME_CHARACTERS]
        place = failures.storable(place)[: failures.PLACE_CHARACTERS]
        fingerprint = failures.fingerprint(kind, place, reason)
        with self._lock:
            if self._groups.seen(fingerprint, now):
                return fingerprint
        failure = failures.FailureGroup(
            exception_type=kind,
            place=place,
            message=text[: failures.MESSAGE_CHARACTERS],
            traceback=trace(),
            first_at=now,
            last_at=now,
            message_id=message.message_id,
            receive_count=message.receive_count,
            sample_body=failures.sample(message.body),
            retry_reason=reason,
        )
        with self._lock:
            self._groups.add([failure])
        return fingerprint


def _class_of(answer: object) -> type:
    return answer if isinstance(answer, type) else type(answer)
