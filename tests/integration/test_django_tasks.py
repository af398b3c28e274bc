"""The backend of Django's tasks on a real SQS and a real MongoDB: what may be enqueued, and what is known of it.

The tests of the backport's own suite (test_tasks.py, test_dummy_backend.py) that apply to a backend are here too.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest
from asgiref.sync import async_to_sync
from django_tasks import DEFAULT_TASK_QUEUE_NAME, TaskResultStatus, default_task_backend, task, task_backends
from django_tasks.base import Task
from django_tasks.exceptions import (
    InvalidTaskBackendError,
    InvalidTaskError,
    TaskResultDoesNotExist,
    TaskResultMismatch,
)
from django_tasks.signals import task_enqueued

from queues import repository, services, task_sending
from queues.django_tasks import SqsBackend
from queues.models import Queue
from queues.sending.destinations import directory
from queues.sqs import get_gateway
from queuesite.foundation.config import get_config
from queuesite.foundation.databases import database
from queuesite.foundation.errors import MongoUnavailable, NotFound
from queuesite.foundation.optional_mongodb import OptionalMongoDB
from tests.support import tasks_for_tests as tasks
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from pytest_django.fixtures import Settings

    from tests.conftest import Configure


BACKEND = "queues.django_tasks.SqsBackend"


@pytest.fixture(scope="module")
def default_queue(mongo_database: None) -> Iterator[Queue]:
    """The queue `default`, which `mongo` removes from MongoDB; it is in SQS for the whole module."""
    name = get_config().queue_name_prefix + "default"
    url = get_gateway().create_queue(name, {})
    yield Queue(name="default", queue_url=url)
    get_gateway().delete_queue(url)


@pytest.fixture(autouse=True)
def fresh(settings: Settings, mongo: None, default_queue: Queue) -> None:
    repository.insert(Queue(name="default", queue_url=default_queue.queue_url, handler="task"))
    settings.TASKS = {
        "default": {"BACKEND": BACKEND, "QUEUES": ["default", "queue_1", "ordered.fifo"]},
        "open": {"BACKEND": BACKEND, "QUEUES": []},
        "missing": {"BACKEND": "does.not.exist"},
    }


def sent(queue: Queue) -> dict[str, Any]:
    """The newest message, which is deleted. There may be older ones of other tests."""
    gateway = get_gateway()
    (message,) = eventually(lambda: gateway.receive(queue.queue_url, limit=1, wait=1), 20.0, "a message is there")
    gateway.delete(queue.queue_url, [message.receipt_handle])
    return cast("dict[str, Any]", json.loads(message.body))


@pytest.fixture
def empty(default_queue: Queue) -> Queue:
    gateway = get_gateway()
    while messages := gateway.receive(default_queue.queue_url, limit=10, wait=0):
        gateway.delete(default_queue.queue_url, [message.receipt_handle for message in messages])
    return default_queue


class TestEnqueue:
    def test_backend_is_ours(self) -> None:
        assert isinstance(task_backends["default"], SqsBackend)
        assert default_task_backend.alias == "default"
        assert default_task_backend.options == {}

    @pytest.mark.parametrize("enqueued", [tasks.noop_task, tasks.noop_task_async])
    def test_a_result_is_ready(self, enqueued: Task[Any, Any]) -> None:
        result = enqueued.enqueue(1, two=3)

        assert result.status == TaskResultStatus.READY
        assert not result.is_finished
        assert (result.started_at, result.last_attempted_at, result.finished_at) == (None, None, None)
        with pytest.raises(ValueError, match="Task has not finished yet"):
            result.return_value  # noqa: B018
        assert (result.task, result.args, result.kwargs, result.attempts) == (enqueued, [1], {"two": 3}, 0)
        assert result.errors == []

    def test_so_is_one_of_aenqueue(self) -> None:
        result = async_to_sync(tasks.noop_task_async.aenqueue)()

        assert (result.status, result.args, result.kwargs) == (TaskResultStatus.READY, [], {})

    def test_the_message_names_the_task(self, empty: Queue) -> None:
        result = tasks.noop_task.enqueue(1, "ü\x00", two=[3, None])

        body = sent(empty)
        assert datetime.fromisoformat(body.pop("enqueued_at")) == result.enqueued_at
        assert body == {
            "task": "tests.support.tasks_for_tests.noop_task",
            "args": [1, "ü\x00"],
            "kwargs": {"two": [3, None]},
            "id": result.id,
            "backend": "default",
        }

    def test_the_queue_is_woken(self) -> None:
        queue = services.create("queue_1", settings={"handler": "task"})
        tasks.noop_task.using(queue_name="queue_1").enqueue()

        eventually(lambda: repository.by_name(queue.name).wake_requested_at is not None, 20.0, "it is woken")

    @pytest.mark.parametrize("call", [lambda t, v: t.enqueue(v), lambda t, v: async_to_sync(t.aenqueue)(v)])
    def test_arguments_that_json_does_not_have(self, call: Any) -> None:
        with pytest.raises(TypeError, match=r"Unsupported type: <class 'datetime.datetime'>"):
            call(tasks.noop_task, datetime.now(UTC))

    def test_too_large(self) -> None:
        with pytest.raises(
            InvalidTaskError, match=r"noop_task with these arguments is a message of 1,048,\d\d\d bytes"
        ):
            tasks.noop_task.enqueue("x" * 1_048_400)

    def test_a_queue_that_does_not_exist(self) -> None:
        with pytest.raises(NotFound, match=r"there is no queue 'nowhere' to send to"):
            tasks.noop_task.using(backend="open", queue_name="nowhere").enqueue()

    def test_the_signal(self) -> None:
        seen: list[str] = []

        def note(task_result: Any, **_: Any) -> None:
            seen.append(task_result.id)

        task_enqueued.connect(note)
        try:
            result = tasks.noop_task.enqueue()
        finally:
            task_enqueued.disconnect(note)
        assert seen == [result.id]

    def test_it_is_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level("DEBUG", logger="django_tasks"):
            result = tasks.noop_task.enqueue()
        assert any("enqueued" in line and result.id in line for line in caplog.messages)


class TestRunAfter:
    def test_is_kept(self) -> None:
        now = datetime.now(UTC)

        assert tasks.noop_task.run_after is None
        assert tasks.noop_task.using(run_after=now).run_after == now
        assert tasks.noop_task.run_after is None

    @pytest.mark.parametrize(("ahead", "delay"), [(timedelta(seconds=-5), 0), (timedelta(seconds=899.5), 900)])
    def test_is_the_messages_delay(self, ahead: timedelta, delay: int, monkeypatch: pytest.MonkeyPatch) -> None:
        found: list[int | None] = []
        monkeypatch.setattr(task_sending, "deliver", lambda call, delay: found.append(delay))
        tasks.noop_task.using(run_after=datetime.now(UTC) + ahead).enqueue()

        assert found == [delay]

    def test_beyond_fifteen_minutes(self) -> None:
        later = tasks.noop_task.using(run_after=datetime.now(UTC) + timedelta(hours=1))
        with pytest.raises(InvalidTaskError, match=r"run_after of task .*noop_task is 3,[56]\d\d s from now, .* 900 s"):
            later.enqueue()

    def test_on_a_fifo_queue(self) -> None:
        with pytest.raises(InvalidTaskError, match=r"'ordered.fifo' is a FIFO queue"):
            tasks.noop_task.using(queue_name="ordered.fifo", run_after=datetime.now(UTC))

    def test_must_be_aware(self) -> None:
        with pytest.raises(InvalidTaskError, match="run_after must be an aware datetime"):
            tasks.noop_task.using(run_after=datetime.now())


class TestWhatMayBeDeclared:
    def test_priority(self) -> None:
        with pytest.raises(InvalidTaskError, match=r"does not support setting priority.*give that queue a priority"):
            tasks.noop_task.using(priority=1)
        assert tasks.noop_task.using(priority=0).priority == 0

    def test_queue_name(self, settings: Settings) -> None:
        assert tasks.noop_task.queue_name == DEFAULT_TASK_QUEUE_NAME
        other = tasks.noop_task.using(queue_name="queue_1")
        assert other.queue_name == "queue_1"
        with pytest.raises(InvalidTaskError, match="Queue 'queue-2' is not valid for backend"):
            tasks.noop_task.using(queue_name="queue-2")
        assert tasks.noop_task.using(queue_name="queue-2", backend="open").queue_name == "queue-2"
        settings.TASKS = {"default": {"BACKEND": BACKEND, "QUEUES": ["another"]}}
        with pytest.raises(InvalidTaskError, match="Queue 'queue_1' is not valid for backend"):
            other.enqueue()
        with pytest.raises(InvalidTaskError, match="Queue 'queue_1' is not valid for backend"):
            async_to_sync(other.aenqueue)()

    def test_backend(self) -> None:
        with pytest.raises(InvalidTaskBackendError, match=r"The connection 'unknown' doesn't exist."):
            tasks.noop_task.using(backend="unknown")
        with pytest.raises(InvalidTaskBackendError, match=r"Could not find backend 'does.not.exist'"):
            tasks.noop_task.using(backend="missing")

    def test_no_backends(self, settings: Settings) -> None:
        settings.TASKS = {}
        with pytest.raises(InvalidTaskBackendError):
            tasks.noop_task.enqueue()

    def test_unknown_options(self, settings: Settings) -> None:
        settings.TASKS = {"default": {"BACKEND": BACKEND, "OPTIONS": {"queue": "x"}}}
        with pytest.raises(InvalidTaskBackendError, match=r"TASKS\['default'\]: OPTIONS has 'queue'"):
            task_backends["default"]

    def test_using(self) -> None:
        assert tasks.noop_task.using() == tasks.noop_task
        assert tasks.noop_task.using() is not tasks.noop_task

    def test_functions(self) -> None:
        def local() -> None: ...

        for function in (any, local, self.test_functions):
            with pytest.raises(InvalidTaskError, match="must be defined at a module level"):
                task()(cast(Any, function))
        with pytest.raises(InvalidTaskError, match="does not have a first argument of 'context'"):
            task(takes_context=True)(cast(Any, tasks.calculate_meaning_of_life.func))

    def test_check(self, settings: Settings) -> None:
        assert list(default_task_backend.check()) == []
        settings.TASKS = {"default": {"BACKEND": BACKEND, "QUEUES": ["no spaces"]}}
        (error,) = default_task_backend.check()
        assert "TASKS['default']: queue name 'no spaces' is not valid" in error.msg

    def test_call(self) -> None:
        assert tasks.calculate_meaning_of_life.call() == 42
        later: Task[Any, Any] = tasks.calculate_meaning_of_life_async
        assert (later.call(), asyncio.run(later.acall())) == (42, 42)


class TestResults:
    def test_is_found(self) -> None:
        result = tasks.noop_task.enqueue(1, two=3)

        assert same(default_task_backend.get_result(result.id), result)
        assert same(tasks.noop_task.get_result(result.id), result)
        assert same(async_to_sync(tasks.noop_task.aget_result)(result.id), result)

    def test_refresh(self) -> None:
        result = tasks.noop_task.enqueue()
        before = dataclasses.asdict(result)
        result.refresh()
        async_to_sync(result.arefresh)()

        assert dataclasses.asdict(result) == before | {"enqueued_at": result.enqueued_at}

    def test_a_missing_one(self) -> None:
        for get in (tasks.noop_task.get_result, async_to_sync(tasks.noop_task.aget_result)):
            with pytest.raises(TaskResultDoesNotExist, match="123: there is no such result; they are kept 5 days"):
                get("123")

    def test_one_of_another_task(self) -> None:
        result = tasks.noop_task_async.enqueue()
        with pytest.raises(TaskResultMismatch, match="Task does not match"):
            tasks.noop_task.get_result(result.id)

    def test_one_of_a_task_that_is_not_declared_here(self) -> None:
        result = tasks.noop_task.enqueue()
        database()["taskResults"].update_one({"_id": result.id}, {"$set": {"task": "shop.tasks.noop_task"}})
        with pytest.raises(TaskResultDoesNotExist, match=r"task 'shop.tasks.noop_task' is not declared here"):
            default_task_backend.get_result(result.id)

    def test_they_expire(self) -> None:
        index = database()["taskResults"].index_information()["updatedAt_ttl"]
        assert index["expireAfterSeconds"] == 5 * 86_400

    def test_without_mongodb_it_is_sent_all_the_same(self, empty: Queue, configure: Configure) -> None:
        configure(mongodb_uri=None)
        result = tasks.noop_task.enqueue()
        assert sent(empty)["id"] == result.id
        with pytest.raises(MongoUnavailable, match="MONGODB_URI is not set"):
            result.refresh()

    def test_a_task_reads_no_results(self, monkeypatch: pytest.MonkeyPatch) -> None:
        result = tasks.noop_task.enqueue()
        monkeypatch.setattr(directory.mongodb, "allowed", False)
        with pytest.raises(MongoUnavailable, match="consumers do not use MongoDB"):
            result.refresh()

    def test_so_it_is_while_mongodb_is_away(self, empty: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(directory, "mongodb", OptionalMongoDB())
        monkeypatch.setattr(directory.mongodb, "_avoid_until", float("inf"))
        result = tasks.noop_task.enqueue()
        assert sent(empty)["id"] == result.id
        with pytest.raises(MongoUnavailable, match="did not answer"):
            result.refresh()


def same(one: Any, other: Any) -> bool:
    """Whether two results agree, except in what MongoDB does not store: microseconds."""

    def plain(result: Any) -> dict[str, Any]:
        facts = {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
        return facts | {"enqueued_at": result.enqueued_at.replace(microsecond=0)}

    return plain(one) == plain(other)
