"""A Django project that is not ours: it sends after its transactions, and our workers run its handlers.

The project has none of our apps. Its process knows SQS and no MongoDB; our processes know nothing of its settings.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from queues import services
from queues.handlers import registry
from queuesite.foundation.config import BASE_DIR, get_config
from tests.support.records import all_jobs
from tests.support.system import LONG, System
from tests.support.waiting import eventually

pytestmark = [pytest.mark.usefixtures("queues"), pytest.mark.timeout(180)]

SHOP = BASE_DIR / "tests" / "shop"


@pytest.fixture
def book(tmp_path: Path) -> Path:
    return tmp_path / "book"


@pytest.fixture
def system(tmp_path: Path, book: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[System]:
    monkeypatch.syspath_prepend(SHOP)
    registry.discover()
    importlib.import_module("shop.handlers")  # a queue may name only what is registered

    made = System(tmp_path)
    made.set(
        handler_modules="shop.handlers",
        pythonpath=os.pathsep.join([str(SHOP), str(BASE_DIR)]),
        shop_book=book,
        queue_name_prefix=get_config().queue_name_prefix,
    )
    yield made
    made.close()
    for name in ("shop-orders", "shop-receipts"):
        del registry._handlers[name]
    for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
        del sys.modules[name]


def manage(system: System, directory: Path, *arguments: str) -> str:
    """Run a command of the project, which has no MongoDB."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MONGODB", "DJANGO"))}
    environment |= {"PYTHONPATH": system.environment["PYTHONPATH"], "SHOP_DATABASE": str(directory / "shop.sqlite3")}
    environment |= {"DATA_DIR": str(directory / "none"), "ENV_FILE": ""}
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


def test_what_a_project_sends_on_commit_is_handled_by_a_worker(system: System, tmp_path: Path, book: Path) -> None:
    for name in ("shop-orders", "shop-receipts"):
        services.create(name, settings={"handler": name})
    system.both()

    output = manage(system, tmp_path, "checkout", "ann", "nobody", "bob")

    assert "rolled back" in output
    eventually(lambda: book.exists() and len(book.read_text().splitlines()) == 2, LONG, "both receipts are in the book")
    # SQLite gives the number of what was rolled back again.
    assert sorted(book.read_text().splitlines()) == ["1 for ann by orders", "2 for bob by orders"]
    (orders, *_) = all_jobs(services.get("shop-orders"))
    assert orders.failed_count == 0


def test_without_a_queue_the_project_is_told_which_one_it_lacks(system: System, tmp_path: Path) -> None:
    output = manage(system, tmp_path, "checkout", "ann")

    assert "send_on_commit_failed" in output
    assert "sends to the queue of its own name" in output
