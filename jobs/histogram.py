"""How long handlers take and messages wait, as counts in fixed buckets: cheap to add up over minutes and queues. Pure.

The bounds are those of Prometheus's client with 30 s, 60 s and 300 s on top, since handlers may take minutes. Waits
have bounds of their own: SQS keeps messages for up to 14 days and a backlog of hours is common, while differences below
50 ms are those of two machines' clocks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

#: Upper bounds of the buckets, in seconds; what is longer is in one more.
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
BUCKETS = len(BOUNDS) + 1
#: The same for waits: up to an hour, four hours and a day.
WAIT_BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0)
WAIT_BUCKETS = len(WAIT_BOUNDS) + 1


def bucket_of(seconds: float, bounds: Sequence[float] = BOUNDS) -> int:
    """The bucket that a duration falls into; a bound belongs to the bucket that it ends."""
    return bisect_left(bounds, seconds)


def counts(durations: Iterable[float], bounds: Sequence[float] = BOUNDS) -> tuple[int, ...]:
    """Durations (seconds) as counts, a number for each bucket."""
    found = [0] * (len(bounds) + 1)
    for seconds in durations:
        found[bucket_of(seconds, bounds)] += 1
    return tuple(found)


def as_document(buckets: Sequence[int]) -> dict[str, int]:
    """Counts as the sub-fields `b0`, `b1`, … of a document; those that are zero are left out."""
    return {f"b{place}": count for place, count in enumerate(buckets) if count}


def from_document(document: Mapping[str, int], bounds: Sequence[float] = BOUNDS) -> tuple[int, ...]:
    """Counts from the sub-fields of a document."""
    return tuple(int(document.get(f"b{place}", 0)) for place in range(len(bounds) + 1))


def added(*histograms: Sequence[int]) -> tuple[int, ...]:
    """The sum of counts."""
    return tuple(sum(column) for column in zip(*histograms, strict=True)) if histograms else (0,) * BUCKETS


def quantile(buckets: Sequence[int], share: float, bounds: Sequence[float] = BOUNDS) -> float | None:
    """The duration (seconds) that a `share` (0 to 1) of the handlings did not exceed, or None if there were none.

    It is estimated within its bucket as if durations lay evenly there; one past the last bound is that bound.
    """
    total = sum(buckets)
    if not total:
        return None
    rank = share * total
    below = 0
    for place, count in enumerate(buckets):
        if count and below + count >= rank:
            if place == len(bounds):
                break
            lower = bounds[place - 1] if place else 0.0
            return lower + (bounds[place] - lower) * max(0.0, rank - below) / count
        below += count
    return bounds[-1]
