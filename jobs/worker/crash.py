"""What a worker reports of a run whose consumer has died."""

from __future__ import annotations

import time

from jobs.attempts import ERROR_CHARACTERS, AttemptOutcome, AttemptReport
from jobs.consumer.in_hand import InHand
from jobs.consumer.news import News
from jobs.consumer.report import RunReport
from jobs.failures import FailureGroup
from jobs.models import EndReason
from jobs.repositories.jobs import Counts
from jobs.worker.consumer import ConsumerProcess

KIND = "ConsumerCrashed"


def report_of(consumer: ConsumerProcess, cause: str) -> RunReport:
    """The run's end, with the counts that the consumer last sent."""
    counts = Counts.of_entry(consumer.counts)
    return RunReport(
        EndReason.CRASHED,
        processed=counts.processed,
        failed=counts.failed,
        timed_out=counts.timed_out,
        retried=counts.retried,
        last_error=cause,
    )


def news_of(consumer: ConsumerProcess, cause: str) -> News:
    """The crash as a failure, and the attempts that it ended."""
    now, in_hand = time.monotonic(), consumer.board.read()
    # A single message is the suspect; of several, nobody knows which one.
    suspect = in_hand[0] if len(in_hand) == 1 else None
    failure = FailureGroup(
        KIND,
        "the consumer process",
        cause,
        "",
        first_at=now,
        last_at=now,
        message_id=suspect.message_id if suspect else None,
        receive_count=suspect.receive_count if suspect else None,
    )
    return News(
        (failure,), attempts=tuple(_attempt(one, consumer, _text(cause, len(in_hand)), failure, now) for one in in_hand)
    )


def _text(cause: str, count: int) -> str:
    beside = f", with {count - 1:,} other messages in hand" if count > 2 else ", with another message in hand"
    return (cause + (beside if count > 1 else ""))[:ERROR_CHARACTERS]


def _attempt(one: InHand, consumer: ConsumerProcess, text: str, failure: FailureGroup, now: float) -> AttemptReport:
    settings = consumer.settings
    return AttemptReport(
        message_id=one.message_id,
        receive_count=one.receive_count,
        outcome=AttemptOutcome.CRASHED,
        started=one.started,
        took=max(0.0, now - one.started),
        waited=None if one.sent_at is None else max(0.0, time.time() - (now - one.started) - one.sent_at),
        error_type=KIND,
        error=text,
        fingerprint=failure.fingerprint,
        dead_letter=settings is not None and settings.is_last_receive(one.receive_count),
    )
