"""A rolling upgrade: masters and workers of the last release and of this one work side by side, on one database."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.indexes import ensure_indexes
from queues import services
from queuesite.foundation.databases import database
from tests.support import last_release
from tests.support.processes import manage
from tests.support.system import LONG, System, all_handled, create, leader_is, send, worker_of
from tests.support.waiting import eventually

pytestmark = [pytest.mark.usefixtures("queues"), pytest.mark.long, pytest.mark.timeout(300)]

MESSAGES = 20


@pytest.fixture
def old(tmp_path: Path) -> Path:
    directory = tmp_path / "old"
    directory.mkdir()
    if problem := last_release.extract(directory):
        if "CI" in os.environ:
            pytest.fail(problem)
        pytest.skip(problem)
    return directory


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    """On an empty database, which the first process prepares."""
    database().client.drop_database(database().name)
    made = System(tmp_path)
    made.set(listen_queues=20)
    yield made
    made.close()
    ensure_indexes()  # other tests find what they expect


def indexes() -> set[tuple[str, str]]:
    """Each index, with its collection."""
    return {
        (name, index) for name in database().list_collection_names() for index in database()[name].index_information()
    }


def handles(system: System, prefix: str) -> None:
    """Both queues are processed, whichever version made them."""
    ids = [
        one
        for name in ("before", "after")
        for one in send(services.get(name), *(f"{prefix} {number}" for number in range(MESSAGES)))
    ]
    all_handled(system, ids)


def test_old_and_new_work_side_by_side(system: System, old: Path) -> None:
    # The last release runs, and has made a queue.
    old_master = system.start("runmaster", clone=old)
    eventually(lambda: leader_is(old_master), LONG, "the old master leads")
    made = system.start("sqs", "create", "before", "--handler", "recorder", clone=old)
    assert made.process.wait(LONG) == 0, made.output()
    prepared = indexes()

    # The release is migrated, and the workers are upgraded first.
    assert manage("migrate", "--database", "mongo", "--verbosity", "0").returncode == 0
    create("after")
    worker = system.worker()
    assert prepared <= indexes(), "an index that the old version needs is gone"
    handles(system, "old master, new worker")

    # Then the masters, and a worker of the old release comes back.
    new_master = system.start("runmaster")
    new_master.says("master_started", LONG)
    old_master.send(signal.SIGTERM)
    eventually(lambda: leader_is(new_master), LONG, "the new master leads")
    old_worker = system.start("runworker", clone=old)
    eventually(lambda: worker_of(old_worker), LONG, "the old worker has registered")
    assert worker.stop() == 0
    handles(system, "new master, old worker")

    assert prepared <= indexes(), "an index that the old version needs is gone"
    assert old_master.process.wait(LONG) == 0
    for process in system.processes:
        assert "Traceback" not in process.output(), process.output()
