"""For how long messages are hidden: within SQS's 12 hours, and never visible while they are held."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from jobs.consumer.acknowledger import Acknowledger
from jobs.consumer.caution import LONGEST_CAUTION, caution
from jobs.consumer.held import Held
from jobs.consumer.visibility import VisibilityKeeper
from jobs.consumer.windows import FIRST_SECONDS, LONGEST_SECONDS, LONGEST_WAIT, longest_window, window
from queues.sqs import MAX_VISIBILITY_SECONDS
from tests.support.fake_gateway import URL, FakeGateway, refused
from tests.support.memory_sqs import OneQueue
from tests.support.messages import held
from tests.support.waiting import eventually


class Holding:
    """A consumer that holds one message of an emulated queue; time passes by `wait` alone."""

    def __init__(self, visibility_timeout: int, *, fifo: bool = False) -> None:
        self.now = 1_000.0
        self.visibility_timeout = visibility_timeout
        self.sqs = OneQueue(clock=lambda: self.now, fifo=fifo)
        self.sqs.put("m", group="g" if fifo else None)
        self.lost: list[float] = []
        self.keeper = VisibilityKeeper(
            self.sqs.gateway,
            self.sqs.url,
            lambda held_for: window(self.visibility_timeout, held_for),
            lambda held: self.lost.append(self.now),
            monotonic=lambda: self.now,
        )
        hidden_for = window(visibility_timeout, 0)
        (message,) = self.sqs.receive(self.sqs.url, limit=1, wait=0, visibility=hidden_for)
        self.began = self.now
        self.held = Held(message, self.now, self.now + hidden_for, hidden_for, begun=True)
        self.keeper.keep(self.held)

    @property
    def visible(self) -> bool:
        (stored,) = self.sqs.messages
        return stored.visible_at <= self.now

    def wait(self, seconds: float, *, beat: float | None = None) -> bool:
        """Let time pass, with a heartbeat as often as the keeper's thread makes one; whether it stayed hidden."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + (beat or self.keeper.pause))
            visible = self.visible
            self.keeper.beat(self.now)
            if visible:
                return False
        return True


timeouts = st.integers(1, MAX_VISIBILITY_SECONDS)


class TestWindow:
    @given(timeouts, st.floats(0, 50_000), st.integers(1, 10))
    def test_never_longer_than_the_queues_own_nor_than_caution_lasts(
        self, timeout: int, held_for: float, receives: int
    ) -> None:
        assert 1 <= window(timeout, held_for, receives) <= longest_window(timeout) <= timeout
        assert longest_window(timeout) < caution(longest_window(timeout)) <= LONGEST_CAUTION

    @given(timeouts, st.integers(2, 10))
    def test_what_a_dead_consumer_held_is_back_as_soon_as_it_has_been_held_for(
        self, timeout: int, receives: int
    ) -> None:
        for held_for in (0, 1, 29, 31, 300, 599, 10_000):
            assert window(timeout, held_for, receives) <= max(FIRST_SECONDS, held_for)

    def test_a_message_that_may_be_received_once_is_hidden_for_longest(self) -> None:
        assert window(43_200, 0, 1) == LONGEST_SECONDS
        assert window(20, 0, 1) == 20


class TestKeeping:
    @given(st.lists(st.tuples(timeouts, st.integers(1, 120)), min_size=1, max_size=6))
    @example([(1, 1), (8, 1)])  # the heartbeat would sleep for longer than the window that is left
    def test_a_held_message_stays_hidden_however_the_timeout_is_changed(self, changes: list[tuple[int, int]]) -> None:
        holding = Holding(changes[0][0])
        for timeout, seconds in changes:
            holding.visibility_timeout = timeout
            holding.keeper.beat(holding.now)  # as the run wakes the keeper
            assert holding.wait(seconds)
        assert holding.lost == []

    @pytest.mark.parametrize("timeout", [30, 300, 28_800, 43_200])
    def test_it_is_hidden_until_nearly_all_of_twelve_hours_is_used_up_and_lost_then(self, timeout: int) -> None:
        holding = Holding(timeout)
        with capture_logs() as logs:
            assert holding.wait(MAX_VISIBILITY_SECONDS - 60, beat=7)
            assert holding.lost == []
            holding.wait(60)
        assert [entry["event"] for entry in logs] == ["visibility_limit_reached", "visibility_lost"]
        assert holding.held.lost
        (lost,) = holding.lost
        assert MAX_VISIBILITY_SECONDS - 10 <= lost - holding.began <= MAX_VISIBILITY_SECONDS

    def test_a_raised_timeout_does_not_let_what_is_held_run_out(self) -> None:
        holding = Holding(30)
        holding.visibility_timeout = 43_200
        assert holding.wait(600)
        assert holding.lost == []

    def test_long_handlers_cost_few_requests(self) -> None:
        holding = Holding(43_200)
        assert holding.wait(MAX_VISIBILITY_SECONDS - 60, beat=1)
        assert holding.sqs.requests < 160

    def test_where_sqs_counts_earlier_than_we_do_it_is_hidden_for_as_long_as_it_can_be(self) -> None:
        holding = Holding(300)
        (stored,) = holding.sqs.messages
        stored.received_at -= 200
        assert holding.wait(MAX_VISIBILITY_SECONDS - 300, beat=7)
        holding.wait(300)
        (lost,) = holding.lost
        assert lost - holding.began >= MAX_VISIBILITY_SECONDS - 300
        assert holding.sqs.requests < 300

    def test_an_outage_shorter_than_what_is_left_of_the_window_does_no_harm(self) -> None:
        holding = Holding(300)
        assert holding.wait(200)
        holding.sqs.away = True
        assert holding.wait(90)
        holding.sqs.away = False
        assert holding.wait(300)


