"""Fixtures for pytest. The wheel announces this module, so pytest has them wherever Queuesite is installed.

pytest loads it in every run, also in those of projects that have no Django settings, so it imports nothing of ours.
Without the wheel, a conftest.py names `jobs.testing.plugin`. `jobs.testing` sets up Django if nobody else has.
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
    from jobs.testing import sandbox

    with sandbox() as made:
        yield made
