"""A message's turn: whatever is raised anywhere in it becomes an outcome, in threads and on the event loop."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from jobs.consumer import connections, handler_loop, meter, recorder, time_limits
from jobs.consumer.turn import HandlerSpec, Pipeline, Stage, Turn
from jobs.models import EndReason
from queues.handlers import Message, Reject, Retry
from queues.handlers.registry import Handler
from queuesite.foundation.errors import InvalidInput
from tests.support.memory_sqs import MemoryRun, OneQueue, handle_all, registered
from tests.support.messages import held
from tests.support.waiting import eventually

LONG = 45.0


class Later(Retry):
    """A subclass that forgets its base's constructor."""

    def __init__(self, text: str = "") -> None:
        self.text = text


class Never(Reject):
    def __init__(self) -> None:
        pass


class Unsettled(Retry):
    @property
    def delay(self) -> float:
        raise SystemExit("from a property")

    @delay.setter
    def delay(self, value: object) -> None:
        pass


def wanting(delay: object) -> Retry:
    answer = Retry("later")
    answer.delay = delay  # type: ignore[assignment]
    return answer


class Fatal(BaseException):
    def __str__(self) -> str:
        raise SystemExit("no text")


async def coroutine() -> None:
    pass


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> Any:
    yield 1


def in_thread(behave: Callable[[Message], Any]) -> Any:
    return lambda message: behave(message)


def on_loop(behave: Callable[[Message], Any]) -> Any:
    async def handle(message: Message) -> Any:
        return behave(message)

    return handle


def awaited(behave: Callable[[Message], Any]) -> Any:
    """A function that does not look like one that is async."""
    slow = on_loop(behave)
    return lambda message: slow(message)


forms = pytest.mark.parametrize("form", [in_thread, on_loop, awaited])
Form = Callable[[Callable[[Message], Any]], Any]


def raising(error: Any) -> Callable[[Message], Any]:
    def behave(message: Message) -> Any:
        raise error

    return behave


def returning(make: Callable[[], Any]) -> Callable[[Message], Any]:
    return lambda message: make()


ODD = [
    pytest.param(raising(Later()), id="raises a retry without its base's constructor"),
    pytest.param(returning(Later), id="returns one"),
    pytest.param(raising(Unsettled()), id="raises a retry whose delay ends the program"),
    pytest.param(raising(wanting("soon")), id="a delay that is not a number"),
    pytest.param(raising(wanting(float("nan"))), id="a delay that is not a number"),
    pytest.param(raising(wanting(-1)), id="a delay in the past"),
    pytest.param(raising(wanting(10**9)), id="a delay beyond the limit"),
    pytest.param(raising(Fatal()), id="raises what has no text"),
    pytest.param(raising(Never()), id="raises a rejection without its base's constructor"),
    pytest.param(returning(lambda: Retry), id="returns the class Retry"),
    pytest.param(returning(lambda: Later), id="returns a subclass of it"),
    pytest.param(returning(lambda: Reject), id="returns the class Reject"),
    pytest.param(raising(Retry), id="raises the class Retry"),
    pytest.param(returning(generator), id="returns a generator"),
    pytest.param(returning(async_generator), id="returns an async generator"),
    pytest.param(returning(lambda: Future()), id="returns a future"),
    pytest.param(returning(lambda: map(print, ())), id="returns a map"),
]


