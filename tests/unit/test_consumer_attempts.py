"""Attempts that a run reports: which, with what, and how many at the most."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from jobs.attempts import AttemptOutcome, AttemptReport, trace_id_of
from jobs.consumer import attempts as recording
from jobs.consumer.attempts import Attempts
from jobs.consumer.current_settings import CurrentSettings
from jobs.consumer.meter import Meter
from jobs.consumer.outcome import TryAgain, Unreachable
from jobs.consumer.turn import HandlerSpec, Turn
from queues.handlers import Message, Reject, Retry, Unavailable
from queues.handlers.batching import Batch, MessageBatch
from queues.handlers.registry import Handler
from queuesite.foundation.config import get_config
from queuesite.foundation.logs import configure
from queuesite.foundation.masking import MASK
from tests.support.memory_sqs import LIMITS, SETTINGS, MemoryRun, OneQueue, registered
from tests.support.messages import held

log = logging.getLogger("shop")
ALL = replace(LIMITS, sample_one_in=1)
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    configure("INFO", "json")
    yield
    configure(get_config().log_level, get_config().log_format)


def reported(
    function: Any, *bodies: str, limits: Any = ALL, traits: Mapping[str, Any] | None = None, **changes: Any
) -> dict[str, AttemptReport]:
    """The attempts that a run reports, the first of each message, by the message's body."""
    sqs = OneQueue(*(bodies or ("m",)))
    ids = {stored.message_id: stored.body for stored in sqs.messages}
    with registered(function, **(traits or {})):
        running = MemoryRun(sqs, limits, **changes).start()
        running.report()
    found: dict[str, AttemptReport] = {}
    for one in running.run.attempts.take()[0]:
        found.setdefault(str(ids[one.message_id]), one)
    return found


def plain(behave: Callable[[Message], Any]) -> Any:
    return lambda message: behave(message)


def on_loop(behave: Callable[[Message], Any]) -> Any:
    async def handle(message: Message) -> Any:
        return behave(message)

    return handle


forms = pytest.mark.parametrize("form", [plain, on_loop])


def behave(message: Message) -> Any:
    log.info("handling %s", message.body)
    match message.body:
        case "fails":
            raise KeyError("tenant")
        case "retries":
            return Retry("not ready", delay=60)
        case "rejected":
            raise Reject("too old")
        case "down":
            return Unavailable("stripe")
    return None


@forms
def test_each_attempt_has_its_outcome_its_error_and_its_own_lines(form: Any) -> None:
    found = reported(form(behave), "done", "fails", "retries", "rejected", concurrency=4)
    assert {body: (one.outcome, one.error_type, one.error) for body, one in found.items()} == {
        "done": (AttemptOutcome.DONE, "", ""),
        "fails": (AttemptOutcome.FAILED, "KeyError", "KeyError: 'tenant'"),
        "retries": (AttemptOutcome.RETRIED, "queues.handlers.contract.Retry", "not ready"),
        "rejected": (AttemptOutcome.REJECTED, "queues.handlers.contract.Reject", "too old"),
    }
    for body, one in found.items():
        assert one.log.rpartition(": ")[2] == f"handling {body}"
        assert one.receive_count == 1
        assert one.took >= 0
    assert (found["fails"].fingerprint is None, found["done"].fingerprint is None) == (False, True)


@forms
def test_a_retry_is_a_kind_of_its_own_and_counts_as_one(form: Any) -> None:
    sqs = OneQueue("fails", "retries")
    with registered(form(behave)):
        running = MemoryRun(sqs).start()
        running.report()
    kinds = {kind.retry_reason: kind for kind in running.run.recorder.take()}
    assert set(kinds) == {None, "not ready"}
    assert {one.fingerprint for one in running.run.attempts.take()[0]} == {kind.fingerprint for kind in kinds.values()}
    work = running.run.meter.total
    assert (work.failed, work.retried, work.processed) == (1, 1, 0)
    assert sum(work.waits) == sum(work.durations) == 2
    twice = work.plus(work)
    assert (twice.retried, sum(twice.waits)) == (2, 4)
    assert twice.since(work) == work


@forms
def test_only_the_wait_for_a_first_receive_is_counted(form: Any) -> None:
    sqs = OneQueue("m", "late", "again", clock=time.time)
    stored = {one.body: one for one in sqs.messages}
    stored["late"].sent_at -= 7_200
    stored["again"].sent_at -= 100_000
    stored["again"].receives = 1
    with registered(form(behave)):
        running = MemoryRun(sqs).start()
        running.report()
    work = running.run.meter.total
    assert work.processed == 3
    assert sum(work.waits[:-4]) == 1
    assert work.waits[-4:] == (0, 1, 0, 0)  # over an hour, up to four
    assert 7_200 <= work.waited < 7_400


def test_a_dependency_that_is_down() -> None:
    assert reported(behave, "down")["down"].outcome is AttemptOutcome.UNAVAILABLE


