"""Lists of queues: filtered, sorted, a page at a time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from queues import repository
from queues.health.rules import HealthSelection
from queues.models import Queue
from queues.state import Selection
from queuesite.foundation.errors import InvalidInput
from queuesite.foundation.pages import Cursor, cut

#: What a list of queues may be sorted by, each with MongoDB's field, which has a value in every document.
SORTS = {
    "name": "name",
    "priority": "priority",
    "concurrency": "concurrency",
    "visible": "depthVisible",
    "deadLetters": "deadLetters",
    "createdAt": "createdAt",
}


def named(names: Sequence[str]) -> list[Queue]:
    """The queues of these names that exist, in the order of their names."""
    return repository.find({"name": {"$in": list(names)}}, "name", descending=False, limit=len(names)) if names else []


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
    filters: list[dict[str, Any]] = []
    if paused is not None:
        filters.append({"paused": paused})
    if handler is not None:
        filters.append({"handler": handler})
    if prefix:
        filters.append({"name": {"$regex": f"^{re.escape(prefix)}"}})
    if containing:
        filters.append({"name": {"$regex": re.escape(containing), "$options": "i"}})
    filters += [selection.filter for selection in selections]
    if cursor is not None:
        kind: Any = {"name": str, "createdAt": datetime}.get(key, int)
        filters.append(Cursor.decode(cursor, kind).behind(field, descending=descending))
    found = repository.find({"$and": filters} if filters else {}, field, descending=descending, limit=limit + 1)
    return cut(found, limit, lambda queue: Cursor(getattr(queue, attribute), queue.id))
