"""Documents that a hand or a script broke: they are left out and shown, and everything else goes on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from bson import ObjectId
from django.db import models
from django.test import Client
from structlog.testing import capture_logs

from jobs import attention, reads, services
from jobs.master.rescue import remove_malformed
from jobs.models import Assignment, Failure, Job, Lease, Worker
from jobs.repositories import assignments, jobs, leases, workers
from queues import repository, search
from queues import services as queue_services
from queues.models import Queue
from queuesite.foundation import documents
from queuesite.foundation.databases import collection, database_clock
from queuesite.foundation.errors import MalformedDocument
from tests.support.records import all_jobs, assign, define, processor, queued, register

pytestmark = pytest.mark.usefixtures("mongo")

#: A value that the field must not have, for a queue's document.
WRONG: list[tuple[str, Any]] = [
    ("priority", "high"),
    ("priority", 10),
    ("priority", -1),
    ("notBefore", "tomorrow"),
    ("handlerOptions", "{}"),
    ("handlerOptions", None),
    ("concurrency", 0),
    ("concurrency", True),
    ("concurrency", 2.5),
    ("maxConsumers", 0),
    ("visibilityTimeout", 43_201),
    ("timeout", 0),
    ("paused", "no"),
    ("wakeRequestedAt", 1),
    ("crashCount", -1),
    ("queueUrl", None),
]


def break_(model: type[models.Model], key: object, field: str, value: Any) -> None:
    assert collection(model).update_one({"_id": key}, {"$set": {field: value}}).modified_count


def names(queues: list[Queue]) -> list[str]:
    return sorted(queue.name for queue in queues)


class TestQueues:
    @pytest.mark.parametrize(("field", "value"), WRONG)
    def test_it_is_not_processed_the_others_are(self, field: str, value: Any) -> None:
        broken, sound = define("broken"), define("sound")
        repository.wake_many([broken.id, sound.id])
        break_(Queue, broken.id, field, value)
        assert names(repository.all_queues()) == ["sound"]
        assert names(repository.by_ids([broken.id, sound.id])) == ["sound"]
        assert names(repository.changed_since(database_clock.now() - timedelta(minutes=1))) == ["sound"]

    @pytest.mark.parametrize(("field", "value"), WRONG)
    def test_it_is_shown_with_what_is_wrong(self, field: str, value: Any) -> None:
        define("sound")
        break_(Queue, define("broken").id, field, value)
        (found,) = attention.malformed(10)
        assert (found.collection, found.name, found.field) == ("queues", "broken", field)
        assert repr(value) in found.wrong
        assert "expected" in found.wrong

    @pytest.mark.parametrize("value", [0, "none"])
    def test_bounds_are_named(self, value: object) -> None:
        break_(Queue, define().id, "concurrency", value)
        assert attention.malformed(10)[0].wrong == f"concurrency {value!r}: expected a whole number from 1 to 5"

    def test_no_process_can_do_without_these(self) -> None:
        key = collection(Queue).insert_one({"note": "bare"}).inserted_id
        assert repository.all_queues() == []
        assert [(found.key, found.field, found.value) for found in attention.malformed(10)] == [(key, "name", ...)]

    def test_what_a_shell_writes_for_a_whole_number_is_one(self) -> None:
        queue = define()
        break_(Queue, queue.id, "priority", 3.0)
        assert [type(found.priority) for found in repository.all_queues()] == [int]
        assert attention.malformed(10) == []

    def test_who_asks_for_it_by_name_is_told_how_to_mend_it(self) -> None:
        queue = define()
        break_(Queue, queue.id, "priority", "high")
        with pytest.raises(MalformedDocument, match=rf"'orders'.*priority 'high'.*0.*ObjectId\(\"{queue.id}\"\)"):
            queue_services.get("orders")

    def test_a_setting_out_of_bounds_can_be_seen_and_mended(self) -> None:
        break_(Queue, define().id, "concurrency", 0)
        assert queue_services.get("orders").concurrency == 0
        assert names(search.find_queues()[0]) == ["orders"]
        repository.update(queue_services.get("orders").id, {"concurrency": 2})
        assert names(repository.all_queues()) == ["orders"]

    def test_a_page_that_lacks_some_does_not_end_the_list(self) -> None:
        made = [define(f"q{n}") for n in range(6)]
        for queue in made[1:3]:
            break_(Queue, queue.id, "paused", "no")
        first, cursor = search.find_queues(limit=2)
        assert names(first) == ["q0", "q3"]
        assert names(search.find_queues(limit=2, cursor=cursor)[0]) == ["q4", "q5"]

    def test_it_is_logged_once_for_what_is_wrong(self) -> None:
        queue = define()
        break_(Queue, queue.id, "priority", "high")
        with capture_logs() as logs:
            for _ in range(3):
                repository.all_queues()
            break_(Queue, queue.id, "priority", 99)
            repository.all_queues()
        assert [entry["event"] for entry in logs] == ["document_malformed"] * 2

    def test_pages_go_on(self, admin_client: Client) -> None:
        define("sound")
        broken = define("broken")
        break_(Queue, broken.id, "handlerOptions", "x")
        assert "handlerOptions" in admin_client.get("/admin/").content.decode()
        page = admin_client.get("/admin/queues/")
        assert page.status_code == 200
        assert "sound" in page.content.decode()
        assert admin_client.get(f"/admin/queues/{broken.name}/").status_code < 500


class TestWorkersAndAssignments:
    def test_a_bare_worker_is_left_out_and_removed(self) -> None:
        collection(Worker).insert_one({"_id": "bare"})
        register("w1")
        assert [worker.worker_id for worker in workers.all_workers()] == ["w1"]
        assert [worker.worker_id for worker in services.list_workers()] == ["w1"]
        remove_malformed()
        assert [document["_id"] for document in collection(Worker).find()] == ["w1"]

    @pytest.mark.parametrize("consumers", ["none", [1], {"pid": 1}])
    def test_so_is_one_whose_consumers_are_none(self, consumers: Any) -> None:
        break_(Worker, register("w1"), "consumers", consumers)
        assert workers.all_workers() == []
        remove_malformed()
        assert collection(Worker).count_documents({}) == 0

    def test_it_can_leave(self) -> None:
        collection(Worker).insert_one({"_id": "bare"})
        workers.unregister("bare")
        assert collection(Worker).count_documents({}) == 0

    @pytest.mark.parametrize(("field", "value"), [("worker", 5), ("term", "x"), ("queueId", None), ("createdAt", 1)])
    def test_an_assignment_frees_its_slot(self, field: str, value: Any) -> None:
        queue = define()
        broken, sound = assign(queue), assign(queue, slot=1)
        break_(Assignment, broken.id, field, value)
        assert [a.id for a in assignments.all_assignments()] == [sound.id]
        remove_malformed()
        assert collection(Assignment).count_documents({}) == 1
        assign(queue)

    def test_one_that_was_mended_meanwhile_is_kept(self) -> None:
        assignment = assign(define())
        break_(Assignment, assignment.id, "slot", "x")
        (error,) = documents.malformed(Assignment, 10)
        break_(Assignment, assignment.id, "slot", 0)
        assert not documents.remove(Assignment, error)


class TestRecords:
    def test_jobs_are_left_out_of_lists_whose_pages_go_on(self) -> None:
        queue = define()
        for slot in range(5):
            queued(queue, slot=slot)
        newest_first = [job.id for job in reversed(all_jobs())]
        break_(Job, newest_first[1], "messageCount", "many")
        page, cursor = reads.find_jobs(limit=2)
        assert [job.id for job in page] == [newest_first[0], newest_first[2]]
        assert [job.id for job in reads.find_jobs(limit=2, cursor=cursor)[0]] == newest_first[3:]

    def test_jobs_whose_processor_is_none_are_unfinished_still(self) -> None:
        assignment = queued(define())
        break_(Job, assignment.job_id, "processor", "w1")
        assert [job.worker_id for job in jobs.unfinished()] == [""]
        jobs.create_many([(assignment, "orders", processor())])

    def test_failures(self) -> None:
        collection(Failure).insert_one({"queueUrl": "u", "fingerprint": "f"})
        assert reads.find_failures() == ([], None)


class TestLease:
    @pytest.mark.parametrize(
        "broken", [{"expiresAt": "never"}, {"term": "x"}, {"holder": 5}, {"electedAt": None}, {"term": -1}]
    )
    def test_a_malformed_one_is_won_again_when_nobody_can_act_by_it(self, broken: dict[str, Any]) -> None:
        assert leases.acquire("m1", 30) == 1
        break_(Lease, leases.MASTER, *next(iter(broken.items())))
        assert leases.current() is None
        assert leases.leader() is None
        assert leases.acquire("m2", 30) is None, "it is mended, and must run out first"
        assert leases.acquire("m2", 30) is None
        assert not leases.renew("m1", 1, 30), "who held it does not find it any more"
        break_(Lease, leases.MASTER, "expiresAt", database_clock.now() - timedelta(seconds=1))
        term = leases.acquire("m2", 30)
        assert term is not None
        assert term > 1

    def test_its_term_is_above_that_of_every_assignment(self) -> None:
        assign(define(), term=41)
        assert leases.acquire("m1", 30) == 42
        break_(Lease, leases.MASTER, "term", None)
        leases.acquire("m2", 30)
        break_(Lease, leases.MASTER, "expiresAt", database_clock.now() - timedelta(seconds=1))
        assert leases.acquire("m2", 30) == 43

    def test_it_is_replaced_only_as_it_was_read(self) -> None:
        collection(Lease).insert_one({"_id": leases.MASTER, "holder": "m1"})
        with pytest.raises(MalformedDocument) as caught:
            documents.to_model(Lease, {"_id": leases.MASTER, "holder": "m1"})
        leases._mend({"_id": leases.MASTER, "holder": "another"}, caught.value, 30)
        assert collection(Lease).find_one({}) == {"_id": leases.MASTER, "holder": "m1"}


def test_every_model_can_be_judged() -> None:
    for model in (Queue, Worker, Assignment, Lease, Job, Failure):
        assert documents.malformed(model, 10) == []
        with pytest.raises(MalformedDocument):
            documents.to_model(model, {"_id": ObjectId()})