class TestOddAnswers:
    @forms
    @pytest.mark.parametrize("behave", ODD)
    def test_it_is_a_failed_attempt_and_the_slot_goes_on(self, form: Form, behave: Callable[[Message], Any]) -> None:
        sqs = OneQueue("odd-1", "odd-2", "odd-3", "plain")
        handler = form(lambda message: behave(message) if message.body.startswith("odd") else None)
        report = handle_all(handler, sqs, concurrency=1)
        assert (report.reason, report.processed, report.failed + report.retried) == (EndReason.DRAINED, 1, 3)
        assert sqs.deleted == ["plain"]
        assert sorted(body for body, _ in sqs.changes) == ["odd-1", "odd-2", "odd-3"]
        assert all(1 <= delay <= 43_200 for _, delay in sqs.changes)

    @forms
    def test_an_awaitable_of_an_awaitable_is_no_success(self, form: Form) -> None:
        sqs = OneQueue("m")
        nested = form(lambda message: on_loop(lambda message: coroutine())(message))
        report = handle_all(nested, sqs)
        assert (report.processed, report.failed) == (0, 1)
        assert "Unfinished: the handler returned 'coroutine'" in (report.last_error or "")

    @forms
    @pytest.mark.parametrize("value", [0, False, "text", b"", [], {"ok": False}, ValueError("a value"), dict, range(3)])
    def test_any_other_value_is_a_success(self, form: Form, value: object) -> None:
        sqs = OneQueue("m")
        assert handle_all(form(lambda message: value), sqs).processed == 1
        assert sqs.deleted == ["m"]

    @pytest.mark.parametrize("function", [generator, async_generator])
    def test_a_generator_that_registration_could_not_see_is_no_success(self, function: Any) -> None:
        @functools.wraps(function)
        def handle(message: Message) -> Any:
            return function()

        sqs = OneQueue("m")
        report = handle_all(handle, sqs)
        assert (report.processed, report.failed, sqs.deleted) == (0, 1, [])

    def test_a_partial_and_an_object_that_fail_are_recorded(self) -> None:
        class Failing:
            def __call__(self, message: Message) -> None:
                raise ValueError("no")

        for function in (functools.partial(Failing()), Failing()):
            with registered(function):
                running = MemoryRun(OneQueue("m")).start()
                assert running.report().failed == 1
                (failure,) = running.run.recorder.take()
                assert failure.exception_type == "ValueError"


class TestFaultsOfOurOwn:
    """An error in a part of the pipeline, at each message: the message is settled, the run ends by itself."""

    @forms
    @pytest.mark.parametrize(
        "patched",
        [
            (recorder.Recorder, "raised"),
            (recorder.Recorder, "after"),
            (meter.Meter, "handled"),
            (connections, "close_old_connections"),
            (connections, "reset_queries"),
            (time_limits.TimeLimits, "after"),
        ],
    )
    @pytest.mark.parametrize("error", [RuntimeError, SystemExit])
    def test_after_the_handler_the_outcome_stands(
        self, form: Form, patched: tuple[Any, str], error: type[BaseException], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*args: object, **kwargs: object) -> None:
            raise error("a bug")

        monkeypatch.setattr(*patched, fail)
        sqs = OneQueue("good", "bad", "better")

        def behave(message: Message) -> None:
            if message.body == "bad":
                raise ValueError("no")

        report = handle_all(form(behave), sqs, concurrency=1, timeout=30)
        assert (report.reason, report.processed, report.failed) == (EndReason.DRAINED, 2, 1)
        assert sorted(sqs.deleted) == ["better", "good"]

    @forms
    @pytest.mark.parametrize(
        "patched", ["jobs.consumer.turn.Message.received", "jobs.consumer.time_limits.TimeLimits.before"]
    )
    @pytest.mark.parametrize("error", [RuntimeError, SystemExit])
    def test_before_the_handler_the_attempt_fails(
        self, form: Form, patched: str, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*args: object, **kwargs: object) -> None:
            raise error("a bug")

        monkeypatch.setattr(patched, fail)
        called: list[Message] = []
        sqs = OneQueue("a", "b", "c")
        report = handle_all(form(called.append), sqs, concurrency=1)
        assert (report.reason, report.processed, report.failed) == (EndReason.DRAINED, 0, 3)
        assert (called, sqs.deleted) == ([], [])

    @forms
    @pytest.mark.parametrize("error", [RuntimeError, SystemExit])
    def test_settling_that_fails_counts_and_frees_the_slot(
        self, form: Form, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*args: object, **kwargs: object) -> None:
            raise error("a bug")

        monkeypatch.setattr("jobs.consumer.acknowledger.Acknowledger.delete", fail)
        report = handle_all(form(lambda message: None), OneQueue("a", "b", "c"), concurrency=1)
        assert (report.reason, report.processed, report.failed) == (EndReason.DRAINED, 0, 3)
        assert "could not be carried out" in (report.last_error or "")

    def test_on_a_fifo_queue_none_goes_before_one_whose_settling_failed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*args: object, **kwargs: object) -> None:
            raise RuntimeError("a bug")

        monkeypatch.setattr("jobs.consumer.acknowledger.Acknowledger.delete", fail)
        started: list[str] = []
        sqs = OneQueue("1", "2", "3", group="g")
        # SQS gives out none of a group while one of it is in flight; here what comes back is not given out again.
        monkeypatch.setattr(sqs, "change_visibility", lambda url, changes: ())
        handle_all(lambda message: started.append(message.body), sqs)
        assert started == ["1"]


