"""HANDLER_MIDDLEWARE: layers around each attempt, in threads and on the event loop."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest
import structlog
from django.core.exceptions import MiddlewareNotUsed
from django.utils.decorators import async_only_middleware, sync_and_async_middleware

from queues.handlers import Message, MessageBatch, Reject, Retry, middleware
from queues.handlers.batching import Batch
from queues.handlers.middleware import MiddlewareError
from queues.handlers.registry import Handler
from queues.sqs import NEEDED_ATTRIBUTES
from queuesite.foundation.config import get_config
from queuesite.foundation.errors import InvalidInput
from queuesite.foundation.logs import bind, configure, get_logger
from tests.conftest import Configure
from tests.support.memory_sqs import MemoryRun, OneQueue, handle_all, registered
from tests.support.waiting import eventually

HERE = __name__
#: What the layers and handlers of a test did, in order.
seen: list[Any] = []
tenant: ContextVar[str] = ContextVar("tenant", default="none")

Use = Callable[..., None]


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    seen.clear()


@pytest.fixture
def use(configure: Configure) -> Use:
    """Has these factories of this module around every handler, the outermost first."""

    def use(*names: str) -> None:
        configure(handler_middleware=",".join(f"{HERE}.{name}" for name in names))

    return use


def plain(get_response: Any) -> Any:
    def layer(message: Message) -> Any:
        seen.append(("plain", message.body))
        token = tenant.set("plain")
        try:
            return get_response(message)
        finally:
            tenant.reset(token)
            seen.append(("plain ends", message.body))

    return layer


@async_only_middleware
def coroutines(get_response: Any) -> Any:
    async def layer(message: Message) -> Any:
        seen.append(("coroutines", message.body))
        await asyncio.sleep(0)
        answer = await get_response(message)
        seen.append(("coroutines end", message.body))
        return answer

    return layer


@sync_and_async_middleware
def both(get_response: Any) -> Any:
    if inspect.iscoroutinefunction(get_response):

        async def layer(message: Message) -> Any:
            seen.append(("both, async", message.body))
            return await get_response(message)

        return layer

    def plain_layer(message: Message) -> Any:
        seen.append(("both", message.body))
        return get_response(message)

    return plain_layer


def rejecting(get_response: Any) -> Any:
    return lambda message: Reject("not on Sundays")


def failing(get_response: Any) -> Any:
    def layer(message: Message) -> Any:
        get_response(message)
        raise LookupError("from the layer")

    return layer


def forgiving(get_response: Any) -> Any:
    def layer(message: Message) -> Any:
        try:
            return get_response(message)
        except ValueError:
            return None

    return layer


def unused(get_response: Any) -> Any:
    raise MiddlewareNotUsed


def broken(get_response: Any) -> Any:
    raise KeyError("TOKEN")


def returns_nothing(get_response: Any) -> Any:
    return None


def unmarked(get_response: Any) -> Any:
    async def layer(message: Message) -> Any:
        return await get_response(message)

    return layer


def neither(get_response: Any) -> Any:
    return get_response


neither.sync_capable = False  # type: ignore[attr-defined]


def wanting(get_response: Any) -> Any:
    return get_response


@sync_and_async_middleware
def counting(get_response: Any) -> Any:
    if inspect.iscoroutinefunction(get_response):

        async def layer(batch: MessageBatch) -> Any:
            seen.append(("counted", batch.queue, [message.body for message in batch]))
            return await get_response(batch)

        return layer

    def plain_layer(batch: MessageBatch) -> Any:
        seen.append(("counted", batch.queue, [message.body for message in batch]))
        return get_response(batch)

    return plain_layer


def one_by_one(get_response: Any) -> Any:
    return plain(get_response)


counting.batch_capable = True  # type: ignore[attr-defined]
one_by_one.batch_capable = False  # type: ignore[attr-defined]
wanting.system_attributes = ("AWSTraceHeader",)  # type: ignore[attr-defined]

not_callable = 5


def handle(message: Message) -> None:
    seen.append(("handler", tenant.get()))


async def handle_async(message: Message) -> None:
    await asyncio.sleep(0)
    seen.append(("handler", tenant.get()))


class TestLayers:
    def test_no_middleware_leaves_the_function_itself(self) -> None:
        assert Handler("h", handle).attempt is handle

    def test_factories_can_tell_what_an_async_handler_is(self, use: Use) -> None:
        class Callable:
            async def __call__(self, message: Message) -> None:
                seen.append("handler")

        use("both", "plain", "both")

        assert handle_all(Callable(), OneQueue("m")).processed == 1
        assert [one[0] for one in seen] == ["both, async", "plain", "both, async", "h", "plain ends"]

    @pytest.mark.parametrize("function", [handle, handle_async])
    def test_the_first_is_the_outermost(self, use: Use, function: Any) -> None:
        use("plain", "both", "coroutines")

        report = handle_all(function, OneQueue("m"))

        mode = "both, async" if function is handle_async else "both"
        assert (report.processed, report.failed) == (1, 0)
        assert seen == [
            ("plain", "m"),
            (mode, "m"),
            ("coroutines", "m"),
            ("handler", "plain"),
            ("coroutines end", "m"),
            ("plain ends", "m"),
        ]

    def test_a_handler_stays_in_its_slots_thread_below_a_layer_of_coroutines(self, use: Use) -> None:
        use("coroutines")

        handle_all(lambda message: seen.append(threading.current_thread().name), OneQueue("m"))

        assert "slot" in seen

    def test_an_async_handler_stays_on_the_event_loop_below_a_plain_layer(self, use: Use) -> None:
        use("plain")
        loops: list[Any] = []

        async def note(message: Message) -> None:
            loops.append(asyncio.get_running_loop())

        sqs = OneQueue("a", "b", "c")
        with registered(note):
            MemoryRun(sqs).start().report()

        assert len(loops) == 3
        assert len(set(loops)) == 1

    def test_a_plain_layer_does_not_lower_the_concurrency_of_an_async_handler(
        self, use: Use, configure: Configure
    ) -> None:
        use("plain", "coroutines", "plain")
        configure(max_concurrency=20)
        middleware._threads.cache_clear()
        together = asyncio.Barrier(20)

        async def meet(message: Message) -> None:
            await asyncio.wait_for(together.wait(), 45)

        report = handle_all(meet, OneQueue(*"abcdefghijklmnopqrst"), concurrency=20)

        middleware._threads.cache_clear()
        assert (report.processed, report.failed) == (20, 0)

    def test_one_that_says_it_is_not_used_is_left_out(self, use: Use) -> None:
        use("unused", "plain")

        assert handle_all(handle, OneQueue("m")).processed == 1

        assert seen == [("plain", "m"), ("handler", "plain"), ("plain ends", "m")]


class TestOutcomes:
    @pytest.mark.parametrize("function", [handle, handle_async])
    def test_what_a_layer_returns_is_the_outcome(self, use: Use, function: Any) -> None:
        use("rejecting")

        with registered(function):
            running = MemoryRun(OneQueue("m"))
            running.start()
            eventually(lambda: running.run.meter.total.failed, 30, "it was judged")
            report = running.end()

        assert report.last_error == "rejected (not on Sundays), but the queue has no dead-letter queue: kept"
        assert seen == []

    @pytest.mark.parametrize("function", [handle, handle_async])
    def test_what_a_layer_raises_fails_the_attempt(self, use: Use, function: Any) -> None:
        use("failing")

        report = handle_all(function, OneQueue("m"))

        assert report.last_error == "LookupError: from the layer"
        assert seen == [("handler", "none")]

    def test_a_layer_may_catch_what_the_handler_raises(self, use: Use) -> None:
        use("forgiving")

        def fail(message: Message) -> None:
            raise ValueError("forgiven")

        report = handle_all(fail, OneQueue("m"))

        assert (report.processed, report.failed) == (1, 0)

    def test_what_the_handler_raises_passes_through(self, use: Use) -> None:
        use("plain", "coroutines")

        def ask(message: Message) -> None:
            raise Retry("later", delay=60)

        report = handle_all(ask, OneQueue("m"))

        assert report.last_error == "later"

    def test_the_time_limit_of_an_async_handler_holds_below_a_plain_layer(self, use: Use) -> None:
        use("plain")
        cancelled: list[bool] = []

        async def hang(message: Message) -> None:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.append(True)
                raise

        report = handle_all(hang, OneQueue("m"), timeout=1)

        assert (report.failed, report.timed_out) == (1, 1)
        assert cancelled == [True]


class TestBadInput:
    @pytest.mark.parametrize(
        ("path", "told"),
        [
            ("nodots", "nodots: expected a dotted path, as in shop.middleware.timed"),
            ("no.such.module", "no.such.module: no.such cannot be imported: ModuleNotFoundError: No module named 'no'"),
            (f"{HERE}.nowhere", f"module {HERE} has no 'nowhere'"),
            (f"{HERE}.not_callable", "it is 5; expected a function that takes get_response"),
            (f"{HERE}.neither", "at least one of sync_capable and async_capable must be True"),
        ],
    )
    def test_what_cannot_be_imported_is_named(self, configure: Configure, path: str, told: str) -> None:
        configure(handler_middleware=path)

        with pytest.raises(MiddlewareError) as caught:
            middleware.load()

        assert str(caught.value).startswith(f"HANDLER_MIDDLEWARE: {path}: ")
        assert told in str(caught.value)
        assert caught.value.exit_code == 2

    @pytest.mark.parametrize(
        ("name", "told"),
        [
            ("returns_nothing", "it returned None; expected a function that takes a message"),
            ("unmarked", "it returned a coroutine function; mark it with"),
            ("broken", f"it failed when it was built: KeyError: 'TOKEN' ({__file__}:"),
        ],
    )
    @pytest.mark.parametrize("is_async", [False, True])
    def test_what_cannot_be_built_is_named_at_the_start(self, use: Use, name: str, told: str, is_async: bool) -> None:
        use("plain", name)

        with pytest.raises(MiddlewareError) as caught:
            middleware.check([(is_async, None)])

        assert str(caught.value).startswith(f"HANDLER_MIDDLEWARE: {HERE}.{name}: ")
        assert told in str(caught.value)

    def test_a_run_does_not_begin_with_it(self, use: Use) -> None:
        use("returns_nothing")

        with registered(handle), pytest.raises(InvalidInput, match="returned None"):
            MemoryRun(OneQueue("m"))


class TestBatches:
    def run(self, function: Any) -> None:
        with registered(function, batch=Batch(10)):
            MemoryRun(OneQueue("a", "b", "c"), concurrency=1).run.execute()

    @pytest.mark.parametrize("is_async", [False, True])
    def test_a_layer_is_called_once_for_a_batch(self, use: Use, is_async: bool) -> None:
        use("counting")

        def take(messages: list[Message]) -> None:
            seen.append(len(messages))

        async def take_async(messages: list[Message]) -> None:
            take(messages)

        self.run(take_async if is_async else take)

        batches = [one[2] for one in seen if isinstance(one, tuple)]
        assert sorted(body for bodies in batches for body in bodies) == ["a", "b", "c"]
        assert [one for one in seen if isinstance(one, int)] == list(map(len, batches))
        assert max(map(len, batches)) > 1
        assert all(one[1] == "orders" for one in seen if isinstance(one, tuple))

    def test_one_that_takes_none_is_left_out(self, use: Use) -> None:
        use("one_by_one", "counting")
        self.run(lambda messages: None)
        assert {one[0] for one in seen} == {"counted"}

    def test_one_that_does_not_say_is_refused(self, use: Use) -> None:
        use("counting", "plain")

        with pytest.raises(MiddlewareError) as caught:
            self.run(lambda messages: None)
        assert str(caught.value).startswith(f"HANDLER_MIDDLEWARE: {HERE}.plain: handler 'under-test' takes batches")
        assert "batch_capable to True" in str(caught.value)
        with pytest.raises(MiddlewareError, match="handler 'events' takes batches"):
            middleware.check([(True, "events"), (False, None)])

    def test_one_that_is_not_used_need_not_say(self, use: Use) -> None:
        use("unused", "counting")
        middleware.check([(False, "events")])


class TestSystemAttributes:
    def test_only_those_that_messages_need(self) -> None:
        assert middleware.system_attributes() == NEEDED_ATTRIBUTES

    def test_what_a_factory_names_is_asked_for_and_reaches_it(self, use: Use) -> None:
        use("wanting", "plain")

        class Asked(OneQueue):
            def receive(self, queue_url: str, *, system: Any = (), **options: Any) -> Any:
                seen.append(tuple(system))
                return super().receive(queue_url, system=system, **options)

        handle_all(lambda message: seen.append(dict(message.system)), Asked("m"))

        assert seen[0] == (*NEEDED_ATTRIBUTES, "AWSTraceHeader")
        assert {"ApproximateReceiveCount": "1"}.items() <= next(one for one in seen if isinstance(one, dict)).items()


class TestLogs:
    @pytest.fixture
    def written(self, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], list[dict[str, Any]]]]:
        configure("INFO", "json")
        bind(queue="orders", job_id="job-1")
        yield lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]
        structlog.contextvars.clear_contextvars()
        configure(get_config().log_level, get_config().log_format)

    def test_every_line_of_a_handler_has_queue_job_and_message(
        self, use: Use, written: Callable[[], list[dict[str, Any]]]
    ) -> None:
        use("plain")

        def plain_logging(message: Message) -> None:
            logging.getLogger("shop").warning("standard %s", message.body)
            get_logger("shop").info("structured", body=message.body)

        async def async_logging(message: Message) -> None:
            plain_logging(message)
            await asyncio.to_thread(plain_logging, message)

        sent = {}
        for function in (plain_logging, async_logging):
            sqs = OneQueue("a", "b", "c")
            sent.update({stored.message_id: stored.body for stored in sqs.messages})
            with registered(function):
                MemoryRun(sqs, concurrency=3).run.execute()  # in this thread, as in a consumer

        found = [line for line in written() if line["event"].startswith(("standard", "structured"))]
        assert len(found) == 2 * 3 + 2 * 2 * 3
        assert all((line["queue"], line["job_id"]) == ("orders", "job-1") for line in found)
        assert all(
            sent[line["message_id"]] == line.get("body", line["event"].removeprefix("standard ")) for line in found
        )
