"""Durations as counts in buckets, and what can be told from them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import histogram

durations = st.lists(st.floats(min_value=0, max_value=1_000, allow_nan=False), min_size=1, max_size=50)


@pytest.mark.parametrize(
    ("seconds", "bucket"), [(0, 0), (0.005, 0), (0.0051, 1), (0.1, 4), (299, 13), (300, 13), (300.1, 14), (1e9, 14)]
)
def test_a_bound_belongs_to_the_bucket_that_it_ends(seconds: float, bucket: int) -> None:
    assert histogram.bucket_of(seconds) == bucket


@given(durations)
def test_nothing_gets_lost(values: list[float]) -> None:
    counts = histogram.counts(values)

    assert sum(counts) == len(values)
    assert histogram.from_document(histogram.as_document(counts)) == counts


@given(durations, durations)
def test_counts_add_up(one: list[float], two: list[float]) -> None:
    assert histogram.added(histogram.counts(one), histogram.counts(two)) == histogram.counts([*one, *two])


@given(durations, st.floats(min_value=0, max_value=1))
def test_quantile_lies_in_the_bucket_of_the_true_one(values: list[float], share: float) -> None:
    true = sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
    bucket = histogram.bucket_of(true)
    bounds = (0.0, *histogram.BOUNDS, histogram.BOUNDS[-1])

    found = histogram.quantile(histogram.counts(values), share)

    assert found is not None
    # Where rounding decides which of two neighbours it is, either will do.
    assert bounds[max(0, bucket - 1)] <= found <= bounds[min(bucket + 2, len(bounds) - 1)]


def test_quantiles_of_even_durations() -> None:
    counts = histogram.counts([n / 100 for n in range(1, 101)])

    assert histogram.quantile(counts, 0.5) == pytest.approx(0.5, abs=0.01)
    assert histogram.quantile(counts, 0.95) == pytest.approx(0.95, abs=0.01)


def test_of_nothing_and_of_what_is_past_the_last_bound() -> None:
    assert histogram.quantile(histogram.added(), 0.5) is None
    assert histogram.quantile(histogram.counts([1_000]), 0.5) == 300.0
