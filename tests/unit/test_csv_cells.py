"""What a spreadsheet would take for a formula is none in an export."""

from __future__ import annotations

import pytest

from jobs.admin.jobs import _harmless


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\uff1d"])
@pytest.mark.parametrize("before", ["", " ", "\t", "a;", "a; ", "a\t", "a\n", "a\r\n", "a,", 'a;"', "a|"])
def test_formula_is_text(before: str, first: str) -> None:
    assert _harmless(f"{before}{first}cmd()") == f"{before}'{first}cmd()"


@pytest.mark.parametrize("cell", ["a-b", "2026-11-24T08:00:00+00:00", "x = 3", 'KeyError: "a"', "", 3, -3, None])
def test_what_is_none_stays(cell: object) -> None:
    assert _harmless(cell) == cell
