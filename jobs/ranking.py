"""Queues sorted by what no field of theirs holds: rate, failures, the handler's time, the age of the oldest message."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from bson import ObjectId

from jobs import reads, statistics
from jobs.statistics import Figures
from queues import repository, search
from queues.models import Queue
from queues.state import Context
from queues.summaries import Named
from queuesite.foundation.errors import InvalidInput

_FIGURES: Mapping[str, Callable[[Figures], float | None]] = MappingProxyType(
    {
        "rate": lambda figures: figures.rate,
        "failed": lambda figures: figures.failed,
        "p95": lambda figures: figures.p95,
    }
)
#: What queues can be sorted by here, beside `queues.search.SORTS`.
SORTS = (*_FIGURES, "age")
#: What lists of queues can be sorted by: in the admin, whose columns name them, in the API and on the command line.
ALL_SORTS = (*search.SORTS, *SORTS)


def is_ranking(sort: str) -> bool:
    """Whether queues are sorted by this here; after `-`, it descends."""
    return sort.removeprefix("-") in SORTS


def list_queues(
    *, sort: str = "name", cursor: str | None, limit: int, context: Context | None = None, **wanted: Any
) -> tuple[list[Queue], str | None]:
    """A page of the queues that match, by any of `ALL_SORTS` (after `-`, it descends), and the cursor of the next.

    `context` is read if it is needed, unless it is given. Raises `InvalidInput` for any other sort, or for a cursor of
    another list.
    """
    if sort.removeprefix("-") not in ALL_SORTS:
        raise InvalidInput(
            f"sort {sort!r}: expected one of {', '.join(ALL_SORTS)}, after - for descending order", field="sort"
        )
    if is_ranking(sort):
        return find_queues(sort=sort, cursor=cursor, limit=limit, context=context, **wanted)
    return search.find_queues(sort=sort, cursor=cursor, limit=limit, **wanted)


def find_queues(
    *, sort: str, cursor: str | None, limit: int, context: Context | None = None, **wanted: Any
) -> tuple[list[Queue], str | None]:
    """A page of the queues that match, as `queues.search.find_queues` gives it, and the cursor of the next.

    Queues without a figure come last, and equal ones by name. Figures change from minute to minute, so a cursor is a
    place: a queue that has changed its place may be on two pages, or on none. Raises `InvalidInput`.
    """
    if cursor is not None and not (cursor.isdecimal() and len(cursor) < 9):
        raise InvalidInput("cursor does not belong to this list; start again without it", field="cursor")
    begin = int(cursor or 0)
    ids = _ranked(sort, wanted, context)
    page = ids[begin : begin + limit]
    found = {queue.id: queue for queue in repository.by_ids(page)}
    following = str(begin + limit) if len(ids) > begin + limit else None
    return [found[one] for one in page if one in found], following


def _ranked(sort: str, wanted: Mapping[str, Any], context: Context | None) -> list[ObjectId]:
    value, descends = _value(sort.removeprefix("-"), context), sort.startswith("-")

    def key(queue: Named) -> tuple[bool, float]:
        found = value(queue)
        return found is None, 0.0 if found is None else -found if descends else found

    # They come by name, and a sort keeps the order of equals.
    return [queue.id for queue in sorted(search.find_names(**wanted), key=key)]


def _value(by: str, context: Context | None) -> Callable[[Named], float | None]:
    if by == "age":
        return _age(reads.queue_context() if context is None else context)
    figure, figures, nothing = _FIGURES[by], statistics.all_figures(), Figures()
    return lambda queue: figure(figures.get(queue.id, nothing))


def _age(context: Context) -> Callable[[Named], float | None]:
    """The age of the oldest message, as `queues.health.figures.oldest_message` knows it."""

    def age(queue: Named) -> float | None:
        known = [moment for moment in (context.oldest.get(queue.name), queue.waiting_since) if moment is not None]
        return (context.now - min(known)).total_seconds() if known else None

    return age
