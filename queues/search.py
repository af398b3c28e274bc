"""Lists of queues: which, in which order, page by page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from queues import repository
from queues.models import Queue
from queuesite.errors import InvalidInput
from queuesite.pages import Cursor, cut

#: What a list of queues may be sorted by: a name for it, and MongoDB's field. Each has a value in every document.
SORTS = {
    "name": "name",
    "priority": "priority",
    "concurrency": "concurrency",
    "visible": "depthVisible",
    "deadLetters": "deadLetters",
    "createdAt": "createdAt",
}


def find_queues(
    *,
    paused: bool | None = None,
    handler: str | None = None,
    prefix: str | None = None,
    containing: str | None = None,
    where: Mapping[str, Any] | None = None,
    sort: str = "name",
    cursor: str | None = None,
    limit: int = 50,
) -> tuple[list[Queue], str | None]:
    """A page of the queues that match, and the cursor of the next. `sort` is one of SORTS, downwards with `-` before.

    `where` is a further condition in MongoDB's terms, such as `jobs.statistics.state_filter`.
    Raises `InvalidInput` for another sort or a cursor that is not one of this list.
    """
    key = sort.removeprefix("-")
    if key not in SORTS:
        raise InvalidInput(
            f"sort {sort!r}: expected one of {', '.join(SORTS)}, with - before it downwards", field="sort"
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
    if where:
        filters.append(dict(where))
    if cursor is not None:
        kind: Any = {"name": str, "createdAt": datetime}.get(key, int)
        filters.append(Cursor.decode(cursor, kind).behind(field, descending=descending))
    found = repository.find({"$and": filters} if filters else {}, field, descending=descending, limit=limit + 1)
    return cut(found, limit, lambda queue: Cursor(getattr(queue, attribute), queue.id))
