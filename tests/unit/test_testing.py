"""What authors of handlers test with: `jobs.testing`."""

from __future__ import annotations

import asyncio
import contextvars
import subprocess
import sys
import textwrap
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, SecretStr

import queues
from jobs.testing import Sandbox, adeliver, assert_sent, deliver, drain, sent
from queues.handlers import Message, Reject, Retry, handler
from queuesite.foundation.errors import InvalidInput
from tests.conftest import Configure
from tests.support.processes import ROOT

pytestmark = pytest.mark.usefixtures("own_registry")

tenant = contextvars.ContextVar("tenant", default="none")


class Order(BaseModel):
    number: int


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid")

    token: SecretStr = SecretStr("")


def register(function: Any, name: str = "orders", **traits: Any) -> Any:
    return handler(name, **traits)(function)


class TestDeliver:
    def test_the_message_is_as_it_was_described(self) -> None:
        got: list[Message] = []
        register(got.append, options=Options)
        moment = datetime(2024, 2, 29, 12, 30, tzinfo=UTC)

        delivery = deliver(
            "orders",
            {"number": 1},
            receive_count=3,
            attributes={"tenant": "7", "picture": b"\0", "weight": 1.5},
            group="g",
            queue="orders.fifo",
            id="m-1",
            sent_at=moment,
            system={"AWSTraceHeader": "Root=1"},
            options={"token": "t"},
        )

        [message] = got
        assert delivery.done
        assert (message.json(), message.receive_count, message.group) == ({"number": 1}, 3, "g")
        assert message.attributes == {"tenant": "7", "picture": b"\0", "weight": "1.5"}
        assert (message.queue, message.id, message.sent_at) == ("orders.fifo", "m-1", moment)
        assert message.system["AWSTraceHeader"] == "Root=1"
        assert isinstance(message.options, Options)
        assert message.options.token.get_secret_value() == "t"

    def test_payloads_are_parsed_and_judged(self) -> None:
        got: list[Order] = []
        orders = register(lambda order: got.append(order), payload=Order)

        assert deliver("orders", Order(number=1)).done
        assert deliver(orders, '{"number": 2}').done
        wrong = deliver("orders", {"number": "x"})

        assert got == [Order(number=1), Order(number=2)]
        assert wrong.rejected
        assert "number" in wrong.reason

    @pytest.mark.parametrize("is_async", [False, True])
    @pytest.mark.parametrize(
        ("answer", "kind", "delay", "reason"),
        [
            (Retry("later", delay=60), "retried", 60, "later"),
            (Reject("no"), "rejected", None, "no"),
            (SystemExit("3"), "retried", ..., "SystemExit: 3"),
            (ValueError("odd"), "retried", ..., "ValueError: odd"),
        ],
    )
    def test_outcomes(self, is_async: bool, answer: BaseException, kind: str, delay: Any, reason: str) -> None:
        def plain(message: Message) -> None:
            raise answer

        async def coroutine(message: Message) -> None:
            await asyncio.sleep(0)
            raise answer

        register(coroutine if is_async else plain)
        delivery = deliver("orders", receive_count=2)

        assert [name for name in ("done", "retried", "rejected") if getattr(delivery, name)] == [kind]
        assert delivery.delay is None if delay is None else delay in (..., delivery.delay)
        assert delivery.reason == reason
        assert delivery.error is answer
        with pytest.raises(type(answer)):
            delivery.raise_for_error()

    def test_unfinished_work_is_told_as_in_a_consumer(self) -> None:
        register(lambda message: (n for n in range(3)))

        assert "whose work is not done" in deliver("orders").reason

    @pytest.mark.parametrize("is_async", [False, True])
    def test_time_limits(self, is_async: bool) -> None:
        async def hang(message: Message) -> None:
            await asyncio.sleep(60)

        def linger(message: Message) -> None:
            until = time.monotonic() + 0.02
            while time.monotonic() <= until:
                pass

        register(hang if is_async else linger, timeout=0.01)
        delivery = deliver("orders")

        assert delivery.timed_out
        assert delivery.reason == "TimedOut: the handler took longer than its time limit of 0.01 s"

    def test_a_handlers_own_timeout_is_not_the_limit(self) -> None:
        async def give_up(message: Message) -> None:
            raise TimeoutError("of its own")

        register(give_up, timeout=60)

        assert (deliver("orders").timed_out, deliver("orders").reason) == (False, "TimeoutError: of its own")

    def test_it_runs_in_the_tests_thread_and_leaves_its_context_alone(self) -> None:
        threads: list[int] = []

        def note(message: Message) -> None:
            threads.append(threading.get_ident())
            tenant.set(tenant.get() + "+")

        register(note)
        tenant.set("test")

        assert deliver("orders").done
        assert threads == [threading.get_ident()]
        assert tenant.get() == "test"

    def test_async_orm_calls_run_in_the_tests_thread(self) -> None:
        from asgiref.sync import sync_to_async

        threads: list[int] = []

        async def note(message: Message) -> None:
            await sync_to_async(lambda: threads.append(threading.get_ident()))()

        register(note)

        assert deliver("orders").done
        assert threads == [threading.get_ident()]

    def test_in_an_async_test(self) -> None:
        loops: list[Any] = []

        async def note(message: Message) -> None:
            loops.append(asyncio.get_running_loop())

        register(note)

        async def test() -> Any:
            with pytest.raises(RuntimeError, match=r"`await adeliver\(…\)`"):
                deliver("orders")
            assert (await adeliver("orders")).done
            return asyncio.get_running_loop()

        assert loops == [asyncio.run(test())]

    def test_middleware_surrounds_it(self, configure: Configure) -> None:
        configure(handler_middleware="tests.unit.test_handler_middleware.rejecting")
        register(lambda message: None)

        assert deliver("orders").reason == "not on Sundays"

    def test_a_person_at_the_keyboard_is_obeyed(self) -> None:
        def interrupt(message: Message) -> None:
            raise KeyboardInterrupt

        register(interrupt)

        with pytest.raises(KeyboardInterrupt):
            deliver("orders")

    def test_bad_input(self) -> None:
        register(lambda message: None, options=Options)

        with pytest.raises(InvalidInput, match="there is no handler 'order'"):
            deliver("order")
        with pytest.raises(InvalidInput, match="is not a handler"):
            deliver(print)
        with pytest.raises(InvalidInput, match="options of handler 'orders'"):
            deliver("orders", options={"tokens": "t"})
        with pytest.raises(InvalidInput, match="attribute 'a'"):
            deliver("orders", attributes={"a": object()})

    def test_what_it_sends_never_goes_to_sqs(self) -> None:
        register(lambda message: queues.send("mails", "hello"))

        assert deliver("orders").done


