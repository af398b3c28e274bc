"""Fixtures for pytest: `pytest_plugins = ["jobs.testing.plugin"]` in the conftest.py at the root of the tests.

Django must be set up, which pytest-django does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from jobs.testing import Sandbox


@pytest.fixture
def queue_sandbox() -> Iterator[Sandbox]:
    """Queues in memory in place of SQS during the test, for all code that sends."""
    # Imported only here: pytest loads its plugins before Django has its settings.
    from jobs.testing import sandbox

    with sandbox() as made:
        yield made
