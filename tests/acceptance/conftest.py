"""The processes of these tests run at their own speed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

#: By which a process that coverage.py measures tells those that it starts to do the same.
_COVERAGE = "COVERAGE_PROCESS_CONFIG"


@pytest.fixture(autouse=True, scope="module")
def processes_are_not_measured() -> Iterator[None]:
    """Measuring doubles the start of each of hundreds of processes, and lines are what the other tests are to cover."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(_COVERAGE, raising=False)
        yield
