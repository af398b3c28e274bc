"""What a consumer notes of the messages in its slots, and what its worker makes of that when it has died."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from jobs.attempts import AttemptOutcome
from jobs.consumer import in_hand
from jobs.consumer.in_hand import Board, NotesInHand
from jobs.consumer.turn import HandlerSpec, Turn
from jobs.worker import crash
from queues.handlers import Message
from queues.handlers.registry import Handler
from tests.support.memory_sqs import LIMITS, SETTINGS, MemoryRun, OneQueue, registered
from tests.support.messages import held
from tests.support.waiting import eventually

CAUSE = "the consumer process 7 was killed by signal 9 (SIGKILL)"


@pytest.fixture
def board() -> Iterator[Board]:
    made = Board()
    yield made
    made.close()


def turn(**facts: Any) -> Turn:
    return Turn(held(**facts), HandlerSpec("orders", Handler("shop.orders", print), None))


def crashed(board: Board) -> Any:
    consumer: Any = SimpleNamespace(board=board, settings=SETTINGS)
    return crash.news_of(consumer, CAUSE)


@pytest.mark.parametrize("is_async", [False, True])
def test_what_is_in_the_slots_of_a_run_is_noted_until_it_is_handled(board: Board, *, is_async: bool) -> None:
    sqs, go_on = OneQueue("a", "b", "waits", clock=time.time), threading.Event()
    ids = {stored.message_id: stored.body for stored in sqs.messages}

    def handle(message: Message) -> None:
        if message.body != "waits":
            raise ValueError

    def handle_here(message: Message) -> None:
        if message.body == "waits":
            go_on.wait(60)
        handle(message)

    async def handle_on_loop(message: Message) -> None:
        import asyncio

        while message.body == "waits" and not go_on.is_set():
            await asyncio.sleep(0.005)
        handle(message)

    with registered(handle_on_loop if is_async else handle_here):
        running = MemoryRun(sqs, LIMITS, board).start()
        eventually(lambda: running.run.meter.total.failed == 2, 20, "the others have failed")
        eventually(lambda: len(board.read()) == 1, 20, "one is in hand")
        (one,) = board.read()
        go_on.set()
        running.report()
    assert ids[one.message_id] == "waits"
    assert one.receive_count == 1
    assert one.started <= time.monotonic()
    assert one.sent_at is not None
    assert abs(time.time() - one.sent_at) < 600
    assert board.read() == []


def test_more_than_there_is_room_for_are_not_noted(board: Board) -> None:
    notes = NotesInHand(board)
    turns = [turn() for _ in range(in_hand.ENTRIES + 1)]
    for one in turns:
        notes.before(one)
    assert len(board.read()) == in_hand.ENTRIES
    for one in turns:
        notes.after(one)
    assert board.read() == []
    notes.before(turns[-1])
    assert [one.message_id for one in board.read()] == [turns[-1].held.message.message_id]


def test_what_was_given_up_is_recorded_once(board: Board) -> None:
    """As timed out, before its process is killed."""
    notes, stuck = NotesInHand(board), turn()
    notes.before(stuck)
    notes.gave_up(stuck)
    assert board.read() == []


def test_another_run_begins_with_empty_slots(board: Board) -> None:
    NotesInHand(board).before(turn())
    NotesInHand(board)
    assert board.read() == []


def test_a_message_alone_is_named_with_the_crash(board: Board) -> None:
    alone = turn(receive_count=SETTINGS.max_receive_count)
    NotesInHand(board).before(alone)
    news = crashed(board)
    (attempt,), (kind,) = news.attempts, news.failures
    assert attempt.message_id == kind.message_id == alone.held.message.message_id
    assert (attempt.outcome, attempt.error, attempt.error_type) == (AttemptOutcome.CRASHED, CAUSE, "ConsumerCrashed")
    assert attempt.receive_count == kind.receive_count == SETTINGS.max_receive_count
    assert attempt.started == alone.started
    assert attempt.waited is not None
    assert attempt.fingerprint == kind.fingerprint


def test_of_several_none_is_blamed_and_each_says_so(board: Board) -> None:
    notes = NotesInHand(board)
    turns = [turn(), turn(), turn()]
    for one in turns:
        notes.before(one)
    news = crashed(board)
    assert [one.message_id for one in news.attempts] == [one.held.message.message_id for one in turns]
    assert {one.error for one in news.attempts} == {f"{CAUSE}, with 2 other messages in hand"}
    assert news.failures[0].message_id is None
    notes.after(turns[0])
    assert crashed(board).attempts[0].error == f"{CAUSE}, with another message in hand"


def test_the_last_receive_makes_a_dead_letter(board: Board) -> None:
    settings = replace(SETTINGS, dlq_url="memory://sqs/orders-dlq")
    consumer: Any = SimpleNamespace(board=board, settings=settings)
    notes = NotesInHand(board)
    notes.before(turn(receive_count=1))
    notes.before(turn(receive_count=settings.max_receive_count))
    assert [one.dead_letter for one in crash.news_of(consumer, CAUSE).attempts] == [False, True]


def test_a_crash_with_nothing_in_hand_is_a_failure_only(board: Board) -> None:
    news = crashed(board)
    assert news.attempts == ()
    assert [one.exception_type for one in news.failures] == ["ConsumerCrashed"]
