"""Times as viewers type them."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from queuesite.admin.times import in_address
from queuesite.foundation.moments import parse

#: 00:30 in Berlin.
NOW = datetime(2026, 11, 25, 23, 30, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("0:05", "2026-11-25T23:05Z"),
        ("14:05", "2026-11-25T13:05Z"),
        ("14:05:59", "2026-11-25T13:05Z"),
        ("2026-11-20 14:05", "2026-11-20T13:05Z"),
        ("2026-07-20T14:05", "2026-07-20T12:05Z"),
        ("2026-07-20T14:05Z", "2026-07-20T14:05Z"),
    ],
)
def test_a_time_is_the_last_one_in_the_zone_of_the_viewer(text: str, moment: str) -> None:
    found = parse(text, BERLIN, NOW)
    assert found is not None
    assert in_address(found) == moment


@pytest.mark.parametrize("text", ["", "x", "24:00", "1:5", "2026-02-30 14:05", "2026-13-01T00:00Z", "14:05 pm"])
def test_another_text_is_no_time(text: str) -> None:
    assert parse(text, BERLIN, NOW) is None
