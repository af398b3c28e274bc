"""What comes of a message: outcomes, retry delays, and the copy that goes to the dead-letter queue."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jobs.consumer.backoff import BASE_SECONDS, LONGEST_CRASH_PAUSE, crash_pause, retry_delay
from jobs.consumer.dead_letters import MAX_ATTRIBUTES, REASON_CHARACTERS, dead_letter
from jobs.consumer.outcome import Done, GiveUp, TryAgain, describe, judge
from queues.handlers import Reject, Retry
from queues.sqs import MAX_MESSAGE_BYTES, MAX_VISIBILITY_SECONDS, ReceivedMessage

REJECTED_ID = "QueuesiteRejectMessageId"
REASON = "QueuesiteRejectReason"


class Highest(random.Random):
    """Always draws the upper bound."""

    def uniform(self, a: float, b: float) -> float:
        return b


class Lowest(random.Random):
    def uniform(self, a: float, b: float) -> float:
        return a


class TestRetryDelay:
    @pytest.mark.parametrize(
        ("count", "ceiling"), [(1, 2), (2, 4), (3, 8), (10, 1_024), (15, 32_768), (16, 43_200), (1_000, 43_200)]
    )
    def test_the_upper_bound_doubles_up_to_twelve_hours(self, count: int, ceiling: int) -> None:
        assert retry_delay(count, Highest()) == ceiling
        assert BASE_SECONDS == 2
        assert MAX_VISIBILITY_SECONDS == 43_200

    @given(st.integers(-5, 10**9))
    def test_it_is_always_one_that_sqs_takes(self, count: int) -> None:
        assert 1 <= retry_delay(count) <= MAX_VISIBILITY_SECONDS
        assert retry_delay(count, Lowest()) == 1

    def test_the_jitter_is_full(self) -> None:
        drawn = [retry_delay(10, random.Random(seed)) for seed in range(300)]
        assert min(drawn) < 100
        assert max(drawn) > 924
        assert len(set(drawn)) > 150


class TestCrashPause:
    def test_none_after_the_first_then_doubling_to_five_minutes(self) -> None:
        assert [crash_pause(n) for n in (0, 1, 2, 3, 4, 9, 10, 1_000)] == [0, 0, 2, 4, 8, 256, 300, 300]
        assert LONGEST_CRASH_PAUSE == 300


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text either")


class Fatal(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


class TestJudge:
    @pytest.mark.parametrize("result", [None, 0, False, "text", Exception("returned, not raised")])
    def test_a_handler_that_returns_is_done(self, result: object) -> None:
        assert judge(result, None, 1) == Done()

    @pytest.mark.parametrize("raised", [True, False])
    def test_a_rejection_gives_up(self, raised: bool) -> None:
        answer = Reject("no such order")
        assert (judge(None, answer, 1) if raised else judge(answer, None, 1)) == GiveUp("no such order")

    def test_a_rejection_without_a_reason(self) -> None:
        assert judge(None, Reject(), 1) == GiveUp("rejected")

    @pytest.mark.parametrize("raised", [True, False])
    @pytest.mark.parametrize(("delay", "seconds"), [(0, 0), (0.2, 1), (5, 5), (5.5, 6), (43_200, 43_200)])
    def test_a_retry_after_a_delay_is_never_early(self, raised: bool, delay: float, seconds: int) -> None:
        answer = Retry("later", delay=delay)
        outcome = judge(None, answer, 1) if raised else judge(answer, None, 1)
        assert outcome == TryAgain(seconds, "later")

    def test_a_retry_without_a_delay_backs_off(self) -> None:
        delays = set()
        for _ in range(200):
            outcome = judge(Retry(), None, 6)
            assert isinstance(outcome, TryAgain)
            assert outcome.error == "retry requested"
            delays.add(outcome.delay)
        assert min(delays) >= 1
        assert 32 < max(delays) <= 64

    def test_an_exception_backs_off_and_is_described(self) -> None:
        outcome = judge(None, ValueError("no number"), 1)
        assert isinstance(outcome, TryAgain)
        assert outcome.error == "ValueError: no number"
        assert 1 <= outcome.delay <= 2

    @pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
    def test_what_would_end_a_program_is_a_failure_like_any_other(self, error: BaseException) -> None:
        assert isinstance(judge(None, error, 1), TryAgain)

    def test_an_exception_wins_over_a_result(self) -> None:
        assert isinstance(judge(Reject("returned"), ValueError(), 1), TryAgain)

    def test_subclasses_count(self) -> None:
        class Never(Reject):
            pass

        assert judge(None, Never("no"), 1) == GiveUp("no")

    @given(st.text(st.characters(), max_size=50))
    @example("lone \ud800 surrogate")
    @example("nul \0 and \x1b[31m")
    def test_whatever_is_said_can_be_stored(self, text: str) -> None:
        for answer in (ValueError(text), Retry(text), Reject(text)):
            outcome = judge(None, answer, 1)
            said = outcome.reason if isinstance(outcome, GiveUp) else outcome.error  # type: ignore[union-attr]
            said.encode()  # MongoDB and SQS take nothing else

    def test_text_that_cannot_be_made_does_no_harm(self) -> None:
        assert describe(Unprintable()) == "Unprintable: (its message cannot be shown)"
        assert "Fatal" in describe(Fatal())

    def test_a_reason_that_is_no_text_is_made_one(self) -> None:
        wrong: Any = ValueError("an error in place of a text")
        assert judge(None, Reject(wrong), 1) == GiveUp("an error in place of a text")
        outcome = judge(None, Retry(wrong, delay=1), 1)
        assert outcome == TryAgain(1, "an error in place of a text")
        hopeless: Any = Unprintable()
        assert isinstance(judge(None, Reject(hopeless), 1), GiveUp)

    def test_an_exception_without_a_message(self) -> None:
        assert describe(ValueError()) == "ValueError"


def received(body: str = "body", attributes: dict[str, dict[str, Any]] | None = None, **system: str) -> ReceivedMessage:
    return ReceivedMessage("message-1", "handle-1", body, attributes or {}, system)


def text_attributes(count: int) -> dict[str, dict[str, Any]]:
    return {f"a{n}": {"DataType": "String", "StringValue": str(n)} for n in range(count)}


class TestDeadLetter:
    def test_body_and_attributes_are_unchanged_and_the_reason_is_added(self) -> None:
        attributes: dict[str, dict[str, Any]] = {
            "text": {"DataType": "String.custom", "StringValue": "ä"},
            "bytes": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
        }
        letter = dead_letter(received("  body\n", attributes), "no such order", fifo=False)
        assert letter.body == "  body\n"
        assert letter.attributes == {
            **attributes,
            REASON: {"DataType": "String", "StringValue": "no such order"},
            REJECTED_ID: {"DataType": "String", "StringValue": "message-1"},
        }
        assert letter.group is None
        assert letter.deduplication_id is None
        assert letter.delay is None

    def test_the_message_itself_is_not_touched(self) -> None:
        message = received(attributes=text_attributes(1))
        dead_letter(message, "reason", fifo=False)
        assert message.attributes == text_attributes(1)

    def test_ten_attributes_leave_no_room_for_the_reason(self) -> None:
        nine, ten = text_attributes(9), text_attributes(10)
        assert MAX_ATTRIBUTES == 10
        assert set(dead_letter(received(attributes=nine), "reason", fifo=False).attributes) == {*nine, REASON}
        assert dead_letter(received(attributes=ten), "reason", fifo=False).attributes == ten

    @given(st.integers(MAX_MESSAGE_BYTES - 2_000, MAX_MESSAGE_BYTES), st.integers(0, 1_500))
    def test_it_is_never_larger_than_sqs_takes(self, size: int, reason: int) -> None:
        letter = dead_letter(received("x" * size), "r" * reason, fifo=False)
        assert letter.size <= MAX_MESSAGE_BYTES
        full = size + len(REASON) + len("String") + min(max(reason, len("rejected") if not reason else 0), 1_000)
        assert (REASON in letter.attributes) is (full <= MAX_MESSAGE_BYTES)

    def test_a_long_reason_is_cut(self) -> None:
        letter = dead_letter(received(), "x" * 5_000, fifo=False)
        assert letter.attributes[REASON]["StringValue"] == "x" * REASON_CHARACTERS

    @given(st.text(st.characters(), max_size=30))
    @example("")
    @example("\0\ud800￾")
    def test_a_reason_that_sqs_would_refuse_is_mended(self, reason: str) -> None:
        value = dead_letter(received(), reason, fifo=False).attributes[REASON]["StringValue"]
        assert value
        value.encode()
        assert not any(ord(c) < 32 and c not in "\t\n\r" for c in value)

    def test_on_a_fifo_queue_the_group_stays_and_a_second_copy_is_told_from_a_new_letter(self) -> None:
        message = received(MessageGroupId="g")
        first, second = (dead_letter(message, "reason", fifo=True) for _ in range(2))
        assert first.group == "g"
        assert first.deduplication_id == second.deduplication_id
        assert "message-1" in (first.deduplication_id or "")

    def test_the_reason_of_an_earlier_rejection_is_replaced(self) -> None:
        old = {REASON: {"DataType": "String", "StringValue": "old"}, **text_attributes(9)}
        letter = dead_letter(received(attributes=old), "new", fifo=False)
        assert len(letter.attributes) == 10
        assert letter.attributes[REASON]["StringValue"] == "new"
