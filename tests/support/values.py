"""Values that a test knows to exist."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")


def given(value: T | None) -> T:
    """`value`, after checking that it is not None."""
    assert value is not None
    return value
