"""Queries that are cut up for the embedded server ask for the same as the whole."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from queuesite.foundation.workarounds import by_the_hundred, slices

NOW = datetime(2026, 1, 2, tzinfo=UTC)
EARLIEST, LATEST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
moments = st.timedeltas(min_value=timedelta(days=-9), max_value=timedelta(minutes=1)).map(lambda ago: NOW + ago)


def stored(moment: datetime) -> datetime:
    """What pymongo makes of it."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def meets(condition: dict[str, Any], moment: datetime) -> bool:
    """Whether a stored moment does."""
    return stored(condition.get("$gt", EARLIEST)) < moment < stored(condition.get("$lt", LATEST))


@given(since=st.none() | moments, until=st.none() | moments, moment=moments)
def test_each_moment_of_the_span_is_in_one_slice(
    since: datetime | None, until: datetime | None, moment: datetime
) -> None:
    moment = stored(moment)
    wanted = (since is None or stored(since) <= moment) and (until is None or moment < stored(until))

    assert sum(meets(one, moment) for one in slices(since, until, NOW)) == wanted


def test_slices_go_back_from_the_newest() -> None:
    lower = [one.get("$gt", EARLIEST) for one in slices(None, None, NOW)]

    assert lower == sorted(lower, reverse=True)
    assert lower[0] == NOW - timedelta(minutes=1, milliseconds=1)


@given(st.lists(st.integers(), max_size=250))
def test_no_id_is_lost(ids: list[int]) -> None:
    parts = list(by_the_hundred(ids))

    assert [one for part in parts for one in part] == ids
    assert all(0 < len(part) <= 100 for part in parts)
