"""Which assignments a worker takes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from bson import ObjectId

from jobs.models import Assignment, EndReason, Lease
from jobs.worker.admission import is_stale, refusal
from queues.fleet import Offer
from queues.models import Queue

ELECTED = datetime(2026, 11, 24, 12, tzinfo=UTC)
LATER, EARLIER = ELECTED + timedelta(milliseconds=1), ELECTED - timedelta(milliseconds=1)
OFFER = Offer("default", {"log": "1"})
LEASE = Lease(name="master", holder="m2", term=7, elected_at=ELECTED, expires_at=ELECTED + timedelta(seconds=5))


def assignment(term: int = 7, created_at: datetime = LATER) -> Assignment:
    return Assignment(id=ObjectId(), queue_url="http://sqs/orders", worker="w1", term=term, created_at=created_at)


def judge(
    made: Assignment, queue: Queue | None, lease: Lease | None = LEASE, free: int = 1, draining: bool = False
) -> EndReason | None:
    return refusal(made, queue, lease, offer=OFFER, free=free, draining=draining)


@pytest.mark.parametrize(
    ("term", "created_at", "stale"),
    [
        (7, LATER, False),
        (6, EARLIER, False),  # made while it still led
        (6, LATER, True),  # by a master that was frozen while another was elected
        (8, LATER, False),  # the lease was read before a still newer election
    ],
)
def test_what_a_deposed_master_wrote_after_the_election_is_stale(term: int, created_at: datetime, stale: bool) -> None:
    made = assignment(term, created_at)
    assert is_stale(made, LEASE) is stale
    assert judge(made, Queue()) == (EndReason.REVOKED if stale else None)


def test_without_a_lease_nothing_is_stale() -> None:
    assert judge(assignment(1), Queue(), None) is None


def test_no_more_than_the_worker_may_run() -> None:
    assert judge(assignment(), Queue(), free=0) is EndReason.REVOKED


def test_paused_gone_and_draining() -> None:
    assert judge(assignment(), Queue(paused=True)) is EndReason.PAUSED
    assert judge(assignment(), None) is EndReason.QUEUE_MISSING
    assert judge(assignment(), Queue(paused=True), draining=True) is EndReason.SHUTDOWN


def test_a_queue_that_was_changed_to_what_the_worker_cannot_serve() -> None:
    assert judge(assignment(), Queue(handler="log", pool="default")) is None
    assert judge(assignment(), Queue(handler="resize")) is EndReason.MISPLACED
    assert judge(assignment(), Queue(handler="log", pool="gpu")) is EndReason.MISPLACED
    assert judge(assignment(), Queue(handler="resize", paused=True)) is EndReason.PAUSED
