"""A Django project that has only our backend enqueues tasks; a real worker runs them, and the project reads results."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from queues import services
from tests.support.processes import LONGEST, ROOT
from tests.support.system import LONG, System
from tests.support.waiting import eventually

pytestmark = [pytest.mark.usefixtures("queues"), pytest.mark.timeout(180)]

PROJECT = ROOT / "tests" / "project_outside"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    made = System(tmp_path_factory.mktemp("tasks"))
    # As a team would run it: its code beside ours, and its tasks named.
    made.set(handler_modules="", task_modules="shop.tasks", pythonpath=f"{ROOT}{os.pathsep}{PROJECT}")
    yield made
    made.close()


def shop(*arguments: str, **environment: str) -> dict[str, Any]:
    """A command of the project outside; what it printed."""
    paths = os.pathsep.join([str(PROJECT), str(ROOT)])
    done = subprocess.run(
        [sys.executable, str(PROJECT / "manage.py"), "order", *arguments],
        env={**os.environ, "PYTHONPATH": paths, **environment},
        cwd=Path("/"),
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_tasks_of_another_project(system: System) -> None:
    services.create("orders", settings={"handler": "task", "max_receive_count": 1, "visibility_timeout": 30})
    enqueued = {
        "total": shop("enqueue", "total", "3", "4"),
        "ship": shop("enqueue", "ship", "7"),
        "charge": shop("enqueue", "charge", '"x"'),
        # With nothing but SQS: it is recorded when it runs.
        "alone": shop("enqueue", "total", "1", MONGODB_URI="", DATA_DIR=str(system.directory)),
    }
    assert {one["status"] for one in enqueued.values()} == {"READY"}
    assert shop("result", enqueued["total"]["id"])["status"] == "READY"
    _, worker = system.both()

    def results() -> dict[str, dict[str, Any]]:
        found = {name: shop("result", one["id"]) for name, one in enqueued.items() if name != "alone"}
        assert all(one["status"] in ("SUCCESSFUL", "FAILED") for one in found.values()), found
        return {**found, "alone": shop("result", enqueued["alone"]["id"])}

    found = eventually(results, 2 * LONG, "all tasks have ended")
    assert found["total"]["value"]["total"] == 7
    assert found["total"]["value"]["process"] in {child.pid for child in worker.descendants()}
    assert found["alone"]["value"]["total"] == 1
    assert found["ship"]["value"] == "7 shipped at attempt 1"
    assert (found["charge"]["status"], found["charge"]["errors"]) == ("FAILED", ["builtins.LookupError"])
    assert all(one["attempts"] == 1 for one in found.values())
    assert all(f"-{worker.pid}-" in one["workers"][0] for one in found.values())
