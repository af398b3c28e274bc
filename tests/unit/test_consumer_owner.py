"""A consumer notices that a queue which others own has changed, and follows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from jobs.consumer.current_settings import CurrentSettings
from jobs.consumer.meter import Meter
from jobs.consumer.owner import READ_AGAIN_SECONDS, OwnerWatch
from jobs.consumer.run import Run
from queues.handlers import Message, Reject
from queues.sqs.memory import ManualClock
from queuesite.foundation.errors import SqsDenied
from tests.support.memory_sqs import LIMITS, SETTINGS, OneQueue, registered
from tests.support.messages import held
from tests.support.waiting import eventually

DEAD = "memory://sqs/dead"
FOUND = {"dlq_url": DEAD, "max_receive_count": 10, "visibility_timeout": 90, "retention_seconds": 60}


def worn(sqs: OneQueue, receives: int) -> None:
    """Have the queue's messages been received so often."""
    for _ in range(receives):
        received = sqs.receive(sqs.url, limit=10, visibility=60)
        sqs.change_visibility(sqs.url, [(one.receipt_handle, 0) for one in received])


def run_of(sqs: OneQueue, read: Callable[[], dict[str, Any]] | None, **changes: Any) -> Run:
    settings = replace(SETTINGS, queue_url=sqs.url, **{"dlq_url": "memory://sqs/gone", **changes})
    return Run(sqs.gateway, settings, LIMITS, read_held=read)


class TestRun:
    def test_message_beyond_the_last_receive_has_the_policy_read_again(self) -> None:
        sqs = OneQueue("a")
        sqs.create_queue("dead")
        worn(sqs, 3)

        def reject_once_followed(_: Message) -> None:
            eventually(lambda: run._current.queue.dlq_url == DEAD, 20, "the run follows")
            raise Reject("no")

        with registered(reject_once_followed):
            run = run_of(sqs, lambda: FOUND, max_receive_count=3)
            run.execute()

        assert run.followed() == FOUND
        assert run.followed() is None
        current = run._current.queue
        assert (current.max_receive_count, current.visibility_timeout) == (10, 90)
        assert sqs.depth(DEAD).visible == 1

    def test_dead_letter_queue_that_is_gone_has_it_read_again(self) -> None:
        sqs = OneQueue("a")
        sqs.create_queue("dead")

        def reject(_: Message) -> Reject:
            return Reject("no")

        with registered(reject):
            run = run_of(sqs, lambda: FOUND)
            run.execute()

        eventually(lambda: run._current.queue.dlq_url == DEAD, 20, "the run follows")
        assert sqs.bodies == ["a"]  # kept, to be retried

    @pytest.mark.parametrize("changes", [{"max_receive_count": 4}, {"dlq_url": None, "max_receive_count": 1}])
    def test_what_the_policy_allows_is_no_reason(self, changes: dict[str, Any]) -> None:
        sqs = OneQueue("a")
        worn(sqs, 3)

        with registered(lambda _: None):
            run = run_of(sqs, lambda: FOUND, **changes)
            run.execute()

        assert sqs.deleted == ["a"]
        assert run._owner is not None
        assert run._owner._next == 0.0  # nothing was asked for

    def test_queue_of_ours_is_not_read(self) -> None:
        sqs = OneQueue("a")
        worn(sqs, 3)

        with registered(lambda _: None):
            run = run_of(sqs, None, max_receive_count=1)
            run.execute()

        assert run.followed() is None
        assert sqs.deleted == ["a"]

    def test_rejected_message_without_a_dead_letter_queue_is_kept(self) -> None:
        sqs = OneQueue("a")

        def reject(_: Message) -> Reject:
            return Reject("no")

        with registered(reject):
            report = run_of(sqs, lambda: FOUND, dlq_url=None).execute()

        assert sqs.bodies == ["a"]
        assert report.failed == 1
        assert "no dead-letter queue: kept" in str(report.last_error)
        (change,) = sqs.changes
        assert change[1] <= 2  # the first delay of a retry


class TestReading:
    def watch(self, read: Callable[[], dict[str, Any]], clock: ManualClock) -> tuple[OwnerWatch, CurrentSettings]:
        settings = replace(SETTINGS, dlq_url="memory://sqs/gone", max_receive_count=1)
        current = CurrentSettings(settings, Meter(lambda: 0))
        return OwnerWatch(read, current, lambda error: pytest.fail(str(error)), clock), current

    def test_it_is_done_once_a_minute(self) -> None:
        clock, read = ManualClock(), []

        def reading() -> dict[str, Any]:
            read.append(clock())
            return FOUND

        with registered(lambda _: None):
            watch, _ = self.watch(reading, clock)
            for _ in range(3):
                watch.doubt()
            eventually(lambda: len(read) == 1, 20, "it was read")
            clock.advance(READ_AGAIN_SECONDS - 1)
            watch.doubt()
            clock.advance(1)
            watch.doubt()
            eventually(lambda: len(read) == 2, 20, "it was read again")
        assert read == [1_000.0, 1_000.0 + READ_AGAIN_SECONDS]

    def test_a_refusal_changes_nothing(self) -> None:
        def refused() -> dict[str, Any]:
            raise SqsDenied("not for you")

        with registered(lambda _: None), capture_logs() as logs:
            watch, current = self.watch(refused, ManualClock())
            before = current.queue
            watch.look([held(receive_count=2)])
            eventually(lambda: any(e["event"] == "attributes_not_read" for e in logs), 20, "the refusal is logged")

        assert current.queue == before
        assert watch.take() is None

    def test_settings_that_the_worker_sends_meanwhile_are_kept(self) -> None:
        with registered(lambda _: None):
            watch, current = self.watch(lambda: FOUND, ManualClock())
            current.replace(replace(current.queue, concurrency=7))
            watch.doubt()
            eventually(lambda: watch.take() is not None, 20, "it was read")

        assert (current.queue.concurrency, current.queue.dlq_url) == (7, DEAD)
