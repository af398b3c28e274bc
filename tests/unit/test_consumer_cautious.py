"""A cautious buffer: one by one, and a message that was received before while nothing else is held."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.consumer.buffer import Buffer
from jobs.consumer.caution import CAUTION_SECONDS, LONGEST_CAUTION, caution
from jobs.consumer.held import Held
from queues.sqs import MAX_BATCH
from tests.support.messages import held
from tests.support.waiting import eventually


def suspect(*, group: str | None = None) -> Held:
    return held(group=group, receive_count=2)


def cautious_buffer(*, fifo: bool = False) -> Buffer:
    buffer = Buffer(fifo=fifo)
    buffer.be_cautious(time.monotonic() + 3_600)
    return buffer


class Slots:
    """Slots that take messages and hold them until they are told to let go."""

    def __init__(self, buffer: Buffer, count: int) -> None:
        self.buffer = buffer
        self.taken: list[Held] = []
        self._release: dict[int, threading.Event] = {}
        self._lock = threading.Lock()
        self.threads = [threading.Thread(target=self._run, daemon=True) for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def _run(self) -> None:
        while (message := self.buffer.take()) is not None:
            with self._lock:
                gate = self._release.setdefault(id(message), threading.Event())
                self.taken.append(message)
            gate.wait(60)
            self.buffer.finished(message)

    def finish(self, message: Held) -> None:
        with self._lock:
            self._release.setdefault(id(message), threading.Event()).set()

    def close(self) -> None:
        for message in self.buffer.empty_out() + self.taken:
            self.finish(message)
        for thread in self.threads:
            thread.join(45)
            assert not thread.is_alive()


@pytest.fixture
def slots() -> object:
    made: list[Slots] = []

    def make(buffer: Buffer, count: int = 3) -> Slots:
        made.append(Slots(buffer, count))
        eventually(lambda: buffer.counts[2] == count, 30, "the slots wait")
        return made[-1]

    yield make
    for one in made:
        one.close()


Make = Callable[..., Slots]


def test_one_message_is_received_at_a_time_and_none_ahead(slots: Make) -> None:
    buffer = cautious_buffer()
    assert buffer.reserve(MAX_BATCH, 0) == 0  # no slot is free
    running = slots(buffer)
    assert buffer.reserve(MAX_BATCH, 0, full=True) == 0
    assert buffer.reserve(MAX_BATCH, 0) == 1
    assert buffer.reserve(MAX_BATCH, 0) == 0  # one is on its way
    fresh = held()
    buffer.put([fresh])
    buffer.unreserve(1)
    eventually(lambda: running.taken == [fresh], 30, "it was taken")
    assert buffer.reserve(MAX_BATCH, 0) == 1  # two slots are free, and what is handled was never received before


def test_a_suspect_waits_until_it_is_alone_and_nothing_is_received_beside_it(slots: Make) -> None:
    buffer = cautious_buffer()
    running = slots(buffer)
    fresh, bad, later = held(), suspect(), held()
    buffer.put([fresh])
    eventually(lambda: running.taken == [fresh], 30, "the first was taken")
    buffer.put([bad, later])
    eventually(lambda: buffer.counts == (2, 1, 2), 30, "both wait")
    assert buffer.reserve(MAX_BATCH, 0) == 0
    running.finish(fresh)
    eventually(lambda: running.taken == [fresh, bad], 30, "the suspect was taken")
    assert buffer.counts == (1, 1, 2)
    running.finish(bad)
    eventually(lambda: running.taken == [fresh, bad, later], 30, "the one behind it was taken")


def test_caution_that_is_over_changes_nothing_any_more(slots: Make) -> None:
    now = time.monotonic()
    buffer = Buffer(fifo=False, monotonic=lambda: now)
    buffer.be_cautious(now + 10)
    running = slots(buffer)
    now += 10
    messages = [suspect(), suspect(), held()]
    buffer.put(messages)
    eventually(lambda: len(running.taken) == 3, 30, "all were taken at once")
    assert buffer.reserve(MAX_BATCH, 0) > 1


def test_the_end_of_caution_wakes_the_slots_that_wait(slots: Make) -> None:
    now = time.monotonic()
    buffer = Buffer(fifo=False, monotonic=lambda: now)
    running = slots(buffer)
    bad, fresh = suspect(), held()
    buffer.be_cautious(now + 0.05)
    buffer.be_cautious(now + 0.2)  # prolonged: the first end is none
    buffer.put([bad, fresh])
    eventually(lambda: running.taken == [bad], 30, "the suspect was taken")
    now += 0.1
    eventually(lambda: buffer.counts == (1, 1, 2), 30, "the second waits")
    now += 0.1
    eventually(lambda: running.taken == [bad, fresh], 30, "the second was taken beside the suspect")


def test_the_end_of_caution_tells_the_loop() -> None:
    now = time.monotonic()
    told = threading.Event()
    buffer = Buffer(fifo=False, monotonic=lambda: now)
    buffer.serve(2, told.set)
    buffer.be_cautious(now + 0.05)
    buffer.put([suspect(), held()])
    assert buffer.take_at_once() is not None
    told.clear()
    now += 0.05
    assert told.wait(30)


def timers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]


def test_nothing_is_left_to_time_caution_once_the_buffer_is_empty() -> None:
    buffer = cautious_buffer()
    (timer,) = timers()
    buffer.empty_out()
    timer.join(45)
    assert not timer.is_alive()
    buffer.be_cautious(time.monotonic() + 7_200)
    assert timers() == []


def test_groups_of_a_fifo_queue_keep_their_order(slots: Make) -> None:
    buffer = cautious_buffer(fifo=True)
    running = slots(buffer)
    a1, a2, b1 = held(group="a"), held(group="a"), held(group="b")
    buffer.put([a1, a2, b1])
    # Of two that are taken at the same moment, either is noted first.
    eventually(lambda: {*running.taken} == {a1, b1}, 30, "one of each group was taken")
    running.finish(a1)
    eventually(lambda: running.taken[2:] == [a2], 30, "then the next")


def test_a_slot_that_was_given_up_is_not_waited_for_and_its_group_stays() -> None:
    buffer = Buffer(fifo=True)
    first, second = held(group="a"), held(group="a")
    buffer.put([first, second])
    assert buffer.take() is first
    buffer.given_up(first)
    assert buffer.counts == (1, 0, 0)
    assert buffer.empty_out() == [second]


@given(st.floats(0, 43_200))
def test_caution_lasts_longer_than_the_message_is_hidden_but_not_for_ever(hidden: float) -> None:
    assert caution(hidden) == min(hidden + CAUTION_SECONDS, LONGEST_CAUTION)