@pytest.mark.parametrize(
    ("site", "queue", "expected"),
    [(1, None, {"done", "fails"}), (0, None, {"fails"}), (0, 1, {"done", "fails"}), (1, 0, {"fails"})],
)
def test_successes_are_sampled_and_failures_are_not(site: int, queue: int | None, expected: set[str]) -> None:
    found = reported(behave, "done", "fails", limits=replace(LIMITS, sample_one_in=site), sample_one_in=queue)
    assert set(found) == expected


def test_the_sample_is_one_in_so_many() -> None:
    chances = iter([0.0099, 0.0101])
    made = Attempts(current(), 100, lambda: next(chances))
    for _ in range(2):
        made.after(turn())
    assert len(made.take()[0]) == 1


@pytest.mark.parametrize(("receive_count", "expected"), [(4, False), (5, True), (6, True)])
def test_the_last_receive_makes_a_dead_letter(receive_count: int, expected: bool) -> None:
    made = Attempts(current(dlq_url="u"), 1)
    one = turn(receive_count)
    one.outcome = TryAgain(1, "no")
    made.after(one)
    assert made.take()[0][0].dead_letter is expected


@pytest.mark.parametrize("fifo", [False, True])
def test_while_a_dependency_is_down_only_a_fifo_queue_makes_dead_letters(fifo: bool) -> None:
    """Of a standard queue's message a copy is sent, which would break a FIFO queue's order."""
    made = Attempts(current(dlq_url="u", fifo=fifo), 1)
    one = turn(5)
    one.outcome = Unreachable("down")
    made.after(one)
    assert made.take()[0][0].dead_letter is fifo


def test_how_long_it_waited_counts_from_its_sending() -> None:
    made = Attempts(current(), 1)
    one = turn()
    one.held.message.system["SentTimestamp"] = str(int((time.time() - 90) * 1_000))
    made.after(one)
    without = turn()
    del without.held.message.system["SentTimestamp"]
    made.after(without)
    first, second = made.take()[0]
    assert first.waited == pytest.approx(90, abs=60)
    assert second.waited is None


def test_secrets_of_options_and_addresses_are_not_kept() -> None:
    class Options(BaseModel):
        token: SecretStr
        headers: dict[str, SecretStr]

    def leak(message: Message) -> None:
        log.info("token s3cr3t-token, header s3cr3t-header, at https://me:pass-word@example.com/x")
        raise ValueError("s3cr3t-token is wrong")

    options = {"token": "s3cr3t-token", "headers": {"a": "s3cr3t-header"}}
    (one,) = reported(leak, handler_options=options, traits={"options": Options}).values()
    for secret in ("s3cr3t", "pass-word"):
        assert secret not in one.log + one.error
    assert one.error == f"ValueError: {MASK} is wrong"
    assert f"token {MASK}, header {MASK}" in one.log


@pytest.mark.parametrize("is_async", [False, True])
def test_what_a_handler_of_batches_logs_is_shown_with_each_message(is_async: bool) -> None:
    def handle(messages: MessageBatch) -> dict[str, str]:
        log.info("loading %s", len(messages))
        return {messages[-1].id: "broken"}

    async def handle_async(messages: MessageBatch) -> dict[str, str]:
        return handle(messages)

    function = handle_async if is_async else handle
    found = reported(function, "a", "b", "c", traits={"batch": Batch(3, 1.0)}, concurrency=1)
    assert len(found) == 3
    assert sum(one.outcome is AttemptOutcome.FAILED for one in found.values()) == 1
    assert all(one.log.endswith("loading 3") for one in found.values())


def test_too_many_are_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "MOST_WAITING", 3)
    made = Attempts(current(), 1)
    for _ in range(5):
        made.after(turn())
    taken, dropped = made.take()
    assert (len(taken), dropped) == (3, 2)
    assert made.take() == ((), 0)


def test_long_texts_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "MOST_CHARACTERS", 1_000)
    made = Attempts(current(), 1)
    for _ in range(5):
        made.after(turn())
    assert made.take()[1] == 3


@pytest.mark.parametrize(
    ("attributes", "system", "expected"),
    [
        ({"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}, {}, TRACE),
        ({"sentry-trace": f"{TRACE}-00f067aa0ba902b7-1"}, {}, TRACE),
        ({}, {"AWSTraceHeader": f"Root=1-{TRACE[:8]}-{TRACE[8:]};Sampled=1"}, TRACE),
        ({"traceparent": "nonsense"}, {}, None),
        ({}, {}, None),
    ],
)  # fmt: skip
def test_trace_id(attributes: dict[str, str], system: dict[str, str], expected: str | None) -> None:
    typed = {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()}
    assert trace_id_of(typed, system) == expected


def current(**changes: Any) -> CurrentSettings:
    with registered(behave):
        return CurrentSettings(replace(SETTINGS, **changes), Meter(lambda: 0))


def turn(receive_count: int = 1) -> Turn:
    """A turn whose handler has done its work."""
    return Turn(held(receive_count=receive_count), HandlerSpec("orders", Handler("h", behave), None))
