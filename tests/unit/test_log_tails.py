"""The last lines that were logged about a message, whoever logged them."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextvars import copy_context

import pytest
import structlog

from queuesite.foundation.config import get_config
from queuesite.foundation.log_tails import LINE_BYTES, TAIL_BYTES, Tail, Tails, tails
from queuesite.foundation.logs import configure, get_logger, log_message


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    configure("INFO", "json")
    yield
    structlog.contextvars.clear_contextvars()
    configure(get_config().log_level, get_config().log_format)


def logged(message_id: str, act: object) -> str:
    """What `act` logs in the context of a message."""
    tails.begin(message_id)

    def run() -> None:
        log_message(message_id)
        act()  # type: ignore[operator]

    copy_context().run(run)
    tail = tails.end(message_id)
    return "" if tail is None else tail.text()


def test_both_kinds_of_logging_are_kept_with_their_fields() -> None:
    def act() -> None:
        logging.getLogger("shop").warning("charging %s", 17)
        get_logger("shop.stock").info("reserved", article="żółw 1", count=3)
        logging.getLogger("shop").debug("not at this level")

    first, second = logged("m1", act).splitlines()
    assert first[12:] == " WARNING shop: charging 17"[0:]
    assert second[13:] == "INFO shop.stock: reserved article='żółw 1' count=3"


def test_a_traceback_is_kept_without_values() -> None:
    def act() -> None:
        try:
            raise KeyError("tenant")
        except KeyError:
            logging.getLogger("shop").exception("failed")

    text = logged("m1", act)
    assert "ERROR shop: failed\nTraceback" in text
    assert text.endswith("KeyError: 'tenant'")


def test_tasks_and_their_threads_are_told_apart() -> None:
    async def one(message_id: str) -> None:
        log_message(message_id)
        await asyncio.sleep(0)
        logging.getLogger("shop").info("task of %s", message_id)
        await asyncio.to_thread(logging.getLogger("shop").info, "thread of %s", message_id)

    async def both() -> None:
        await asyncio.gather(asyncio.create_task(one("a")), asyncio.create_task(one("b")))

    for message_id in "ab":
        tails.begin(message_id)
    asyncio.run(both())
    for message_id in "ab":
        tail = tails.end(message_id)
        assert tail is not None
        assert [line.rpartition(": ")[2] for line in tail.text().splitlines()] == [
            f"task of {message_id}", f"thread of {message_id}",
        ]  # fmt: skip


def test_what_processing_itself_logs_is_left_out() -> None:
    assert logged("m1", lambda: get_logger("jobs.consumer.recorder").info("message_failed")) == ""


def test_nothing_is_kept_of_a_message_that_nobody_handles() -> None:
    kept = Tails()
    kept.note("m1", {"event": "late"})
    assert kept.end("m1") is None
    assert kept._tails == {}


def test_a_batch_logs_under_the_id_of_its_first_message() -> None:
    kept = Tails()
    kept.begin("m1")
    kept.note("m1 and 4 more", {"event": "loading"})
    tail = kept.end("m1")
    assert tail is not None
    assert tail.text() == "loading"


def test_the_last_lines_fit_into_the_limit() -> None:
    tail = Tail()
    for number in range(5_000):
        tail.add(f"line {number}")
    lines = tail.text().splitlines()
    assert len(tail.text().encode()) < TAIL_BYTES + 100
    assert lines[-1] == "line 4999"
    assert lines[0] == f"({5_000 - len(lines) + 1} earlier lines are not kept)"


def test_one_line_is_cut() -> None:
    tail = Tail()
    tail.add("ż" * LINE_BYTES)
    assert len(tail.text().encode()) <= LINE_BYTES
    assert tail.text().endswith("ż…")


def test_a_value_that_cannot_be_shown_does_no_harm() -> None:
    class Odd:
        def __str__(self) -> str:
            raise SystemExit

    kept = Tails()
    kept.begin("m")
    kept.note("m", {"event": "odd", "value": Odd(), "half": "\ud800"})
    tail = kept.end("m")
    assert tail is not None
    assert tail.text() == "odd value=(cannot be shown) half=\\ud800"


def test_threads_may_add_at_once() -> None:
    tail = Tail()

    def add() -> None:
        for _ in range(1_000):
            tail.add("x" * 50)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tail._size == sum(len(line) + 1 for line in tail._lines)
    assert tail._dropped + len(tail._lines) == 4_000
