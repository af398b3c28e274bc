"""Simulates a MongoDB that does not answer, without stopping a server."""

from __future__ import annotations

from typing import Any

import pytest
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import AutoReconnect

_OPERATIONS = (
    "aggregate",
    "bulk_write",
    "count_documents",
    "create_indexes",
    "delete_many",
    "delete_one",
    "distinct",
    "estimated_document_count",
    "find",
    "find_one",
    "find_one_and_update",
    "insert_many",
    "insert_one",
    "update_many",
    "update_one",
)


def mongodb_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every operation fail from now on, as pymongo's do if the server is gone."""

    def away(*_: Any, **__: Any) -> Any:
        raise AutoReconnect("db.example:27017: connection closed")

    for name in _OPERATIONS:
        monkeypatch.setattr(Collection, name, away)
    monkeypatch.setattr(Database, "command", away)
