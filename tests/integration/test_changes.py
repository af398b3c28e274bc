"""Change streams, and the wakeup that wakes a loop."""

from __future__ import annotations

import select
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from queues import repository
from queues.models import Queue
from queuesite.foundation import changes
from queuesite.foundation.changes import ChangeWatcher, WakeupPipe
from queuesite.foundation.config import get_config
from queuesite.foundation.databases import collection, database
from queuesite.local import embedded
from tests.support.servers import discard, free_port
from tests.support.waiting import eventually


class Watched:
    """A watcher, and what it told."""

    def __init__(self, pipeline: list[dict[str, Any]]) -> None:
        self.changes: list[dict[str, Any]] = []
        self.opened = 0
        self.watcher = ChangeWatcher(pipeline, self.changes.append, self.open)

    def open(self) -> None:
        self.opened += 1

    def names(self) -> list[str]:
        return [change["fullDocument"]["name"] for change in self.changes]


@pytest.fixture
def watched() -> Iterator[Watched]:
    found = Watched([{"$match": {"ns.coll": "queues", "operationType": "insert"}}])
    yield found
    found.watcher.stop()


def insert(name: str) -> Queue:
    return repository.insert(Queue(name=name, queue_url=name))


@pytest.mark.usefixtures("mongo")
class TestWatcher:
    def test_matching_changes_are_told_in_order(self, watched: Watched) -> None:
        watched.watcher.start()
        eventually(lambda: watched.watcher.live and watched.opened, 30, "the stream is open")

        for name in ("a", "b", "c"):
            insert(name)
        collection(Queue).update_many({}, {"$set": {"paused": True}})
        insert("d")

        eventually(lambda: len(watched.changes) >= 4, 30, "four changes were told")
        assert watched.names() == ["a", "b", "c", "d"]
        assert watched.opened == 1

    def test_stopped_watcher_ends(self, watched: Watched) -> None:
        watched.watcher.start()
        eventually(lambda: watched.watcher.live, 30, "the stream is open")

        watched.watcher.stop()
        insert("wakes it")

        eventually(lambda: not watched.watcher.live, 30, "the watcher has ended")
        assert watched.watcher.join(30)

    def test_server_without_change_streams_is_polled(self, watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
        """A standalone MongoDB, which the embedded server does not imitate."""

        class Standalone:
            def watch(self, *_: Any, **__: Any) -> None:
                raise OperationFailure("The $changeStream stage is only supported on replica sets", 40573)

        monkeypatch.setattr(changes, "database", Standalone)
        watched.watcher.start()

        assert watched.watcher.join(30)

        assert not watched.watcher.live
        assert watched.opened == 0

    def test_other_refusals_are_tried_again(self, watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
        attempts: list[int] = []

        class Refusing:
            def watch(self, *args: Any, **options: Any) -> Any:
                attempts.append(1)
                if len(attempts) == 1:
                    raise OperationFailure("resume token was not found", 260)
                return database().watch(*args, **options)

        monkeypatch.setattr(changes, "database", Refusing)
        watched.watcher.start()

        eventually(lambda: watched.watcher.live, 30, "the stream is open")
        assert len(attempts) == 2


def test_stream_that_broke_opens_anew(watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is killed and started again: polling is due meanwhile, and a look at everything afterwards."""
    port = free_port()
    directory = tmp_path / "mongodb"
    server = embedded.start("mongodb", get_config(), directory=directory, port=port)
    server.wait_ready()
    client: MongoClient[dict[str, Any]] = MongoClient(server.address, serverSelectionTimeoutMS=500)
    monkeypatch.setattr(changes, "database", lambda: client["test"])
    try:
        watched.watcher.start()
        eventually(lambda: watched.opened == 1, 30, "the stream is open")

        discard(server)
        eventually(lambda: not watched.watcher.live, 20, "the stream is known to be broken")

        server = embedded.start("mongodb", get_config(), directory=directory, port=port)
        server.wait_ready()
        eventually(lambda: watched.opened == 2 and watched.watcher.live, 20, "the stream is open again")
        client["test"]["queues"].insert_one({"_id": ObjectId(), "name": "after"})
        eventually(lambda: watched.names() == ["after"], 30, "changes are told again")
    finally:
        watched.watcher.stop()
        discard(server)
        assert watched.watcher.join(30)
        client.close()


def readable(wakeup: WakeupPipe, seconds: float) -> bool:
    return bool(select.select([wakeup], [], [], seconds)[0])


@pytest.fixture
def wakeup() -> Iterator[WakeupPipe]:
    found = WakeupPipe()
    yield found
    found.close()


class TestBell:
    def test_wake_ends_the_wait_and_clear_rearms(self, wakeup: WakeupPipe) -> None:
        assert not readable(wakeup, 0)

        wakeup.wake()

        assert readable(wakeup, 0)
        wakeup.clear()
        assert not readable(wakeup, 0)
        wakeup.wake()
        assert readable(wakeup, 0)

    def test_wake_up_from_another_thread_ends_the_wait(self, wakeup: WakeupPipe) -> None:
        thread = threading.Thread(target=wakeup.wake)
        thread.start()

        assert readable(wakeup, 10)
        thread.join()

    def test_any_number_of_wake_ups_is_one(self, wakeup: WakeupPipe) -> None:
        for _ in range(100_000):
            wakeup.wake()

        wakeup.clear()

        assert not readable(wakeup, 0)

    def test_clear_without_a_wake_up(self, wakeup: WakeupPipe) -> None:
        wakeup.clear()

        assert not readable(wakeup, 0)

    def test_signal_wakes(self, wakeup: WakeupPipe) -> None:
        handler = signal.signal(signal.SIGUSR1, lambda *_: None)
        previous = signal.set_wakeup_fd(wakeup.signal_fd)
        try:
            signal.raise_signal(signal.SIGUSR1)
            assert readable(wakeup, 10)
        finally:
            signal.set_wakeup_fd(previous)
            signal.signal(signal.SIGUSR1, handler)
