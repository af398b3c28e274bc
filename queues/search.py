"""Lists of queues: filtered, sorted, a page at a time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from queues import repository, summaries
from queues.health.rules import HealthSelection
from queues.models import Queue
from queues.state import Context, Selection, State
from queuesite.foundation import documents
from queuesite.foundation.errors import InvalidInput
from queuesite.foundation.pages import Cursor, cut

#: What a list of queues may be sorted by, each with MongoDB's field, which has a value in every document.
SORTS = {
    "name": "name",
    "priority": "priority",
    "concurrency": "concurrency",
    "visible": "depthVisible",
    "inFlight": "depthInFlight",
    "deadLetters": "deadLetters",
    "createdAt": "createdAt",
}


def _conditions(
    *,
    paused: bool | None = None,
    handler: str | None = None,
    prefix: str | None = None,
    containing: str | None = None,
    selections: Sequence[Selection | HealthSelection] = (),
) -> list[dict[str, Any]]:
    """What `find_queues` is asked for, as filters of MongoDB."""
    filters: list[dict[str, Any]] = []
    if paused is not None:
        filters.append({"paused": paused})
    if handler is not None:
        filters.append({"handler": handler})
    if prefix:
        filters.append({"name": {"$regex": f"^{re.escape(prefix)}"}})
    if containing:
        filters.append({"name": documents.containing(containing)})
    filters += [selection.filter for selection in selections]
    return filters


def find_names(**wanted: Any) -> list[summaries.Named]:
    """All queues that match (as `find_queues` takes it), by name."""
    return summaries.named(_together(_conditions(**wanted)))


def sums(context: Context, **wanted: Any) -> tuple[dict[State, summaries.Sums], summaries.HealthCounts]:
    """The queues that match (as `find_queues` takes it): added up by their state, and counted by what is wrong."""
    return summaries.counted(context, _together(_conditions(**wanted)))


def _together(filters: list[dict[str, Any]]) -> dict[str, Any]:
    return {"$and": filters} if filters else {}


def find_queues(
    *,
    paused: bool | None = None,
    handler: str | None = None,
    prefix: str | None = None,
    containing: str | None = None,
    selections: Sequence[Selection | HealthSelection] = (),
    sort: str = "name",
    cursor: str | None = None,
    limit: int = 50,
) -> tuple[list[Queue], str | None]:
    """A page of the queues that match, and the cursor of the next. `sort` is one of SORTS; after `-`, it descends.

    Raises `InvalidInput` for another sort or for a cursor of another list.
    """
    key = sort.removeprefix("-")
    if key not in SORTS:
        raise InvalidInput(
            f"sort {sort!r}: expected one of {', '.join(SORTS)}, after - for descending order", field="sort"
        )
    field, descending = SORTS[key], sort.startswith("-")
    attribute = next(f.attname for f in Queue._meta.concrete_fields if f.column == field)
    filters = _conditions(paused=paused, handler=handler, prefix=prefix, containing=containing, selections=selections)
    if cursor is not None:
        kind: Any = {"name": str, "createdAt": datetime}.get(key, int)
        filters.append(Cursor.decode(cursor, kind).behind(field, descending=descending))
    found = repository.find(_together(filters), field, descending=descending, limit=limit + 1)
    return cut(found, limit, lambda queue: Cursor(getattr(queue, attribute), queue.id))
