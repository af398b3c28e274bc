"""Threads that a process cannot do without."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from queuesite.foundation.config import BASE_DIR
from queuesite.foundation.logs import bind
from queuesite.foundation.threads import DEATH_EXIT_CODE, supervised

LONG = 45.0


def run(function: Callable[[], object]) -> list[BaseException]:
    """What `on_death` was given, once the thread has ended."""
    deaths: list[BaseException] = []
    thread = supervised("pump", function, deaths.append)
    thread.start()
    thread.join(LONG)
    assert not thread.is_alive()
    return deaths


def test_one_that_ends_as_it_should_is_not_reported() -> None:
    with capture_logs() as logs:
        assert run(lambda: "anything") == []
    assert logs == []


@pytest.mark.parametrize("error", [RuntimeError("a bug"), SystemExit(0), KeyboardInterrupt(), GeneratorExit()])
def test_whatever_ends_it_is_logged_and_handed_over(error: BaseException) -> None:
    def fail() -> None:
        raise error

    with capture_logs() as logs:
        assert run(fail) == [error]
    [entry] = logs
    assert (entry["event"], entry["log_level"], entry["thread"]) == ("thread_died", "critical", "pump")


def test_its_log_events_have_the_fields_of_the_thread_that_made_it() -> None:
    seen: list[object] = []
    bind(queue="orders")
    try:
        run(lambda: seen.append(structlog.contextvars.get_contextvars()["queue"]))
    finally:
        structlog.contextvars.unbind_contextvars("queue")
    assert seen == ["orders"]


def test_it_is_a_named_daemon() -> None:
    thread = supervised("pump", lambda: None)
    assert (thread.name, thread.daemon, thread.is_alive()) == ("pump", True, False)


def test_without_another_wish_the_process_ends_with_a_code_and_a_line() -> None:
    program = """
import threading
from queuesite.foundation.threads import supervised

def fail():
    raise RuntimeError("a bug")

supervised("pump", fail).start()
threading.Event().wait()
"""
    ended = subprocess.run([sys.executable, "-c", program], cwd=BASE_DIR, capture_output=True, text=True, timeout=110)
    assert ended.returncode == DEATH_EXIT_CODE
    for words in ("thread_died", "pump", "RuntimeError: a bug", "process_ends"):
        assert words in ended.stdout + ended.stderr


def test_no_thread_of_the_product_is_started_without_it() -> None:
    # A probe of readiness, the look-up of a host and a page's question to SQS report their own failure, whatever it is;
    # the benchmark's threads are no part of the product, and virtualenvs are made before our packages are there.
    exempt = {"queuesite/foundation/threads.py", "queues/readiness.py", "queues/handlers/deadline.py"}
    exempt |= {"queues/patience.py", "queuesite/local/virtualenv.py"}
    found = {
        str(path.relative_to(BASE_DIR))
        for package in ("queuesite", "queues", "jobs")
        for path in Path(BASE_DIR, package).rglob("*.py")
        if "benchmark" not in path.parts and re.search(r"\bThread\((?!\))", path.read_text(encoding="utf-8"))
    }
    assert found == exempt
