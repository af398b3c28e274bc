"""What the API's schema promises, of every operation: schemathesis against a live system.

The operations are three parts of about the same length, which may run in three processes (see tests.support.division),
each with a system of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support import schemathesis_run
from tests.support.live import Live, live

pytestmark = pytest.mark.timeout(2 * schemathesis_run.LONGEST)

MESSAGES = r"/queues/.*/(messages|dead-letters)"
QUEUES = r"/queues(?!/.*/(messages|dead-letters))|/purge"
OTHERS = r"^(?!.*(/queues|/purge))"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, mongo_database: None) -> Iterator[Live]:
    with live(tmp_path_factory.mktemp("live")) as started:
        yield started


@pytest.fixture(scope="module")
def token(system: Live) -> str:
    return system.token()


@pytest.fixture(scope="module")
def prepared(system: Live, token: str) -> dict[str, str]:
    with httpx.Client(base_url=system.api, headers={"Authorization": f"Bearer {token}"}, timeout=30) as client:
        return schemathesis_run.prepare(system, client)


@pytest.fixture
def holds(system: Live, token: str, prepared: dict[str, str], tmp_path: Path) -> schemathesis_run.Holds:
    """Try the operations whose paths a pattern finds."""

    def check(pattern: str) -> None:
        reached = schemathesis_run.run(
            system,
            token,
            tmp_path,
            prepared,
            *("--phases", "examples,coverage,fuzzing"),
            *("--include-path-regex", pattern),
            *("--include-operation-id", "list_queues"),  # from which it knows the names of queues
        )

        assert no_server_error(reached)
        meant = {operation for operation in reached if re.search(pattern, operation[1])}
        assert meant
        never_done = {operation for operation in meant if not any(status < 300 for status in reached[operation])}
        assert never_done == set(), {one: dict(reached[one]) for one in never_done}

    return check


def no_server_error(reached: schemathesis_run.Reached) -> bool:
    return {status for statuses in reached.values() for status in statuses if status >= 500} == set()


def test_operations_of_messages(holds: schemathesis_run.Holds) -> None:
    holds(MESSAGES)


def test_operations_of_queues(holds: schemathesis_run.Holds) -> None:
    holds(QUEUES)


def test_other_operations(holds: schemathesis_run.Holds) -> None:
    holds(OTHERS)


def test_sequences_of_operations(system: Live, token: str, prepared: dict[str, str], tmp_path: Path) -> None:
    reached = schemathesis_run.run(system, token, tmp_path, prepared, "--phases", "stateful")

    assert no_server_error(reached)
    assert len([statuses for statuses in reached.values() if any(status < 300 for status in statuses)]) > 5


def test_every_operation_is_in_a_part(system: Live, token: str) -> None:
    schema = httpx.get(f"{system.api}/openapi.json", headers={"Authorization": f"Bearer {token}"}).json()

    for path in schema["paths"]:
        assert sum(bool(re.search(pattern, path)) for pattern in (MESSAGES, QUEUES, OTHERS)) == 1, path
