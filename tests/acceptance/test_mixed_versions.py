"""A rolling upgrade: masters and workers of the last release and of this one work side by side, on one database."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from jobs import services as jobs
from jobs import silences
from jobs.indexes import ensure_indexes
from queues import services
from queuesite.foundation.databases import database
from queuesite.foundation.errors import InvalidInput
from tests.support import last_release
from tests.support.processes import manage
from tests.support.system import LONG, System, all_handled, create, leader_is, send, worker_of
from tests.support.waiting import eventually

pytestmark = [pytest.mark.usefixtures("queues"), pytest.mark.long, pytest.mark.timeout(300)]

MESSAGES = 20
#: Settings of a queue that the last release does not know.
NEW: Mapping[str, object] = {
    "max_backlog": 1_000,
    "max_dead_letters": 5,
    "failing_percent": 50,
    "notify_of": "failing",
    "notify_after": 600,
}


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
    create("after", **NEW)
    silences.begin(["after"], timedelta(hours=1))
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
    # What the last release does not know is left alone by it, and by a change of what it does know.
    of_before = worker_of(old_worker)
    assert of_before is not None
    with pytest.raises(InvalidInput, match="earlier release"):
        jobs.set_capacity(of_before.worker_id, 3)
    changed = system.start("sqs", "set-concurrency", "after", "2", clone=old)
    assert changed.process.wait(LONG) == 0, changed.output()

    # And back to the last release.
    second_old_master = system.start("runmaster", clone=old)
    second_old_master.says("master_started", LONG)
    assert new_master.stop() == 0
    eventually(lambda: leader_is(second_old_master), LONG, "the old master leads again")
    handles(system, "the old release again")
    kept = services.get("after")
    assert kept.concurrency == 2
    assert {name: getattr(kept, name) for name in NEW} == NEW
    assert [one.subject for one in silences.current()] == ["after"]

    assert prepared <= indexes(), "an index that the old version needs is gone"
    assert old_master.process.wait(LONG) == 0
    for process in system.processes:
        assert "Traceback" not in process.output(), process.output()
