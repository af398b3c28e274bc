"""Reads and writes of the `queues` collection."""

from __future__ import annotations

from datetime import timedelta

import pytest
from bson import ObjectId

from queues import repository
from queues.models import Queue
from queues.sqs import Depth
from queuesite.foundation.databases import collection, database_clock
from queuesite.foundation.errors import Conflict, NotFound
from tests.support import records

pytestmark = pytest.mark.usefixtures("mongo")


def insert(name: str) -> Queue:
    return repository.insert(Queue(name=name, queue_url=f"http://sqs/{name}"))


def test_inserted_queue_comes_back_as_it_was() -> None:
    queue = Queue(name="orders", queue_url="u", handler_options={"a": {"b": [1, "é"]}}, dlq_url="d", concurrency=3)

    repository.insert(queue)

    found = repository.by_name("orders")
    for field in Queue._meta.concrete_fields:
        expected = getattr(queue, field.attname)
        actual = getattr(found, field.attname)
        if field.attname in {"created_at", "updated_at", "synced_at"}:
            assert abs(actual - expected) < timedelta(milliseconds=1)  # MongoDB keeps milliseconds
        else:
            assert actual == expected, field.attname


@pytest.mark.parametrize(
    ("same", "words"), [("name", "exists already"), ("queue_url", "is queue 'orders' here already")]
)
def test_name_and_url_are_unique(same: str, words: str) -> None:
    insert("orders")
    values = {"name": "other", "queue_url": "http://sqs/other"}
    values[same] = {"name": "orders", "queue_url": "http://sqs/orders"}[same]

    with pytest.raises(Conflict, match=words):
        repository.insert(Queue(**values))

    assert collection(Queue).count_documents({}) == 1


def test_unknown_name() -> None:
    with pytest.raises(NotFound, match=r"no queue 'nothing'; `manage.py sqs list` shows"):
        repository.by_name("nothing")


def test_exists() -> None:
    insert("orders")

    assert repository.exists("orders")
    assert not repository.exists("Orders")


def test_by_ids_leaves_out_what_is_gone() -> None:
    a, _b, c = insert("a"), insert("b"), insert("c")

    assert {queue.name for queue in repository.by_ids([a.id, c.id, ObjectId()])} == {"a", "c"}


def test_update_touches_the_named_fields_alone() -> None:
    queue = insert("orders")
    other = insert("other")
    before = collection(Queue).find_one({"_id": queue.id})
    assert before is not None

    repository.update(queue.id, {"max_consumers": 3, "paused": True})

    after = collection(Queue).find_one({"_id": queue.id})
    assert after is not None
    assert after.pop("updatedAt") >= before.pop("updatedAt")
    assert after == {**before, "maxConsumers": 3, "paused": True}
    assert repository.by_name("other").paused is other.paused is False


def test_update_of_a_queue_that_is_gone() -> None:
    with pytest.raises(NotFound):
        repository.update(ObjectId(), {"paused": True})


def test_delete_tells_whether_it_was_there() -> None:
    queue = insert("orders")

    assert repository.delete(queue.id)
    assert not repository.delete(queue.id)


class TestWakeUps:
    def test_wake_is_pending_until_somebody_looks(self) -> None:
        queue = insert("orders")

        assert repository.wake(queue.id)

        assert repository.by_name("orders").wake_pending

    def test_waking_what_is_not_there(self) -> None:
        assert not repository.wake(ObjectId())

    def test_look_satisfies_the_wake_ups_before_it(self) -> None:
        queue = insert("orders")
        repository.wake(queue.id)
        woken = repository.by_name("orders").wake_requested_at
        assert woken is not None

        repository.served(queue.id, woken)

        assert not repository.by_name("orders").wake_pending

    def test_wake_up_after_the_look_is_pending(self) -> None:
        queue = insert("orders")
        repository.wake(queue.id)
        woken = repository.by_name("orders").wake_requested_at
        assert woken is not None

        repository.served(queue.id, woken - timedelta(milliseconds=1))

        assert repository.by_name("orders").wake_pending

    def test_late_report_of_an_earlier_look_changes_nothing(self) -> None:
        queue = insert("orders")
        late = database_clock.now().replace(microsecond=0)
        repository.served(queue.id, late)

        repository.served(queue.id, late - timedelta(seconds=5))

        assert repository.by_name("orders").served_until == late

    def test_queue_never_woken_is_not_pending(self) -> None:
        insert("orders")

        assert not repository.by_name("orders").wake_pending

    def test_run_without_a_crash_ends_the_series(self) -> None:
        queue = insert("orders")
        later = database_clock.now().replace(microsecond=0) + timedelta(minutes=1)

        repository.failed(queue.id, 3, later)

        after = repository.by_name("orders")
        assert (after.crash_count, after.not_before) == (3, later)
        assert after.wake_pending
        repository.served(queue.id, later)
        assert repository.by_name("orders").crash_count == 0


def test_changed_queues_are_those_with_new_settings_or_wake_ups() -> None:
    old, changed, woken = insert("old"), insert("changed"), insert("woken")
    past = database_clock.now() - timedelta(hours=1)
    collection(Queue).update_many({}, {"$set": {"updatedAt": past, "wakeRequestedAt": past}})
    moment = past + timedelta(minutes=1)

    repository.update(changed.id, {"priority": 1})
    repository.wake(woken.id)

    assert {queue.name for queue in repository.changed_since(moment)} == {"changed", "woken"}
    assert {queue.name for queue in repository.changed_since(past - timedelta(minutes=1))} >= {old.name}


def test_observed_depths_are_kept_with_their_time() -> None:
    a, b, c = insert("a"), insert("b"), insert("c")

    repository.observed({a.id: Depth(1, 2, 3), b.id: Depth(0, 0, 0), ObjectId(): Depth(9, 9, 9)})

    assert repository.by_name("a").depth == Depth(1, 2, 3)
    assert repository.by_name("a").depth_observed_at is not None
    assert repository.by_name("b").depth_observed_at is not None
    assert repository.by_name("c").depth_observed_at is None
    assert collection(Queue).count_documents({}) == 3
    assert c.depth == Depth(0, 0, 0)


def test_observing_nothing_writes_nothing() -> None:
    repository.observed({})


def test_looks_are_dated_in_one_write() -> None:
    a, b, c = (records.aged(insert(name)) for name in "abc")

    repository.looked_at([a.id, b.id])
    repository.looked_at([])

    for before, later in ((a, True), (b, True), (c, False)):
        after = repository.by_name(before.name).synced_at
        assert after is not None
        assert before.synced_at is not None
        assert (after > before.synced_at) is later
