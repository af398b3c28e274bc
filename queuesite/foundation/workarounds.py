"""Workarounds for the embedded MongoDB (SecantusDB).

It compares and sorts without indexes. And a document that is written while an index is built, as happens after a
collection was dropped, is missing from that index for good: a query that uses it does not find the document. So what
must not be overlooked, such as an unfinished job that nobody owns, is found by `_id` or by its status, and we check its
other conditions ourselves. And in an index of three fields or more, `$gte` on a descending field (`$lte` on an
ascending one) misses equal values if the fields before it are each compared with one value and another field follows.
The indexes of lists (filter, date descending, `_id`) are such: use `from_then` instead of `$gte`.

MongoDB itself does not need them, and they cost it nothing. Look here before you simplify a query, and remove a
workaround when the embedded server no longer needs it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, TypeVar

T = TypeVar("T")

#: Widths of the slices of time in which a list is read, the newest first; anything older is read at once.
_SLICES = (timedelta(minutes=1), timedelta(minutes=15), timedelta(hours=4), timedelta(days=3))
_FIRST = datetime.min.replace(tzinfo=UTC)
#: Dates in MongoDB are whole milliseconds.
_MILLISECOND = timedelta(milliseconds=1)


def by_the_hundred(ids: Iterable[T]) -> Iterator[list[T]]:
    """Ids for an `$in`, a hundred at a time.

    The embedded server compares each document with each id: a thousand ids take 0.8 s at once, 0.1 s by the hundred.
    """
    left = iter(ids)
    while some := list(islice(left, 100)):
        yield some


def slices(since: datetime | None, until: datetime | None, now: datetime) -> Iterator[dict[str, Any]]:
    """Conditions on a date that together mean "from `since` to before `until`", the newest slice of time first.

    A reader that stops when its page is full has read a short range of an index. On MongoDB a sort by that index would
    be enough; the embedded server sorts everything that it has found. An empty condition means any date.
    """
    top = until or now
    upper: dict[str, Any] = {} if until is None else {"$lt": until}
    for width in (*_SLICES, None):
        lower = since
        if width is not None and top - _FIRST > width:
            lower = max(filter(None, (since, top - width)))
        yield upper if lower is None else {**upper, **from_then(lower)}
        if lower is None or lower == since:
            return
        upper = {"$lt": _whole(lower)}


def from_then(moment: datetime) -> dict[str, datetime]:
    """A condition like `$gte`, which misses equal dates in the indexes of lists."""
    whole = _whole(moment)
    # Nothing is older than the first moment, so there is nothing that `$gte` could miss.
    return {"$gt": whole - _MILLISECOND} if whole - _FIRST >= _MILLISECOND else {"$gte": whole}


def _whole(moment: datetime) -> datetime:
    """As MongoDB keeps it."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
