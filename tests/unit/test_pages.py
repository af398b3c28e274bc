"""Cursors: their text, and what is none."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import ObjectId
from hypothesis import given
from hypothesis import strategies as st

from queuesite.errors import InvalidInput
from queuesite.pages import Cursor, cut

ID = ObjectId("6ae3f1c2d4b5a69788990011")


@pytest.mark.parametrize("value", ["orders", "é", 5, -1, datetime(2026, 11, 24, 8, 15, 0, 123_000, UTC)])
def test_text_is_read_back(value: Any) -> None:
    cursor = Cursor(value, ID)

    assert Cursor.decode(cursor.encode(), type(value)) == cursor
    assert cursor.encode().isascii()


def text(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ([5, str(ID)], str),
        (["5", str(ID)], int),
        ([2**63, str(ID)], int),
        (["\ud800", str(ID)], str),
        ([{"t": 10**20}, str(ID)], datetime),
        ([{"t": "x"}, str(ID)], datetime),
        ([5, "x"], int),
        ([5, None], int),
        ([5], int),
        ({}, int),
        (None, int),
    ],
)
def test_what_is_none(content: object, kind: Any) -> None:
    with pytest.raises(InvalidInput, match="cursor does not belong to this list"):
        Cursor.decode(text(content), kind)


@given(st.text(max_size=100))
def test_any_text_is_a_cursor_or_refused(found: str) -> None:
    with suppress(InvalidInput):
        assert isinstance(Cursor.decode(found, str).id, ObjectId)


def test_last_page_has_no_next() -> None:
    rows = [Cursor(n, ID) for n in range(3)]

    assert cut(rows, 3, lambda row: row) == (rows, None)
    assert cut(rows, 2, lambda row: row) == (rows[:2], rows[1].encode())
    assert cut([], 2, lambda row: row) == ([], None)
