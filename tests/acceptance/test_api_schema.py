"""What the API's schema promises, of every operation: schemathesis against a live system."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support import schemathesis_run
from tests.support.live import Live, live

pytestmark = pytest.mark.timeout(2 * schemathesis_run.LONGEST)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, mongo_database: None) -> Iterator[Live]:
    # Nobody listens there: notices can be tested, and nobody gets them.
    with live(tmp_path_factory.mktemp("live"), ALERT_URLS="json://127.0.0.1:9/") as started:
        yield started


@pytest.fixture(scope="module")
def token(system: Live) -> str:
    return system.token()


@pytest.fixture(scope="module")
def prepared(system: Live, token: str) -> dict[str, str]:
    with httpx.Client(base_url=system.api, headers={"Authorization": f"Bearer {token}"}, timeout=30) as client:
        return schemathesis_run.prepare(system, client)


@pytest.fixture(scope="module")
def quick(
    system: Live, token: str, prepared: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> schemathesis_run.Reached:
    """What was reached without boundary values: a quarter of all requests."""
    directory = tmp_path_factory.mktemp("quick")
    return schemathesis_run.run(system, token, directory, prepared, "examples", "fuzzing", "stateful")


@pytest.mark.long
def test_every_operation_holds_what_the_schema_promises(quick: schemathesis_run.Reached) -> None:
    assert server_errors(quick) == set()
    # Not all: data at random may be refused.
    assert len(never_done(quick)) < len(quick) / 10, never_done(quick)


@pytest.mark.long
def test_boundary_values_hold_it_too(
    system: Live, token: str, prepared: dict[str, str], quick: schemathesis_run.Reached, tmp_path: Path
) -> None:
    reached = schemathesis_run.run(system, token, tmp_path, prepared, "coverage")

    assert server_errors(reached) == set()
    assert never_done(reached) & never_done(quick) == set()


def server_errors(reached: schemathesis_run.Reached) -> set[int]:
    return {status for statuses in reached.values() for status in statuses if status >= 500}


def never_done(reached: schemathesis_run.Reached) -> set[tuple[str, str]]:
    """Operations that never succeeded. One of them drains workers, so the id of one may be gone when its turn comes."""
    return {
        operation
        for operation, statuses in reached.items()
        if "{worker_id}" not in operation[1] and not any(s < 300 for s in statuses)
    }
