"""Jobs, failures, workers, assignments, the leader and health, by the API."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from bson import ObjectId

from jobs import failures as kinds
from jobs.models import EndReason, Job
from jobs.repositories import failures, jobs, leases, workers
from jobs.repositories.failures import Seen
from jobs.repositories.jobs import Counts
from queues import readiness
from queues.models import Queue
from queuesite.foundation.databases import collection, database_clock
from tests.conftest import Configure
from tests.support import records
from tests.support.api import Api, everything
from tests.support.waiting import eventually

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("mongo")]


@pytest.fixture
def api() -> Api:
    return everything()


@pytest.fixture
def orders(mongo: None) -> Queue:
    return records.define()


class TestJobs:
    def test_read(self, api: Api, orders: Queue) -> None:
        job_id = records.running(orders).job_id
        jobs.complete(job_id, "w1", Counts(5, 2, 1), EndReason.DRAINED)

        found = api.get(f"/jobs/{job_id}").ok()

        assert found["id"] == str(job_id)
        assert (found["status"], found["endReason"]) == ("completed", "drained")
        assert (found["messageCount"], found["failedCount"], found["timedOutCount"]) == (5, 2, 1)
        assert found["processor"] == {"workerId": "w1", "host": "host-1", "workerPid": "4711", "consumerPid": "99"}
        assert found["createdAt"] <= found["startedAt"] <= found["endedAt"]

    @pytest.mark.parametrize("name", ["0" * 24, "x", "%00", "x" * 500])
    def test_none(self, api: Api, name: str) -> None:
        api.get(f"/jobs/{name}").problem(404)

    def test_filters(self, api: Api, orders: Queue) -> None:
        invoices = records.define("invoices")
        done = records.running(orders).job_id
        jobs.complete(done, "w1", Counts(1), EndReason.DRAINED)
        running = records.running(invoices, "w2").job_id
        collection(Job).update_one({"_id": done}, {"$set": {"createdAt": database_clock.now() - timedelta(hours=2)}})
        hour_ago = (database_clock.now() - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")

        def found(query: str) -> list[str]:
            return [job["id"] for job in api.get(f"/jobs?{query}").ok()["items"]]

        assert found("") == [str(running), str(done)]
        assert found("queue=orders") == [str(done)]
        assert found("status=running") == [str(running)]
        assert found("queue=invoices&status=completed") == []
        assert found("worker=w2") == [str(running)]
        assert found(f"since={hour_ago}") == [str(running)]
        assert found(f"until={hour_ago}") == [str(done)]
        assert found("queue=nope") == []

    @pytest.mark.parametrize("query", ["status=done", "since=yesterday", "limit=1000", "cursor=!", "state=running"])
    def test_wrong_filters(self, api: Api, query: str) -> None:
        assert api.get(f"/jobs?{query}").problem(422)["errors"][0]["field"] == query.split("=")[0]

    @pytest.mark.parametrize(
        "query", ["", "&queue=orders", "&status=queued", "&worker=w1", "&queue=orders&status=queued"]
    )
    def test_pages_cover_everything_once_though_more_come(self, api: Api, orders: Queue, query: str) -> None:
        moment = database_clock.now().replace(microsecond=0)
        # Many have the same moment, as those do that a master creates in one go.
        wanted = [insert(orders, moment - timedelta(seconds=n // 7)) for n in range(40)]

        seen: list[str] = []
        cursor = ""
        while True:
            page = api.get(f"/jobs?limit=6{query}{cursor}").ok()
            seen += [job["id"] for job in page["items"]]
            insert(orders, moment + timedelta(seconds=1))  # comes before what has been read
            if page["next"] is None:
                break
            cursor = f"&cursor={page['next']}"

        assert len(seen) == len(set(seen))
        assert set(seen) == {str(job_id) for job_id in wanted}

    def test_jobs_of_all_ages(self, api: Api, orders: Queue) -> None:
        now = database_clock.now().replace(microsecond=0)  # MongoDB keeps milliseconds
        ages = [0, 1, 59, 61, 600, 901, 3_600, 14_401, 90_000, 259_201, 10**7, 10**9]
        wanted = [str(insert(orders, now - timedelta(seconds=age))) for age in ages]

        assert [job["id"] for job in api.get("/jobs").ok()["items"]] == wanted
        for limit in (1, 5):
            page = api.get(f"/jobs?queue=orders&limit={limit}").ok()
            seen = [job["id"] for job in page["items"]]
            while page["next"]:
                page = api.get(f"/jobs?queue=orders&limit={limit}&cursor={page['next']}").ok()
                seen += [job["id"] for job in page["items"]]
            assert seen == wanted
        since = (now - timedelta(seconds=14_401)).isoformat().replace("+00:00", "Z")
        assert [job["id"] for job in api.get(f"/jobs?since={since}").ok()["items"]] == wanted[:8]
        assert [job["id"] for job in api.get(f"/jobs?until={since}").ok()["items"]] == wanted[8:]

    def test_newest_job_of_many_queues(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(jobs, "_RECENT", 10)
        now = database_clock.now()
        busy, quiet, fresh = (records.define(name) for name in ("busy", "quiet", "fresh"))
        last = insert(busy, now)
        for age in range(1, 20):
            insert(busy, now - timedelta(seconds=age))
        insert(quiet, now - timedelta(days=4))
        old = insert(quiet, now - timedelta(days=3))

        found = jobs.newest_of([busy.name, quiet.name, fresh.name])

        assert {name: job.id for name, job in found.items()} == {"busy": last, "quiet": old}
        assert jobs.newest_of([]) == {}

    @pytest.mark.parametrize("query", ["until=0001-01-01T00:00:00Z", "since=9999-12-31T23:59:59Z"])
    def test_ends_of_time(self, api: Api, orders: Queue, query: str) -> None:
        insert(orders, database_clock.now())

        assert api.get(f"/jobs?{query}").ok() == {"items": [], "next": None}

    def test_pages_are_ranges_of_an_index(self) -> None:
        """However many jobs there are: sort and filter are the keys of one index, in its order."""
        keys = [list(index.document["key"].items()) for index in jobs.indexes()]
        newest_first = [("createdAt", -1), ("_id", -1)]

        for filters in ([], ["status"], ["queueName"], ["processor.workerId"], ["queueName", "status"]):
            assert [*((name, 1) for name in filters), *newest_first] in keys


def insert(queue: Queue, created_at: Any) -> ObjectId:
    job_id = ObjectId()
    processor = {"workerId": "w1", "host": "h", "workerPid": "1", "consumerPid": None}
    collection(Job).insert_one(
        {
            "_id": job_id,
            "queueName": queue.name,
            "queueUrl": queue.queue_url,
            "queueId": queue.id,
            "status": "queued",
            "processor": processor,
            "createdAt": created_at,
            "lastModified": created_at,
        }
    )
    return job_id


class TestFailures:
    def test_list_read_delete(self, api: Api, orders: Queue) -> None:
        other = records.define("invoices")
        now = time.monotonic()
        for queue, name, moment in ((orders, "KeyError", now - 60), (other, "ValueError", now)):
            failure = kinds.FailureGroup(
                name, "shop.py:12 in f", "'customer'", "Traceback…", moment, moment, 3, "id-1", 2, '{"n": 1}'
            )
            failures.add([Seen(queue, failure)])

        items = api.get("/failures").ok()["items"]
        assert [item["exceptionType"] for item in items] == ["ValueError", "KeyError"]
        assert "traceback" not in items[0]
        (item,) = api.get("/failures?queue=orders").ok()["items"]
        assert (item["queueName"], item["count"], item["message"]) == ("orders", 3, "'customer'")

        whole = api.get(f"/failures/{item['id']}").ok()
        assert (whole["traceback"], whole["sampleBody"], whole["receiveCount"]) == ("Traceback…", '{"n": 1}', 2)
        assert api.get("/stats").ok()["failures"] == 2

        assert api.delete(f"/failures/{item['id']}").status == 204
        api.delete(f"/failures/{item['id']}").problem(404)
        api.get(f"/failures/{item['id']}").problem(404)
        api.get("/failures/nope").problem(404)

    def test_pages(self, api: Api, orders: Queue) -> None:
        now = time.monotonic()
        failures.add(Seen(orders, kinds.FailureGroup(f"E{n}", f"p:{n}", "m", "t", now - n, now - n)) for n in range(5))

        first = api.get("/failures?limit=3").ok()
        second = api.get(f"/failures?limit=3&cursor={first['next']}").ok()

        names = [item["exceptionType"] for item in first["items"] + second["items"]]
        assert names == ["E0", "E1", "E2", "E3", "E4"]
        assert second["next"] is None


class TestWorkers:
    def test_list_and_read(self, api: Api, orders: Queue) -> None:
        records.register("w1", capacity=3)
        workers.heartbeat("w1", [{"jobId": ObjectId("0" * 24), "queueName": "orders", "processed": 12, "failed": 1}])
        records.running(orders)

        (worker,) = api.get("/workers").ok()["items"]

        assert worker == api.get("/workers/w1").ok() | {"heartbeatAge": worker["heartbeatAge"]}
        assert (worker["id"], worker["capacity"], worker["load"], worker["alive"]) == ("w1", 3, 1, True)
        assert worker["consumers"] == [{"jobId": "0" * 24, "queueName": "orders", "processed": 12, "failed": 1}]
        assert 0 <= worker["heartbeatAge"] < 60

    def test_drain(self, api: Api) -> None:
        records.register("w1")

        assert api.post("/workers/w1/drain").ok() == {"id": "w1", "draining": True, "changed": True}
        assert api.post("/workers/w1/drain").ok()["changed"] is False
        assert api.get("/workers/w1").ok()["draining"] is True
        api.post("/workers/nope/drain").problem(404)
        api.get("/workers/nope").problem(404)

    def test_capacity(self, api: Api) -> None:
        records.register("w1", capacity=3, has={"log": "1"})

        changed = api.patch("/workers/w1", {"capacity": 6}).ok()
        assert (changed["capacity"], changed["wantedCapacity"], changed["capacityLimit"]) == (3, 6, 6)
        assert api.patch("/workers/w1", {"capacity": None}).ok()["wantedCapacity"] is None
        assert [one["text"] for one in api.get("/events?kind=worker-capacity").ok()["items"]] == [
            "worker w1 was asked for a capacity of MAX_LOAD again",
            "worker w1 was asked for a capacity of 6",
        ]
        api.patch("/workers/w1", {"capacity": 7}).problem(422)
        api.patch("/workers/w1", {}).problem(422)
        api.patch("/workers/nope", {"capacity": 1}).problem(404)

    def test_assignments(self, api: Api, orders: Queue) -> None:
        one = records.queued(orders, "w1")
        records.queued(records.define("invoices"), "w2")

        assert len(api.get("/assignments").ok()["items"]) == 2
        (shown,) = api.get("/assignments?worker=w1").ok()["items"]
        assert (shown["id"], shown["jobId"], shown["queueId"]) == (str(one.id), str(one.job_id), str(orders.id))
        assert len(api.get("/assignments?queueUrl=http://sqs/orders").ok()["items"]) == 1
        assert api.get("/assignments?worker=w3").ok()["items"] == []

    def test_leader(self, api: Api) -> None:
        assert api.get("/leader").ok() == {"leader": None}

        leases.acquire("m1", 30)

        leader = api.get("/leader").ok()["leader"]
        assert (leader["holder"], leader["term"]) == ("m1", 1)


#: Of a server that answers, on a machine that is busy, in seconds.
PATIENCE = 30.0


class TestReady:
    def test_all_are_touched(self, api: Api, configure: Configure) -> None:
        configure(ready_timeout_seconds=PATIENCE)

        assert api.get("/health/ready").ok() == {
            "status": "ready",
            "checks": {"mongodb": "ok", "sqs": "ok", "database": "ok"},
        }

    def test_server_that_refuses_is_named_without_its_address(self, api: Api, configure: Configure) -> None:
        from queues.sqs import get_gateway

        configure(aws_sqs_endpoint="http://127.0.0.1:1", ready_timeout_seconds=PATIENCE)
        get_gateway.cache_clear()
        try:
            problem = api.get("/health/ready").problem(503)
        finally:
            get_gateway.cache_clear()

        assert problem["checks"] == {"mongodb": "ok", "sqs": "unavailable", "database": "ok"}
        assert "sqs" in problem["detail"]
        assert "127.0.0.1" not in str(problem)

    def test_server_that_hangs_does_not_hold_the_answer_up(
        self, api: Api, configure: Configure, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        configure(ready_timeout_seconds=0.2)
        release, calls = threading.Event(), []

        def hang() -> None:
            calls.append(1)
            release.wait(60)

        probe = readiness.Probe("mongodb", hang)
        monkeypatch.setattr(readiness, "_probes", (probe, *readiness._probes[1:]))
        try:
            for _ in range(3):
                assert api.get("/health/ready").problem(503)["checks"]["mongodb"] == "no answer in time"
            assert len(calls) == 1  # threads do not pile up
        finally:
            release.set()
        configure(ready_timeout_seconds=PATIENCE)
        eventually(lambda: api.get("/health/ready").status == 200, PATIENCE, "it is ready again")
