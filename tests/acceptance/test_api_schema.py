"""What the API's schema promises, of every operation: schemathesis against a live system."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support import schemathesis_run
from tests.support.live import Live, live


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, mongo_database: None) -> Iterator[Live]:
    with live(tmp_path_factory.mktemp("live")) as started:
        yield started


@pytest.mark.timeout(2 * schemathesis_run.LONGEST)
def test_every_operation_holds_what_the_schema_promises(system: Live, tmp_path: Path) -> None:
    token = system.token()
    with httpx.Client(base_url=system.api, headers={"Authorization": f"Bearer {token}"}, timeout=30) as client:
        prepared = schemathesis_run.prepare(system, client)

    reached = schemathesis_run.run(system, token, tmp_path, prepared)

    assert {status for statuses in reached.values() for status in statuses if status >= 500} == set()
    never_done = {operation for operation, statuses in reached.items() if not any(s < 300 for s in statuses)}
    assert never_done == set()
