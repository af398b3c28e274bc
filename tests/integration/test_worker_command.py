"""`manage.py worker`: list and drain."""

from __future__ import annotations

import io
import json
import threading

import pytest
from bson import ObjectId
from django.core.management import CommandError, call_command

from jobs.management.commands import worker as command
from jobs.repositories import workers
from tests.support.records import register
from tests.support.waiting import eventually

pytestmark = pytest.mark.usefixtures("mongo")


def worker(*args: str) -> str:
    out = io.StringIO()
    call_command("worker", *args, stdout=out)
    return out.getvalue()


def busy(worker_id: str) -> None:
    register(worker_id)
    entry = {"queueName": "orders", "jobId": ObjectId(), "pid": "9", "processed": 3, "inFlight": 2}
    workers.heartbeat(worker_id, [entry])


def test_without_a_worker_it_says_how_to_start_one() -> None:
    assert worker("list") == "there are no workers; start one with `manage.py runworker`\n"


def test_the_list_shows_load_state_and_queues() -> None:
    busy("w1")
    register("w2", pool="gpu", has={"log": "1"})
    workers.drain("w2")
    lines = worker("list").splitlines()
    assert lines[0].split() == ["id", "host", "pid", "pool", "version", "load", "state", "heartbeat", "queues"]
    first, second = sorted(lines[1:])
    assert first.split()[:5] == ["w1", "host-1", "4711", "1/5", "alive"]
    assert first.rstrip().endswith("orders")
    assert second.split()[3:7] == ["gpu", "1", "0/5", "draining"]


def test_what_only_finishes_is_no_load() -> None:
    register("w1")
    entry = {"queueName": "orders", "jobId": ObjectId(), "pid": "9", "inFlight": 2, "finishing": True}
    workers.heartbeat("w1", [entry])
    assert "0/5" in worker("list").splitlines()[1].split()


def test_a_capacity_is_asked_for() -> None:
    register("w1", has={"log": "1"})
    register("old")
    assert worker("set-capacity", "w1", "7") == "worker w1 was asked for a capacity of 7\n"
    assert worker("set-capacity", "w1", "7") == "worker w1 was asked for a capacity of 7, as before\n"
    (found,) = (one for one in json.loads(worker("list", "--json")) if one["id"] == "w1")
    assert (found["wantedCapacity"], found["capacityLimit"]) == (7, 10)
    for name, number, why in (
        ("w1", "11", "capacity 11: expected 1 to 10, which is the worker's MAX_LOAD_LIMIT"),
        ("old", "7", "runs an earlier release"),
        ("nobody", "7", "there is no worker 'nobody'"),
    ):
        with pytest.raises(CommandError, match=why) as refused:
            worker("set-capacity", name, number)
        assert refused.value.returncode == 2


def test_the_list_for_programs() -> None:
    busy("w1")
    (found,) = json.loads(worker("list", "--json"))
    assert (found["id"], found["capacity"], found["state"], found["draining"]) == ("w1", 5, "alive", False)
    assert found["consumers"][0]["processed"] == 3
    assert 0 <= found["heartbeatAge"] < 60
    assert found["heartbeatAt"].endswith("Z")


def test_drain_asks_once() -> None:
    register("w1")
    assert worker("drain", "w1") == "worker w1 is draining\n"
    assert workers.all_workers()[0].draining
    assert worker("drain", "w1") == "worker w1 is draining already\n"


def test_drain_may_wait_and_shows_what_it_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    busy("w1")
    monkeypatch.setattr(command, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(command, "QUIET_SECONDS", 0.02)
    out = io.StringIO()
    thread = threading.Thread(target=lambda: call_command("worker", "drain", "w1", "--wait", stdout=out), daemon=True)
    thread.start()
    eventually(lambda: "waiting: 1 consumers, 2 messages in flight" in out.getvalue(), 30, "it says what is left")
    workers.unregister("w1")
    thread.join(45)
    assert out.getvalue().endswith("worker w1 has left\n")


def test_drain_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    register("w1")
    monkeypatch.setattr(command, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(command, "MARGIN_SECONDS", -25.0)
    with pytest.raises(CommandError, match="worker w1 has not left within 0 s") as caught:
        worker("drain", "w1", "--wait")
    assert caught.value.returncode == 1


@pytest.mark.parametrize("args", [(), ("drain",), ("stop", "w1"), ("list", "w1")])
def test_wrong_use(args: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as caught:
        worker(*args)
    assert caught.value.code == 2


def test_a_worker_that_is_not_there() -> None:
    with pytest.raises(CommandError, match="there is no worker 'w9'") as caught:
        worker("drain", "w9")
    assert caught.value.returncode == 2


@pytest.mark.parametrize("name", ["g p u", "", "x" * 51])
def test_a_worker_is_not_started_in_a_pool_that_no_queue_can_name(name: str) -> None:
    with pytest.raises(CommandError, match="expected 1 to 50 letters, digits, hyphens and underscores") as caught:
        call_command("runworker", "--pool", name)
    assert caught.value.returncode == 2
    assert workers.all_workers() == []
