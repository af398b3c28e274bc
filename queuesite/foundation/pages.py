"""Pages by cursor: the next page begins after the last document of this one.

A cursor is the sort key of that document. A page therefore costs the same at the start of a list and a million
documents later, and documents that are inserted meanwhile shift nothing.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from bson import ObjectId

from queuesite.foundation.errors import InvalidInput

M = TypeVar("M")

K = TypeVar("K", str, int, datetime)

#: The range of MongoDB's 64-bit integers.
_MOST = 2**63


@dataclass(frozen=True)
class Cursor(Generic[K]):
    """The sort key of a page's last document: the value of the field that sorts, and the `_id` for equal values."""

    value: K
    id: ObjectId

    def encode(self) -> str:
        """Return the cursor as text for a URL."""
        value: Any = self.value
        if isinstance(value, datetime):
            value = {"t": round(value.timestamp() * 1000)}
        return base64.urlsafe_b64encode(json.dumps([value, str(self.id)]).encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str, kind: type[K]) -> Cursor[K]:
        """Return the cursor of a text. Its value must be a `kind`. Raises `InvalidInput`."""
        try:
            value, key = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            if isinstance(value, dict):
                value = datetime.fromtimestamp(value["t"] / 1000, UTC)
            elif isinstance(value, str):
                value.encode()  # fails on half a surrogate pair
            elif isinstance(value, int) and abs(value) >= _MOST:
                value = None
            if isinstance(value, kind) and isinstance(key, str):
                return cls(value, ObjectId(key))
        except Exception:  # noqa: S110 - whatever is wrong with it, it is not one of ours
            pass
        raise InvalidInput(
            "cursor does not belong to this list; use `next` of the previous page, unchanged", field="cursor"
        )

    def behind(self, field: str, *, descending: bool) -> dict[str, Any]:
        """The filter for documents after it, sorted by (`field`, `_id`). The first condition bounds an index scan."""
        beyond, to = ("$lt", "$lte") if descending else ("$gt", "$gte")
        return {
            "$and": [{field: {to: self.value}}, {"$or": [{field: {beyond: self.value}}, {"_id": {beyond: self.id}}]}]
        }


def cut(found: Sequence[M], limit: int, key: Callable[[M], Cursor[Any]]) -> tuple[list[M], str | None]:
    """The first `limit` of up to `limit + 1` documents, and the cursor of the next page, if there is one."""
    page = list(found[:limit])
    return page, key(page[-1]).encode() if len(found) > limit else None
