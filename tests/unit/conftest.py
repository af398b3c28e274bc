"""What tests of handlers share. Imports stand in the fixtures, since this is read before Django is set up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from jobs.testing import Sandbox


@pytest.fixture
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the test registers is gone after it."""
    from queues.handlers import registry

    registry.discover()
    monkeypatch.setattr(registry, "_handlers", dict(registry.registered()))


@pytest.fixture
def box() -> Iterator[Sandbox]:
    """Queues in memory."""
    from jobs.testing import sandbox

    with sandbox() as made:
        yield made