class TestTasks:
    def test_a_handler_that_cancels_every_task_fails_them_and_loses_none(self) -> None:
        async def handle(message: Message) -> None:
            if message.body == "cancel":
                for task in asyncio.all_tasks():
                    task.cancel()
            await asyncio.sleep(LONG if message.body == "other" else 0)

        sqs = OneQueue("other", "cancel", "third", "fourth")
        report = handle_all(handle, sqs, concurrency=4)
        assert report.reason is EndReason.DRAINED
        assert report.processed + report.failed == 4
        assert {"other", "cancel"} <= {body for body, _ in sqs.changes}

    @pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
    def test_a_task_left_behind_that_would_end_the_program_ends_nothing(self, error: type[BaseException]) -> None:
        done = threading.Event()
        left: list[asyncio.Future[None]] = []

        async def fatal() -> None:
            done.set()
            raise error

        async def handle(message: Message) -> None:
            if message.body == "fatal":
                left.append(asyncio.ensure_future(fatal()))

        with capture_logs():
            assert handle_all(handle, OneQueue("fatal"), concurrency=1).processed == 1
            assert done.wait(LONG)
            assert handle_all(handle, OneQueue("a", "b"), concurrency=1).processed == 2
        assert isinstance(left.pop().exception(), error)
        assert handler_loop.get_handler_loop().alive

    def test_one_loop_serves_all_runs_of_the_process(self) -> None:
        loops: list[asyncio.AbstractEventLoop] = []

        class Client:
            """As of a library: it belongs to the loop it was made in."""

            lock: asyncio.Queue[int] | None = None

        async def handle(message: Message) -> None:
            loops.append(asyncio.get_running_loop())
            if Client.lock is None:
                Client.lock = asyncio.Queue()
                task = asyncio.ensure_future(Client.lock.get())  # binds the queue to this loop
                await asyncio.sleep(0)
                task.cancel()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(Client.lock.get(), 0.01)

        for _ in range(2):
            assert handle_all(handle, OneQueue("m")).processed == 1
        assert loops[0] is loops[1]

    def test_a_runs_end_leaves_none_of_its_tasks_in_the_loop(self) -> None:
        cancelled = threading.Event()

        async def handle(message: Message) -> None:
            try:
                await asyncio.sleep(LONG)
            except asyncio.CancelledError:
                cancelled.set()
                raise

        with registered(handle):
            running = MemoryRun(OneQueue("m")).start()
            eventually(lambda: running.run.live()["inFlight"], LONG, "it is being handled")
            running.run.ending.thread_died(RuntimeError("a bug"))
            report = running.report()
        assert cancelled.wait(LONG)
        assert (report.reason, report.tainted) == (EndReason.ERROR, True)
        loop = handler_loop.get_handler_loop().running()
        eventually(lambda: not asyncio.all_tasks(loop), LONG, "no task is left")

    def test_its_log_events_name_the_run_that_they_are_of(self) -> None:
        import structlog

        seen: list[object] = []

        async def handle(message: Message) -> None:
            seen.append(structlog.contextvars.get_contextvars().get("job_id"))

        for job_id in ("job-1", "job-2"):
            with structlog.contextvars.bound_contextvars(job_id=job_id):
                assert handle_all(handle, OneQueue("m")).processed == 1
        assert seen == ["job-1", "job-2"]


