"""A Django project that is not ours: it sends after its transactions and enqueues tasks, and our workers do the work.

The project has none of our apps. Its process knows SQS, and MongoDB only where it asks for the results of tasks; our
processes know nothing of its settings. The worker is a team's: a home whose `.env` names settings that extend ours,
with an app and a database of its own, in which its handler writes.
"""

from __future__ import annotations

import importlib
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from jobs.models import EndReason
from queues import messages, services
from queues.handlers import registry
from queues.models import Queue
from queues.sqs import OutgoingMessage
from queuesite.foundation.config import BASE_DIR, get_config
from tests.support import processes
from tests.support.background import Background
from tests.support.records import all_jobs
from tests.support.system import LONG, System, ended_jobs, worker_of
from tests.support.waiting import eventually

# `make check` runs it: a project of its own is started a dozen times.
pytestmark = [pytest.mark.long, pytest.mark.usefixtures("queues"), pytest.mark.timeout(240)]

SHOP = BASE_DIR / "tests" / "shop"
TEAM = BASE_DIR / "tests" / "team"
PATH = os.pathsep.join([str(SHOP), str(BASE_DIR)])


@pytest.fixture
def book(tmp_path: Path) -> Path:
    return tmp_path / "book"


@pytest.fixture
def system(tmp_path: Path, book: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[System]:
    monkeypatch.syspath_prepend(SHOP)
    registry.discover()
    importlib.import_module("shop.handlers")  # a queue may name only what is registered

    made = System(tmp_path)
    # As a team would run it: its code beside ours, and its handlers and tasks named.
    made.set(
        handler_modules="shop.handlers",
        task_modules="shop.tasks",
        pythonpath=PATH,
        shop_book=book,
        queue_name_prefix=get_config().queue_name_prefix,
        warehouse=tmp_path / "warehouse.sqlite3",
    )
    yield made
    made.close()
    for name in ("shop-orders", "shop-receipts"):
        del registry.registered()[name]
    for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
        del sys.modules[name]


def manage(directory: Path, *arguments: str, mongodb: bool = False) -> str:
    """Run a command of the project, without MongoDB or with it."""
    dropped = ("DJANGO",) if mongodb else ("DJANGO", "MONGODB")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    environment |= {"PYTHONPATH": PATH, "SHOP_DATABASE": str(directory / "shop.sqlite3")}
    environment |= {} if mongodb else {"DATA_DIR": str(directory / "none"), "ENV_FILE": ""}
    ended = subprocess.run(
        [sys.executable, str(SHOP / "manage.py"), *arguments],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LONG,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout + ended.stderr


def tasks(directory: Path, *arguments: str, mongodb: bool = True) -> list[dict[str, Any]]:
    """Run the project's command `order`. Returns what it knows of the results of tasks."""
    # A sender logs that MongoDB did not answer within two seconds.
    said = [line for line in manage(directory, "order", *arguments, mongodb=mongodb).splitlines() if line[:1] == "["]
    return list(json.loads(said[-1]))


def in_warehouse(directory: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(directory / "warehouse.sqlite3")) as database:
        return list(database.execute(query))


def team(system: System, directory: Path) -> Background:
    """A master, and a worker with the team's settings and its tables."""
    own = {"QUEUESITE_HOME": str(TEAM), "ENV_FILE": str(TEAM / ".env")}
    system.start("runmaster")
    migrated = processes.manage("migrate", "--database", "warehouse", env={**system.environment, **own})
    assert migrated.returncode == 0, migrated.stderr
    tables = {str(name) for (name,) in in_warehouse(directory, "SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert {name for name in tables if not name.startswith("sqlite_")} == {"django_migrations", "stock_item"}
    worker = system.start("runworker", **own)
    eventually(lambda: worker_of(worker), LONG, "the worker has registered")
    return worker


def test_what_it_sends_on_commit_is_handled_and_its_tasks_are_run_by_our_workers(
    system: System, tmp_path: Path, book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("shop-orders", "shop-receipts"):
        services.create(name, settings={"handler": name})
    queue = services.create(
        "shop-tasks", settings={"handler": "task", "max_receive_count": 1, "visibility_timeout": 30}
    )
    calls = ('["total", 3, 4]', '["ship", 7]', '["charge", "x"]')
    enqueued = tasks(tmp_path, "enqueue", *calls)
    # With nothing but SQS: it is recorded when it runs.
    enqueued += tasks(tmp_path, "enqueue", '["total", 1]', mongodb=False)
    ids = [one["id"] for one in enqueued]
    # Asked again on a machine so busy that MongoDB takes more than the two seconds that a sender gives it.
    stored = eventually(lambda: tasks(tmp_path, "result", *ids[: len(calls)]), LONG, "MongoDB answers")
    assert {one["status"] for one in (*enqueued, *stored)} == {"READY"}
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE")  # the team's `.env` has it
    worker = team(system, tmp_path)
    # It has announced the handler, which no other process can import.
    services.create("team-stock", settings={"handler": "team-stock"})
    messages.send("team-stock", [OutgoingMessage('{"name": "hat", "count": 5}')])

    assert "rolled back" in manage(tmp_path, "checkout", "ann", "nobody", "bob")

    eventually(lambda: book.exists() and len(book.read_text().splitlines()) == 2, LONG, "both receipts are in the book")
    # SQLite gives the number of what was rolled back again.
    assert sorted(book.read_text().splitlines()) == ["1 for ann by orders", "2 for bob by orders"]
    (orders, *_) = all_jobs(services.get("shop-orders"))
    assert orders.failed_count == 0
    tasks_have_run(queue, len(calls) + 1)
    results_are_known(eventually(lambda: tasks(tmp_path, "result", *ids), LONG, "MongoDB answers"), worker)
    eventually(lambda: in_warehouse(tmp_path, "SELECT name, count FROM stock_item") == [("hat", 5)], LONG, "counted")

    # One whose process dies: nobody is left to say so, and it was the message's only receive.
    (died,) = tasks(tmp_path, "enqueue", '["crash"]')
    eventually(lambda: EndReason.CRASHED in {job.end_reason for job in ended_jobs(queue)}, LONG, "its run has ended")

    def failed() -> dict[str, Any]:
        (found,) = tasks(tmp_path, "result", died["id"])
        assert found["status"] == "FAILED", found
        return found

    assert eventually(failed, 2 * LONG, "it has failed")["errors"] == ["queues.task_calls.ConsumerDied"]


def tasks_have_run(queue: Queue, count: int) -> None:
    def counted() -> bool:
        return sum(job.message_count + job.failed_count for job in ended_jobs(queue)) == count

    eventually(counted, 2 * LONG, "all tasks have ended")


def results_are_known(found: list[dict[str, Any]], worker: Background) -> None:
    total, ship, charge, alone = found
    assert total["value"]["total"] == 7
    assert total["value"]["process"] in {child.pid for child in worker.descendants()}
    assert alone["value"]["total"] == 1
    assert ship["value"] == "7 shipped at attempt 1"
    assert (charge["status"], charge["errors"]) == ("FAILED", ["builtins.LookupError"])
    assert all(one["attempts"] == 1 for one in found)
    assert all(f"-{worker.pid}-" in one["workers"][0] for one in found)


@pytest.mark.usefixtures("system")
def test_without_a_queue_it_is_told_which_one_it_lacks(tmp_path: Path) -> None:
    output = manage(tmp_path, "checkout", "ann")

    assert "send_on_commit_failed" in output
    assert "sends to the queue of its own name" in output
