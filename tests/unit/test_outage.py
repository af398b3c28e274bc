"""Living through a server's absence."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from queuesite.foundation.config import get_config
from queuesite.foundation.logs import configure
from queuesite.foundation.outage import FIRST_PAUSE, LONGEST_PAUSE, Outage


@pytest.fixture
def info() -> Iterator[None]:
    configure("INFO", "console")
    yield
    configure(get_config().log_level, get_config().log_format)


def test_it_is_told_once_and_its_end_with_its_length(info: None) -> None:
    moment = [100.0]
    outage = Outage("SQS", lambda: moment[0])
    with capture_logs() as events:
        outage.over()
        for _ in range(5):
            outage.failed(ConnectionError("refused"))
            moment[0] += 1.5
        during = outage.active
        outage.over()
        outage.over()

    assert (during, outage.active) == (True, False)
    assert [event["event"] for event in events] == ["outage_began", "outage_over"]
    assert events[0]["error"] == "ConnectionError: refused"
    assert events[1]["seconds"] == 7.5


def test_pauses_double_up_to_the_longest_with_jitter() -> None:
    outage = Outage("SQS")
    expected = FIRST_PAUSE
    for _ in range(10):
        pause = outage.failed(ConnectionError())
        assert expected / 2 <= pause <= expected
        expected = min(2 * expected, LONGEST_PAUSE)
    assert expected == LONGEST_PAUSE


def test_pauses_differ() -> None:
    assert len({Outage("SQS").failed(ConnectionError()) for _ in range(20)}) > 10


def test_next_outage_begins_with_a_short_pause() -> None:
    outage = Outage("SQS")
    for _ in range(10):
        outage.failed(ConnectionError())
    outage.over()

    assert outage.failed(ConnectionError()) <= FIRST_PAUSE


def test_long_error_is_cut(info: None) -> None:
    with capture_logs() as events:
        Outage("SQS").failed(ConnectionError("x" * 10_000))

    assert len(events[0]["error"]) == 500