class TestSent:
    def test_sends_by_name_and_by_function_are_kept(self, box: Sandbox) -> None:
        orders = register(lambda order: None, payload=Order)
        orders.send(Order(number=1), delay=30, attributes={"tenant": 7})
        queues.send("mails", "hello")
        queues.send_many("mails", ["a", "b"])

        assert [message.body for message in sent("mails")] == ["hello", "a", "b"]
        assert len(sent()) == 4
        [order] = sent("orders")
        assert (order.json(), order.delay, order.attributes) == ({"number": 1}, 30, {"tenant": "7"})

    def test_assert_sent(self, box: Sandbox) -> None:
        orders = register(lambda order: None, payload=Order)
        orders.send(Order(number=1), delay=30, attributes={"tenant": 7, "more": "m"})

        for body in (Order(number=1), {"number": 1}, '{"number":1}', '{ "number": 1 }'):
            assert_sent("orders", body)
        assert_sent("orders")
        assert_sent("orders", delay=30, attributes={"tenant": 7}, count=1)
        assert_sent("orders", Order(number=2), count=0)

    @pytest.mark.parametrize(
        ("expected", "told"),
        [
            ({"body": Order(number=2)}, "a message to 'orders' with Order(number=2), found 0"),
            ({"delay": 31}, "a message to 'orders' with delay=31, found 0"),
            ({"attributes": {"tenant": "8"}}, "a message to 'orders' with attributes={'tenant': '8'}, found 0"),
            ({"count": 2}, "2 messages to 'orders', found 1"),
            ({"queue": "order"}, "a message to 'order', found 0"),
        ],
    )
    def test_it_says_what_was_sent_instead(self, box: Sandbox, expected: dict[str, Any], told: str) -> None:
        orders = register(lambda order: None, payload=Order)
        orders.send(Order(number=1), delay=30, attributes={"tenant": 7})

        with pytest.raises(AssertionError) as caught:
            assert_sent(**{"queue": "orders", **expected})

        assert told in str(caught.value)
        assert """\n  orders: {"number":1}, delay=30, attributes={'tenant': '7'}""" in str(caught.value)

    def test_nothing_was_sent(self, box: Sandbox) -> None:
        with pytest.raises(AssertionError, match="sent were:\n  nothing"):
            assert_sent("orders")

    def test_sqs_s_rules_hold(self, box: Sandbox) -> None:
        with pytest.raises(InvalidInput):
            queues.send("orders", "b", delay=901)
        with pytest.raises(InvalidInput):
            queues.send("orders.fifo", "b")

        assert sent() == []

    def test_without_a_sandbox(self) -> None:
        for call in (sent, lambda: assert_sent("orders"), lambda: drain("orders")):
            with pytest.raises(RuntimeError, match="use the fixture queue_sandbox"):
                call()


