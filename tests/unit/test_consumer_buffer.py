"""The buffer: what is given out, in which order, and how much is received."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from jobs.consumer.buffer import Buffer
from jobs.consumer.demand import prefetch, room
from jobs.consumer.held import Held, spared
from queues.sqs import MAX_BATCH
from tests.support.messages import held
from tests.support.waiting import eventually


@contextmanager
def taking(buffer: Buffer, surplus: Callable[[], bool] = lambda: False) -> Iterator[list[Held | None]]:
    """A slot that waits for one message."""
    found: list[Held | None] = []
    thread = threading.Thread(target=lambda: found.append(buffer.take(surplus)), daemon=True)
    thread.start()
    try:
        yield found
    finally:
        buffer.close()
        thread.join(45)
        assert not thread.is_alive()


def idle(buffer: Buffer, slots: int = 1) -> None:
    eventually(lambda: buffer.counts[2] == slots, 30, "the slots wait")


class TestStandard:
    def test_first_in_first_out(self) -> None:
        buffer = Buffer(fifo=False)
        messages = [held() for _ in range(3)]
        buffer.put(messages[:2])
        buffer.put(messages[2:])
        assert [buffer.take() for _ in range(3)] == messages

    def test_a_slot_waits_for_a_message(self) -> None:
        buffer = Buffer(fifo=False)
        message = held()
        with taking(buffer) as found:
            idle(buffer)
            assert found == []
            buffer.put([message])
            eventually(lambda: found == [message], 30, "the message was taken")

    def test_counts(self) -> None:
        buffer = Buffer(fifo=False)
        messages = [held() for _ in range(3)]
        buffer.put(messages)
        assert buffer.counts == (3, 0, 0)
        buffer.take()
        assert buffer.counts == (2, 1, 0)
        buffer.finished(messages[0])
        assert buffer.counts == (2, 0, 0)

    def test_a_message_that_another_consumer_may_have_is_not_given_out(self) -> None:
        buffer = Buffer(fifo=False)
        lost, kept = held(), held()
        buffer.put([lost, kept])
        lost.lost = True
        assert buffer.take() is kept

    def test_what_has_run_out_while_it_waited_is_let_go_and_is_waited_for_no_longer(self) -> None:
        gone: list[Held] = []
        buffer = Buffer(fifo=False, let_go=lambda lost, behind: gone.extend(lost))
        messages = [held(timeout=0) for _ in range(3)]
        buffer.put(messages)
        assert buffer.quiet
        assert buffer.wait_idle(0.0)
        assert gone == messages

    def test_one_message_is_taken_out(self) -> None:
        buffer = Buffer(fifo=False)
        first, second = held(), held()
        buffer.put([first, second])
        assert buffer.remove(second)
        assert not buffer.remove(second)
        assert buffer.take() is first
        assert not buffer.remove(first)
        assert not buffer.drop(first)

    def test_a_slot_that_is_one_too_many_ends_and_leaves_the_message(self) -> None:
        buffer = Buffer(fifo=False)
        message = held()
        too_many = threading.Event()
        with taking(buffer, too_many.is_set) as found:
            idle(buffer)
            too_many.set()
            buffer.wake()
            eventually(lambda: found == [None], 30, "the slot ended")
            buffer.put([message])
            assert buffer.counts == (1, 0, 0)

    def test_closed_it_gives_out_what_waits_and_then_ends_the_slots(self) -> None:
        buffer = Buffer(fifo=False)
        message = held()
        buffer.put([message])
        buffer.close()
        assert buffer.closed
        assert buffer.take() is message
        assert buffer.take() is None

    def test_closing_ends_the_slots_that_wait(self) -> None:
        buffer = Buffer(fifo=False)
        with taking(buffer) as found:
            idle(buffer)
            buffer.close()
            eventually(lambda: found == [None], 30, "the slot ended")

    def test_emptied_out_it_has_nothing_left_to_give(self) -> None:
        buffer = Buffer(fifo=False)
        messages = [held() for _ in range(3)]
        buffer.put(messages)
        first = buffer.take()
        assert buffer.empty_out() == messages[1:]
        assert buffer.closed
        assert buffer.take() is None
        assert first is messages[0]
        assert buffer.counts[1] == 1


class TestFifo:
    def test_one_message_of_a_group_at_a_time(self) -> None:
        buffer = Buffer(fifo=True)
        a1, a2, b1 = held(group="a"), held(group="a"), held(group="b")
        buffer.put([a1, a2, b1])
        assert buffer.take() is a1
        assert buffer.take() is b1
        with taking(buffer) as found:
            idle(buffer)
            buffer.finished(b1)
            assert buffer.counts == (1, 1, 1)
            buffer.finished(a1)
            eventually(lambda: found == [a2], 30, "the next of the group was taken")

    def test_withdrawn_are_the_waiting_ones_of_the_group_alone(self) -> None:
        buffer = Buffer(fifo=True)
        a1, a2, b1, a3 = held(group="a"), held(group="a"), held(group="b"), held(group="a")
        buffer.put([a1, a2, b1, a3])
        buffer.take()
        assert buffer.withdraw("a") == [a2, a3]
        assert buffer.take() is b1
        assert buffer.counts == (0, 2, 0)

    @pytest.mark.parametrize("how", ["lost", "expired", "dropped"])
    def test_those_behind_a_message_that_another_consumer_may_have_are_let_go_with_it(self, how: str) -> None:
        gone: list[tuple[list[Held], list[Held]]] = []
        buffer = Buffer(fifo=True, let_go=lambda lost, behind: gone.append((lost, behind)))
        a1, a2, b1, a3 = held(group="a"), held(group="a"), held(group="b"), held(group="a")
        buffer.put([a1, a2, b1, a3])
        assert buffer.take() is a1
        if how == "lost":
            a2.lost = True
        elif how == "expired":
            a2.hidden_until = time.monotonic()
        else:
            assert buffer.drop(a2)
            assert not buffer.drop(a2)
        buffer.finished(a1)
        assert buffer.take() is b1
        assert gone == [([a2], [a3])]
        assert buffer.counts == (0, 1, 0)

    def test_a_closed_buffer_still_keeps_the_order(self) -> None:
        buffer = Buffer(fifo=True)
        a1, a2 = held(group="a"), held(group="a")
        buffer.put([a1, a2])
        assert buffer.take() is a1
        with taking(buffer) as found:
            buffer.close()
            idle(buffer)
            buffer.finished(a1)
            eventually(lambda: found == [a2], 30, "the next of the group was taken")


class FifoMachine(RuleBasedStateMachine):
    """Any sequence of events: within a group the order holds, one is out at a time, and none is lost or doubled."""

    def __init__(self) -> None:
        super().__init__()
        self.buffer = Buffer(fifo=True)
        self.waiting: defaultdict[str, list[Held]] = defaultdict(list)
        self.out: dict[str, Held] = {}

    @rule(groups=st.lists(st.sampled_from("abc"), max_size=5))
    def put(self, groups: list[str]) -> None:
        messages = [held(group=group) for group in groups]
        for group, message in zip(groups, messages, strict=True):
            self.waiting[group].append(message)
        self.buffer.put(messages)

    @precondition(lambda self: any(self.waiting[group] and group not in self.out for group in "abc"))
    @rule()
    def take(self) -> None:
        message = self.buffer.take()
        assert message is not None
        group = message.message.group or ""
        assert group not in self.out
        assert self.waiting[group].pop(0) is message
        self.out[group] = message

    @precondition(lambda self: self.out)
    @rule(data=st.data(), fails=st.booleans())
    def finish(self, data: st.DataObject, fails: bool) -> None:
        group = data.draw(st.sampled_from(sorted(self.out)))
        if fails:
            assert self.buffer.withdraw(group) == self.waiting.pop(group, [])
        self.buffer.finished(self.out.pop(group))

    @invariant()
    def counts(self) -> None:
        assert self.buffer.counts == (sum(map(len, self.waiting.values())), len(self.out), 0)


TestAnySequence = FifoMachine.TestCase


class TestWaitIdle:
    def test_at_once_where_nothing_is_under_way(self) -> None:
        assert Buffer(fifo=False).wait_idle(0.0)

    def test_false_at_the_deadline(self) -> None:
        buffer = Buffer(fifo=False)
        buffer.put([held()])
        assert not buffer.wait_idle(time.monotonic() + 0.01)

    def test_when_the_last_message_has_left_its_slot(self) -> None:
        buffer = Buffer(fifo=False)
        message = held()
        buffer.put([message])
        waited: list[bool] = []
        thread = threading.Thread(target=lambda: waited.append(buffer.wait_idle(float("inf"))), daemon=True)
        thread.start()
        buffer.take()
        assert waited == []
        buffer.finished(message)
        eventually(lambda: waited == [True], 30, "the waiter was told")


class TestReserving:
    """What the receiver is told to ask for."""

    def test_what_is_on_its_way_counts_as_held(self) -> None:
        buffer = Buffer(fifo=False)
        assert buffer.reserve(25, 0) == MAX_BATCH
        assert [buffer.quiet] == [False]
        assert buffer.reserve(25, 0) == MAX_BATCH
        assert buffer.reserve(25, 0) == 0  # what is left is not worth a request
        buffer.unreserve(MAX_BATCH)
        buffer.unreserve(MAX_BATCH)
        assert buffer.quiet
        assert buffer.reserve(25, 0) == MAX_BATCH

    def test_nothing_less_than_a_full_batch_where_that_is_asked_for(self) -> None:
        buffer = Buffer(fifo=False)
        assert buffer.reserve(MAX_BATCH - 1, 0, full=True) == 0
        assert buffer.reserve(MAX_BATCH, 0, full=True) == MAX_BATCH

    def test_what_is_withdrawn_makes_room(self) -> None:
        buffer = Buffer(fifo=True)
        buffer.put([held(group="a") for _ in range(4)])
        waited: list[bool] = []
        thread = threading.Thread(target=lambda: waited.append(buffer.wait_idle(float("inf"))), daemon=True)
        thread.start()
        assert buffer.reserve(4, 0) == 0
        buffer.withdraw("a")
        assert buffer.reserve(4, 0) == 4
        eventually(lambda: waited == [True], 0.9, "whoever waits for rest is woken at once")

    @pytest.mark.parametrize("change", ["take", "release", "wake"])
    def test_a_wait_ends_when_there_is_room(self, change: str) -> None:
        buffer = Buffer(fifo=False)
        reserved = [buffer.reserve(4, 0)] if change == "release" else []
        if change != "release":
            buffer.put([held() for _ in range(3)])
        found: list[int] = []
        thread = threading.Thread(target=lambda: found.append(buffer.reserve(4, 60)), daemon=True)
        thread.start()

        def changed() -> bool:
            # Again and again where that does no harm, since it may not have begun to wait yet.
            if change == "take" and buffer.counts[0]:
                buffer.take()
            elif change == "release" and reserved:
                buffer.unreserve(reserved.pop())
            elif change == "wake":
                buffer.wake()
            return not thread.is_alive()

        eventually(changed, 30, "the wait ended")
        assert len(found) == 1


class TestLoop:
    """A buffer whose slots are tasks of an event loop."""

    def test_the_loop_is_told_and_takes_up_to_the_limit(self) -> None:
        told: list[int] = []
        buffer = Buffer(fifo=False)
        buffer.serve(2, lambda: told.append(1))
        assert buffer.counts == (0, 0, 2)
        messages = [held() for _ in range(3)]
        before = len(told)
        buffer.put(messages)
        assert len(told) == before + 1
        assert [buffer.take_at_once() for _ in range(3)] == [*messages[:2], None]
        assert buffer.counts == (1, 2, 0)
        before = len(told)
        buffer.finished(messages[0])
        assert len(told) == before + 1
        assert buffer.take_at_once() is messages[2]


class TestPrefetch:
    @given(st.integers(1, 50), st.one_of(st.none(), st.floats(0, 3_600)), st.integers(1, 2))
    def test_nothing_where_each_receive_counts(self, concurrency: int, mean: float | None, receives: int) -> None:
        assert prefetch(concurrency, mean, receives) == 0

    @given(st.integers(1, 50))
    def test_before_the_first_message_is_through_what_fills_one_receive(self, concurrency: int) -> None:
        assert prefetch(concurrency, None, 5) == max(0, MAX_BATCH - concurrency)

    @given(st.integers(1, 50), st.floats(0, 3_600), st.integers(3, 1_000))
    def test_no_more_than_a_second_of_work(self, concurrency: int, mean: float, receives: int) -> None:
        target = prefetch(concurrency, mean, receives)
        assert 0 <= target <= 2 * MAX_BATCH + concurrency
        assert target * mean <= concurrency * 1.000001

    @given(st.integers(1, 50), st.floats(0, 3_600), st.floats(0, 3_600))
    def test_slower_handlers_have_less_waiting(self, concurrency: int, one: float, other: float) -> None:
        fast, slow = sorted((one, other))
        assert prefetch(concurrency, fast, 5) >= prefetch(concurrency, slow, 5)


class TestRoom:
    @given(st.integers(0, 50), st.integers(0, 100), st.integers(0, 60))
    def test_never_more_than_a_batch_nor_than_fits(self, free: int, buffered: int, target: int) -> None:
        wanted = room(free, buffered, target)
        assert 0 <= wanted <= MAX_BATCH
        assert wanted == 0 or buffered + wanted <= free + target

    @given(st.integers(1, 50), st.integers(0, 100), st.integers(0, 60))
    def test_a_slot_with_nothing_to_do_is_always_worth_a_request(self, free: int, buffered: int, target: int) -> None:
        if buffered < free:
            assert room(free, buffered, target) == min(MAX_BATCH, free + target - buffered)

    @given(st.integers(1, 60))
    def test_an_empty_buffer_is_filled_while_all_slots_are_busy(self, target: int) -> None:
        assert room(0, 0, target) == min(MAX_BATCH, target)

    @given(st.integers(MAX_BATCH, 60), st.integers(1, 60))
    def test_while_all_slots_are_busy_only_full_batches_are_received(self, target: int, buffered: int) -> None:
        assert room(0, buffered, target) in (0, MAX_BATCH)

    @given(st.integers(0, 60), st.integers(0, 60))
    def test_the_target_is_kept_near(self, free: int, target: int) -> None:
        """Whatever is asked for arriving each time, the buffer ends within a batch of full."""
        buffered = 0
        while wanted := room(free, buffered, target):
            buffered += wanted
        assert buffered <= free + target
        assert buffered > min(target - MAX_BATCH, target // 2) or target == 0

    @pytest.mark.parametrize("concurrency", [1, 2, 5])
    def test_one_receive_fills_slots_and_buffer_at_the_start(self, concurrency: int) -> None:
        assert room(concurrency, 0, prefetch(concurrency, None, 5)) == MAX_BATCH


class TestSpared:
    """What may be given back of what waits, when a run ends."""

    def test_what_is_said_to_be_spare(self) -> None:
        messages = [held() for _ in range(4)]
        kept = {id(messages[1])}
        assert spared(messages, lambda m: id(m) not in kept, fifo=False) == [messages[0], messages[2], messages[3]]

    def test_of_a_fifo_group_only_what_comes_behind_what_is_kept(self) -> None:
        a, b = [held(group="a") for _ in range(3)], [held(group="b") for _ in range(2)]
        kept = {id(a[1])}
        messages = [a[0], b[0], a[1], b[1], a[2]]
        assert spared(messages, lambda m: id(m) not in kept, fifo=True) == [b[0], b[1], a[2]]

    def test_it_is_taken_out_of_the_buffer_in_order(self) -> None:
        buffer = Buffer(fifo=True)
        first, last, behind = (held(group="a") for _ in range(3))
        buffer.put([first, last, behind])
        assert buffer.withdraw_all(lambda m: m is not last) == [behind]
        assert buffer.take_at_once() is first
        assert not buffer.closed
