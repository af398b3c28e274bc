"""The processes of these tests run at their own speed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.processes import unmeasured


@pytest.fixture(autouse=True, scope="module")
def processes_are_not_measured() -> Iterator[None]:
    with unmeasured():
        yield