class TestThreadsThatDie:
    """A part of the run dies of an error that nobody foresaw: the run ends as an error, and its process is replaced."""

    @pytest.mark.parametrize(
        "patched",
        [
            "jobs.consumer.receiver.Receiver.turn",
            "jobs.consumer.receiver.Receiver._assist",
            "jobs.consumer.visibility.VisibilityKeeper._run",
            "jobs.consumer.acknowledger.Acknowledger._run",
            "jobs.consumer.thread_slots.ThreadSlots._handle",
            "jobs.consumer.buffer.Buffer.take",
            "jobs.consumer.time_limits.TimeLimits._watch",
        ],
    )
    def test_the_run_says_so(self, patched: str, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*args: object, **kwargs: object) -> None:
            raise RuntimeError("a bug")

        monkeypatch.setattr("jobs.consumer.run.SETTLE_SECONDS", 0.1)
        monkeypatch.setattr(patched, fail)
        over = threading.Event()
        with registered(lambda message: over.wait(0.5)):
            report = MemoryRun(OneQueue("a", "b", "c"), timeout=30).start().report()
        over.set()
        assert (report.reason, report.tainted) == (EndReason.ERROR, True)
        assert report.last_error == "a thread of the consumer died: RuntimeError: a bug"

    def test_the_take_of_the_loop_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*args: object, **kwargs: object) -> None:
            raise RuntimeError("a bug")

        async def handle(message: Message) -> None:
            pass

        monkeypatch.setattr("jobs.consumer.buffer.Buffer.take_at_once", fail)
        report = handle_all(handle, OneQueue("a"))
        assert (report.reason, report.tainted) == (EndReason.ERROR, True)


class TestSettingsThatCannotWork:
    @pytest.mark.parametrize(
        ("setting", "value"),
        [
            ("concurrency", 0),
            ("concurrency", -1),
            ("concurrency", 10**9),
            ("concurrency", "5"),
            ("concurrency", True),
            ("concurrency", None),
            ("visibility_timeout", 0),
            ("visibility_timeout", None),
            ("max_receive_count", 0),
            ("timeout", 0),
            ("timeout", "1"),
            ("timeout", float("nan")),
        ],
    )
    def test_no_message_is_received(self, setting: str, value: object) -> None:
        sqs, changes = OneQueue("a", "b"), cast(Any, {setting: value})
        sent = sqs.requests
        refused = pytest.raises(InvalidInput, match=f"queue 'orders' has {setting.replace('_', ' ')} .*: expected")
        with registered(lambda message: None), refused:
            MemoryRun(sqs, **changes)
        assert sqs.requests == sent


class Noting(Stage):
    def __init__(self) -> None:
        self.seen: list[object] = []

    def before(self, turn: Turn) -> None:
        self.seen.append("before")

    def after(self, turn: Turn) -> None:
        self.seen.append(type(turn.outcome).__name__)


class TestPipeline:
    def test_a_stage_surrounds_the_handler(self) -> None:
        stage = Noting()
        settled: list[object] = []
        freed: list[object] = []
        pipeline = Pipeline([stage, Stage()], lambda held, outcome: settled.append(outcome), freed.append)
        message = held()
        turn = pipeline.begin(message, HandlerSpec("orders", Handler("h", lambda message: None), None))
        assert turn.message is not None
        turn.error = ValueError("no")
        assert pipeline.end(turn)
        pipeline.settle(turn)
        assert stage.seen == ["before", "TryAgain"]
        assert (settled, freed) == ([turn.outcome], [message])

    def test_one_that_was_given_up_is_not_settled_again(self) -> None:
        first, second = Noting(), Noting()
        first.after = lambda turn: setattr(turn, "given_up", True)  # type: ignore[method-assign]
        pipeline = Pipeline([first, second], lambda held, outcome: None, lambda held: None)
        assert not pipeline.end(pipeline.begin(held(), HandlerSpec("orders", Handler("h", lambda message: None), None)))
        assert second.seen == ["before"]
