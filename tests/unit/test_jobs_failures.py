"""Failures by kind: what makes one kind, what is kept of it, and what odd exceptions cannot spoil."""

from __future__ import annotations

import json
from types import TracebackType

import pytest

from jobs import failures
from jobs.consumer.outcome import TimedOut
from jobs.consumer.recorder import Recorder
from jobs.failures import MAX_KINDS, SAMPLE_BYTES, TRACEBACK_CHARACTERS, FailureGroup, FailureGroups
from jobs.retry_reasons import MOST_OF_RUN, OTHER, kind_of
from queues.handlers import Retry
from tests.support.messages import received


class Unprintable(Exception):
    def __str__(self) -> str:
        raise SystemExit("no text of mine")


def caught(body: str = "not json") -> ValueError:
    """An error that arises in the library, by our own code."""
    try:
        json.loads(body)
    except ValueError as error:
        return error
    raise AssertionError("unreachable")


def elsewhere() -> ValueError:
    try:
        raise ValueError("of another place")
    except ValueError as error:
        return error


def failure(place: str = "here", at: float = 1.0, **changes: object) -> FailureGroup:
    values = {"exception_type": "ValueError", "message": "m", "traceback": "t", **changes}
    return FailureGroup(place=place, first_at=at, last_at=at, **values)  # type: ignore[arg-type]


class TestPlace:
    def test_it_is_the_function_of_ours_that_called_the_library(self) -> None:
        assert failures.place_of(caught().__traceback__, "otherwise") in {
            f"{__name__}.caught",  # with co_qualname, since Python 3.11
            "tests.unit.test_jobs_failures.caught",
        }

    def test_without_a_traceback_it_is_the_handlers_name(self) -> None:
        assert failures.place_of(None, "shop.handlers.buy") == "shop.handlers.buy"

    def test_an_error_that_arose_in_a_library_alone_is_put_down_to_it(self) -> None:
        trace: TracebackType | None = caught().__traceback__
        assert trace is not None
        assert failures.place_of(trace.tb_next, "otherwise").startswith("json.")

    def test_one_kind_is_a_type_at_a_place_whatever_it_says(self) -> None:
        assert failure(message="a").fingerprint == failure(message="b").fingerprint
        assert failure("here").fingerprint != failure("there").fingerprint
        assert failure().fingerprint != failure(exception_type="KeyError").fingerprint


class TestKinds:
    def test_they_are_counted_and_the_later_sample_is_kept(self) -> None:
        kinds = FailureGroups()
        kinds.add([failure(at=2.0, message="second"), failure(at=1.0, message="first"), failure("there")])
        here, there = kinds.take()
        assert (here.count, here.message, here.first_at, here.last_at) == (2, "second", 1.0, 2.0)
        assert there.count == 1
        assert kinds.take() == ()

    def test_there_are_no_more_than_the_limit(self) -> None:
        kinds = FailureGroups()
        kinds.add(failure(str(n)) for n in range(MAX_KINDS + 5))
        kinds.add([failure("0")])
        assert len(kinds) == MAX_KINDS
        assert kinds.take()[0].count == 2

    def test_beyond_the_limit_no_sample_is_wanted(self) -> None:
        kinds = FailureGroups()
        assert not kinds.seen("new", 1.0)
        kinds.add(failure(str(n)) for n in range(MAX_KINDS))
        assert kinds.seen("new", 1.0)


