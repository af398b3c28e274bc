"""Handlers that fork: the child never goes on as a second consumer, with real forks.

The children of a mistake in the product would go on in this test's own process: an alarm ends them.
"""

from __future__ import annotations

import asyncio
import multiprocessing.context
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.models import EndReason
from queues.handlers import Message
from tests.support.memory_sqs import OneQueue, handle_all
from tests.support.waiting import eventually

BODIES = [f"m{number}" for number in range(9)]
#: Seconds after which a child that goes on is killed.
ALARM = 5

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


class Ledger:
    """Who handled what, in a file that children write to as well."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch()

    def note(self, body: str) -> None:
        with self._path.open("a") as file:
            file.write(f"{os.getpid()} {body}\n")

    def of(self, pid: int | None = None) -> list[str]:
        lines = [line.split() for line in self._path.read_text().splitlines()]
        return sorted(body for who, body in lines if pid is None or int(who) == pid)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


def forked(act: Callable[[], object], children: list[int]) -> None:
    """Fork, and have the child `act`; whatever it does or raises then, it is not a consumer."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(ALARM)
        act()
    else:
        children.append(pid)


def exit_code(pid: int) -> int:
    def ended() -> list[int]:
        found, status = os.waitpid(pid, os.WNOHANG)
        return [os.waitstatus_to_exitcode(status)] if found else []

    return eventually(ended, 20, "the child ended")[0]


def fail() -> None:
    raise ValueError("in the child")


#: What a child does, and its exit code.
ACTS = [
    pytest.param(lambda: sys.exit(3), 3, id="sys.exit(3)"),
    pytest.param(lambda: sys.exit(), 0, id="sys.exit()"),
    pytest.param(lambda: sys.exit("said"), 1, id="sys.exit(text)"),
    pytest.param(lambda: None, 0, id="returns"),
    pytest.param(fail, 1, id="raises"),
    pytest.param(lambda: os._exit(7), 7, id="os._exit(7)"),
]


@pytest.mark.parametrize("form", ["thread", "loop", "awaited"])
@pytest.mark.parametrize(("act", "code"), ACTS)
def test_the_child_ends_with_its_code_and_handles_nothing(
    form: str, act: Callable[[], object], code: int, ledger: Ledger
) -> None:
    children: list[int] = []

    def handle(message: Message) -> None:
        ledger.note(message.body)
        if message.body == "m0":
            forked(act, children)

    async def handle_slowly(message: Message) -> None:
        await asyncio.sleep(0)
        handle(message)

    sqs = OneQueue(*BODIES)
    handler: Any = {"thread": handle, "loop": handle_slowly, "awaited": lambda m: handle_slowly(m)}[form]
    report = handle_all(handler, sqs, concurrency=3)
    assert (report.reason, report.processed, report.failed) == (EndReason.DRAINED, 9, 0)
    (child,) = children
    assert exit_code(child) == code
    assert ledger.of() == ledger.of(os.getpid()) == BODIES


def test_a_child_that_awaits_ends_and_takes_nothing_from_its_parents_loop(ledger: Ledger) -> None:
    children: list[int] = []

    async def handle(message: Message) -> None:
        if message.body == "m0":
            pid = os.fork()
            if pid == 0:
                signal.alarm(ALARM)
                await asyncio.Future()
            children.append(pid)
        for _ in range(20):
            await asyncio.sleep(0)
        ledger.note(message.body)

    async def wait_in_a_task(message: Message) -> None:
        await asyncio.ensure_future(handle(message))

    for handler in (handle, wait_in_a_task):
        report = handle_all(handler, OneQueue(*BODIES), concurrency=9)
        assert (report.reason, report.processed) == (EndReason.DRAINED, 9)
    assert [exit_code(child) for child in children] == [1, 1]
    assert ledger.of() == ledger.of(os.getpid()) == sorted(BODIES * 2)


class ForkedProcess(multiprocessing.context.ForkProcess):
    """Not measured: coverage's own start in such a child fails, and ends it with another code."""

    if "coverage.multiproc" in sys.modules:
        _bootstrap = sys.modules["coverage.multiproc"].original_bootstrap


@pytest.mark.parametrize("is_async", [False, True])
def test_multiprocessing_by_fork_runs_its_target(is_async: bool, ledger: Ledger) -> None:
    codes: list[int | None] = []

    def target(body: str) -> None:
        signal.alarm(ALARM)
        ledger.note(f"child-of-{body}")
        sys.exit(4)

    def handle(message: Message) -> None:
        child = ForkedProcess(target=target, args=(message.body,))
        child.start()
        child.join(45)
        codes.append(child.exitcode)
        ledger.note(message.body)

    async def handle_slowly(message: Message) -> None:
        handle(message)

    report = handle_all(handle_slowly if is_async else handle, OneQueue("a", "b"))
    assert (report.processed, codes) == (2, [4, 4])
    assert ledger.of(os.getpid()) == ["a", "b"]
    assert ledger.of() == ["a", "b", "child-of-a", "child-of-b"]


def test_the_parent_does_not_wait_for_its_child() -> None:
    children: list[int] = []
    handle_all(lambda message: forked(signal.pause, children), OneQueue("m"))
    assert os.waitpid(children[0], os.WNOHANG) == (0, 0)  # still there
    os.kill(children[0], signal.SIGKILL)
    assert exit_code(children[0]) == -signal.SIGKILL