class TestRefusedExtensions:
    @pytest.mark.parametrize("code", ["InvalidParameterValueException", "ReceiptHandleIsInvalid", "MessageNotInflight"])
    @pytest.mark.parametrize("sender_fault", [True, False])
    def test_an_expired_handle_is_noticed_however_it_is_spelt(self, code: str, sender_fault: bool) -> None:
        gateway = FakeGateway()
        lost: list[Held] = []
        keeper = VisibilityKeeper(gateway.real, URL, lambda held_for: 30, lost.append)
        message = held(now=100.0)
        keeper.keep(message)
        gateway.answers.append((refused(0, code, sender_fault=sender_fault),))
        keeper.beat(120.0)
        keeper.beat(121.0)
        assert lost == [message]
        assert len(gateway.changed) == 1

    def test_an_unknown_refusal_is_logged_once_and_the_message_is_lost_when_it_is_visible(self) -> None:
        gateway = FakeGateway()
        lost: list[Held] = []
        keeper = VisibilityKeeper(gateway.real, URL, lambda held_for: 30, lost.append)
        message = held(now=100.0)
        keeper.keep(message)
        gateway.answers.append((refused(0, "Unheard", sender_fault=True),))
        with capture_logs() as logs:
            for now in (120.0, 121.0, 129.9):
                keeper.beat(now)
            assert lost == []
            keeper.beat(130.0)
        assert lost == [message]
        assert [entry["event"] for entry in logs] == ["visibility_refused", "visibility_lost"]


class TestWaiting:
    def test_what_waits_for_an_hour_is_reported_and_what_has_begun_is_not(self) -> None:
        gateway = FakeGateway()
        reported: list[Held] = []
        keeper = VisibilityKeeper(gateway.real, URL, lambda held_for: 30, reported.append)
        waits, runs = held(now=0.0, timeout=4_000), held(now=0.0, timeout=4_000)
        runs.begun = True
        keeper.keep(waits)
        keeper.keep(runs)
        keeper.beat(LONGEST_WAIT - 1)
        assert reported == []
        keeper.beat(LONGEST_WAIT)
        assert reported == [waits]
        assert not waits.lost


class TestDelays:
    """A retry's delay counts from now, and SQS's limit from the receive."""

    def shown(self, sqs: OneQueue, message: Held, delay: int) -> None:
        keeper = VisibilityKeeper(sqs.gateway, sqs.url, lambda held_for: 30)
        acknowledger = Acknowledger(sqs.gateway, sqs.url, keeper, 0.0)
        acknowledger.start()
        acknowledger.release(message, delay, at_once=True)
        acknowledger.close(time.monotonic() + 5)

    def received(self, ago: float, *, error: float = 0.0) -> tuple[OneQueue, Held]:
        sqs = OneQueue()
        sqs.put("m")
        (message,) = sqs.receive(sqs.url, limit=1, wait=0, visibility=30)
        sqs.messages[0].received_at -= ago + error
        now = time.monotonic()
        return sqs, Held(message, now - ago, now + 30, 30)

    @pytest.mark.parametrize("ago", [0.0, 20.0, 40_000.0])
    def test_the_longest_delay_is_cut_to_what_is_left_of_twelve_hours(self, ago: float) -> None:
        sqs, message = self.received(ago)
        self.shown(sqs, message, MAX_VISIBILITY_SECONDS)
        ((_, seconds),) = sqs.changes
        assert MAX_VISIBILITY_SECONDS - ago - 10 < seconds <= MAX_VISIBILITY_SECONDS - ago

    def test_a_message_whose_twelve_hours_are_over_is_shown_at_once(self) -> None:
        sqs, message = self.received(MAX_VISIBILITY_SECONDS - 1)
        self.shown(sqs, message, 3_600)
        assert sqs.changes == [("m", 0)]

    @pytest.mark.parametrize("error", [30.0, 300.0])
    def test_beyond_the_limit_all_the_same_it_asks_for_less(self, error: float) -> None:
        sqs, message = self.received(100, error=error)
        self.shown(sqs, message, MAX_VISIBILITY_SECONDS)
        ((_, seconds),) = sqs.changes
        assert MAX_VISIBILITY_SECONDS - 3 * error - 200 < seconds

    def test_a_short_delay_is_as_it_was_asked_for(self) -> None:
        sqs, message = self.received(100)
        self.shown(sqs, message, 900)
        assert sqs.changes == [("m", 900)]

    def test_an_extension_under_way_does_not_overwrite_it(self) -> None:
        gateway = FakeGateway()
        keeper = VisibilityKeeper(gateway.real, URL, lambda held_for: 30)
        acknowledger = Acknowledger(gateway.real, URL, keeper, 0.0)
        acknowledger.start()
        # The acknowledger's clock: on a machine that has been up for 12 h, 100 s would be too long ago.
        now = time.monotonic()
        message = held(now=now)
        keeper.keep(message)

        class During(FakeGateway):
            """While SQS has the extension, the handler fails, and the run even ends."""

            def change_visibility(self, queue_url: str, changes: object) -> tuple[()]:
                acknowledger.release(message, 7, at_once=True)
                eventually(lambda: acknowledger._awaited == 1, 30, "it is waited for")
                assert gateway.changed == []
                return ()

        keeper._gateway = During().real
        keeper.beat(now + 20.0)
        acknowledger.close(time.monotonic() + 5)
        assert gateway.changed == [[(message.message.receipt_handle, 7)]]
        assert keeper.known(message.message.message_id) is None