class TestRecorder:
    def test_the_first_of_a_kind_is_the_sample_and_the_others_are_counted(self) -> None:
        recorder = Recorder()
        for number in range(3):
            recorder.raised(caught(), received(f"body {number}"), "handler")
        recorder.raised(elsewhere(), received(), "handler")
        first, second = recorder.take()
        assert (first.count, first.exception_type, first.sample_body) == (3, "json.decoder.JSONDecodeError", "body 0")
        assert "json.loads(body)" in first.traceback
        assert first.message.startswith("Expecting value")
        assert (second.count, second.place.rpartition(".")[2]) == (1, "elsewhere")
        assert recorder.take() == ()

    def test_a_rejection_has_the_handler_as_its_place(self) -> None:
        recorder = Recorder()
        recorder.rejected("no such customer", received(), "shop.handlers.buy")
        (found,) = recorder.take()
        assert (found.exception_type, found.place) == ("queues.handlers.contract.Reject", "shop.handlers.buy")
        assert (found.message, found.traceback) == ("no such customer", "")

    def test_retries_are_kinds_by_their_reason_without_what_names_one_thing(self) -> None:
        recorder = Recorder()
        kinds = [
            recorder.asked(reason, received(), "shop.handlers.buy", Retry)
            for reason in ("order 4711 is not ready", "order 17 is not ready", "stock is being counted")
        ]
        first, second = recorder.take()
        assert (first.retry_reason, first.count, first.message) == (
            "order # is not ready",
            2,
            "order 4711 is not ready",
        )
        assert (second.retry_reason, second.count) == ("stock is being counted", 1)
        assert kinds == [first.fingerprint, first.fingerprint, second.fingerprint]

    def test_a_handler_that_makes_up_reasons_has_only_so_many(self) -> None:
        recorder = Recorder()
        for number in range(100):
            recorder.asked("x" * (number + 1), received(), "shop.handlers.buy", Retry)
        found = recorder.take()
        assert len(found) == MOST_OF_RUN + 1
        assert {one.count for one in found if one.retry_reason == OTHER} == {100 - MOST_OF_RUN}

    @pytest.mark.parametrize(
        ("reason", "expected"),
        [
            ("6f1d2c3b-0000-4000-8000-0123456789ab is locked", "# is locked"),
            ("object 65f1a2b3c4d5e6f7a8b9c0d1 at 12:30", "object # at #"),
            ("429, after 1.5 s", "#, after # s"),
            ("deadbeef decade", "deadbeef decade"),
            ("two\nlines", "two lines"),
            ("y" * 900, "y" * 200),
        ],
    )
    def test_kind_of_a_reason(self, reason: str, expected: str) -> None:
        assert kind_of(reason) == expected

    def test_a_handler_that_is_stuck_is_recorded_with_where_it_is(self) -> None:
        recorder = Recorder()
        recorder.stuck(TimedOut(3), received(), "shop.handlers.buy", "File handlers.py, line 3")
        (found,) = recorder.take()
        assert (found.exception_type, found.traceback) == (
            "jobs.consumer.outcome.TimedOut",
            "File handlers.py, line 3",
        )

    def test_an_exception_that_cannot_be_shown_does_no_harm(self) -> None:
        recorder = Recorder()
        try:
            raise Unprintable
        except Unprintable as error:
            recorder.raised(error, received(), "handler")
        (found,) = recorder.take()
        assert found.message == "(its message cannot be shown)"
        assert "Unprintable" in found.traceback

    def test_lone_surrogates_are_escaped(self) -> None:
        recorder = Recorder()
        recorder.raised(ValueError("bad \ud800 text"), received("body \udfff"), "handler")
        (found,) = recorder.take()
        for text in (found.message, found.traceback, found.sample_body):
            assert text is not None
            text.encode()
        assert found.message == "bad \\ud800 text"


@pytest.mark.parametrize("character", ["a", "ä", "😀"])
def test_a_body_is_cut_at_its_limit_of_bytes_and_between_characters(character: str) -> None:
    cut = failures.sample(character * SAMPLE_BYTES)
    assert SAMPLE_BYTES - 4 < len(cut.encode()) <= SAMPLE_BYTES
    assert set(cut) == {character}


def test_of_a_long_traceback_the_end_is_kept() -> None:
    def recurse(depth: int) -> None:
        if depth == 0:
            raise ValueError("x" * 2 * TRACEBACK_CHARACTERS + " the end")
        recurse(depth - 1)

    try:
        recurse(100)
    except ValueError as error:
        text = failures.trace_text(error)
    assert len(text) == TRACEBACK_CHARACTERS
    assert text.rstrip().endswith("the end")