class TestDrain:
    def test_what_was_sent_is_handled_in_this_thread(self, box: Sandbox) -> None:
        got: list[tuple[Order, int]] = []
        orders = register(lambda order: got.append((order, threading.get_ident())), payload=Order)
        orders.send_many([Order(number=number) for number in range(25)])

        drained = drain("orders")

        assert sorted(order.number for order, _ in got) == list(range(25))
        assert {thread for _, thread in got} == {threading.get_ident()}
        assert (drained.processed, drained.failed, drained.errors, drained.dead_letters) == (25, 0, [], [])

    @pytest.mark.parametrize("is_async", [False, True])
    def test_failures_use_up_their_receives_and_end_as_dead_letters(self, box: Sandbox, is_async: bool) -> None:
        def fail(message: Message) -> None:
            if message.body == "bad":
                raise ValueError(message.receive_count)

        async def fail_async(message: Message) -> None:
            fail(message)

        register(fail_async if is_async else fail)
        box.define("orders", max_receive_count=3)
        queues.send_many("orders", ["good", "bad"])

        drained = drain("orders")

        assert (drained.processed, drained.failed) == (1, 3)
        assert [str(error) for error in drained.errors] == ["1", "2", "3"]
        assert [letter.body for letter in drained.dead_letters] == ["bad"]

    def test_delays_and_retries_pass_at_once(self, box: Sandbox) -> None:
        def once(message: Message) -> Any:
            return Retry(delay=3_600) if message.receive_count == 1 else None

        register(once)
        queues.send("orders", "b", delay=900)

        assert drain("orders", waiting=False).processed == 0
        drained = drain("orders")

        assert (drained.processed, drained.failed, drained.retried) == (1, 0, 1)
        assert drained.seconds == pytest.approx(4_500, abs=1)

    def test_rejections(self, box: Sandbox) -> None:
        register(lambda message: Reject("no"))
        queues.send("orders", "b")

        [letter] = drain("orders").dead_letters
        assert letter.attributes["QueuesiteRejectReason"]["StringValue"] == "no"

    def test_fifo_queues_keep_their_order(self, box: Sandbox) -> None:
        got: list[str] = []
        register(lambda message: got.append(message.body))
        box.define("orders.fifo", "orders")
        for number in range(6):
            queues.send("orders.fifo", f"{number}", group="a")

        assert drain("orders.fifo").processed == 6
        assert got == list("012345")

    def test_what_a_handler_sends_is_drained_with_its_own_queue(self, box: Sandbox) -> None:
        register(lambda message: queues.send("mails", message.body))
        mails: list[str] = []
        register(lambda message: mails.append(message.body), "mails")
        queues.send("orders", "b")

        drain("orders")
        assert mails == []
        assert drain("mails").processed == 1
        assert mails == ["b"]

    def test_a_handler_that_sends_to_itself_for_ever(self, box: Sandbox) -> None:
        register(lambda message: queues.send("orders", message.body))
        queues.send("orders", "b")

        with pytest.raises(AssertionError, match="has not ended after 50 attempts"):
            drain("orders", limit=50)

    def test_a_queue_whose_handler_declares_it(self, box: Sandbox) -> None:
        register(lambda message: None, "take_order", queue="orders")
        queues.send("orders", "b")

        assert drain("orders").processed == 1

    def test_a_queue_without_a_handler(self, box: Sandbox) -> None:
        queues.send("nobody", "b")

        with pytest.raises(InvalidInput, match="there is no handler 'nobody'"):
            drain("nobody")


SUITE = """
    import pytest
    import queues
    from jobs.testing import assert_sent, deliver, drain
    from queues.handlers import handler

    @handler("of_this_suite")
    def handle(message):
        queues.send("elsewhere", message.body)

    @pytest.mark.parametrize("number", range(100))
    def test_deliver(queue_sandbox, number):
        assert deliver("of_this_suite", {"number": number}).done
        assert_sent("elsewhere", {"number": number}, count=1)

    @pytest.mark.parametrize("number", range(100))
    def test_drain(queue_sandbox, number):
        queues.send("of_this_suite", {"number": number})
        assert drain("of_this_suite").processed == 1
"""


def test_a_suite_with_the_plugin_needs_no_server(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["jobs.testing.plugin"]\n')
    (tmp_path / "test_suite.py").write_text(textwrap.dedent(SUITE))
    environ = {
        "PATH": "",
        "PYTHONPATH": str(ROOT),
        "ENV_FILE": "",
        "DATA_DIR": str(tmp_path),
        "MONGODB_URI": "mongodb://127.0.0.1:9/",
        "AWS_SQS_ENDPOINT": "http://127.0.0.1:9",
        "DJANGO_SETTINGS_MODULE": "queuesite.settings",
    }
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:schemathesis", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        timeout=110,
    )

    assert "200 passed" in ended.stdout, ended.stdout + ended.stderr
