"""The sync: what the database defines is made true in SQS."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId

from queues import repository, services
from queues import sync as syncing
from queues.models import Queue
from queues.naming import name_of
from queues.sqs import OutgoingMessage, get_gateway
from queues.sync import SyncReport, sync
from queues.tasks import make_schedules, sync_queues
from queuesite.foundation.databases import collection
from queuesite.foundation.errors import QueueMissing, SqsDenied, SqsUnavailable
from tests.support import records
from tests.support.faults import Cut, Forward, Refused, SqsProxy
from tests.support.values import given

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient

pytestmark = pytest.mark.usefixtures("queues")

Parameters = dict[str, Any]


def outcome(report: SyncReport) -> dict[str, Any]:
    """What a report says, without what has nothing in it."""
    return {name: value for name, value in report.as_dict().items() if value}


def attributes(url: str) -> dict[str, str]:
    return get_gateway().attributes(url)


def forget(queue: Queue) -> None:
    """Have SQS lose a queue and its dead-letter queue."""
    gateway = get_gateway()
    gateway.delete_queue(queue.queue_url)
    if queue.dlq_url is not None:
        gateway.delete_queue(queue.dlq_url)


class TestCreate:
    def test_queue_that_sqs_lacks_is_created_with_its_attributes(self) -> None:
        queue = services.create("orders", settings={"visibility_timeout": 77, "max_receive_count": 3})
        forget(queue)

        assert outcome(sync()) == {"created": ["orders"]}

        found = attributes(queue.queue_url)
        assert found["VisibilityTimeout"] == "77"
        policy = json.loads(found["RedrivePolicy"])
        assert int(policy["maxReceiveCount"]) == 3
        assert queue.dlq_url is not None
        assert policy["deadLetterTargetArn"] == attributes(queue.dlq_url)["QueueArn"]
        assert attributes(queue.dlq_url)["MessageRetentionPeriod"] == "1209600"

    def test_fifo_queue(self) -> None:
        queue = services.create("orders.fifo")
        forget(queue)

        assert outcome(sync()) == {"created": ["orders.fifo"]}

        assert attributes(queue.queue_url)["FifoQueue"] == "true"
        assert queue.dlq_url is not None
        assert attributes(queue.dlq_url)["FifoQueue"] == "true"

    def test_queue_without_dead_letter_queue_gets_none(self) -> None:
        queue = services.create("orders", with_dlq=False)
        forget(queue)

        sync()

        assert "RedrivePolicy" not in attributes(queue.queue_url)
        assert get_gateway().queue_url(services.sqs_name("orders-dlq")) is None

    def test_dead_letter_queue_alone_is_created_again(self) -> None:
        queue = services.create("orders")
        get_gateway().send(queue.queue_url, [OutgoingMessage("stays")])
        assert queue.dlq_url is not None
        get_gateway().delete_queue(queue.dlq_url)

        assert outcome(sync()) == {"created": ["orders"]}

        assert services.size("orders").depth.visible == 1
        assert services.size("orders").dead_letters == 0
        assert outcome(sync()) == {"unchanged": 1}

    def test_sync_again_finds_nothing_to_do(self) -> None:
        services.create("orders")
        services.create("events.fifo")
        services.create("plain", with_dlq=False)

        assert outcome(sync()) == {"unchanged": 3}
        assert outcome(sync()) == {"unchanged": 3}


class TestChange:
    def test_attributes_that_somebody_changed_are_set_back(self, queues: SQSClient) -> None:
        queue = services.create("orders", settings={"visibility_timeout": 60, "max_receive_count": 4})
        policy = json.loads(attributes(queue.queue_url)["RedrivePolicy"])
        queues.set_queue_attributes(
            QueueUrl=queue.queue_url,
            Attributes={"VisibilityTimeout": "1", "RedrivePolicy": json.dumps({**policy, "maxReceiveCount": 9})},
        )

        assert outcome(sync()) == {"changed": ["orders"]}

        found = attributes(queue.queue_url)
        assert found["VisibilityTimeout"] == "60"
        assert int(json.loads(found["RedrivePolicy"])["maxReceiveCount"]) == 4
        assert outcome(sync()) == {"unchanged": 1}

    @pytest.mark.parametrize("policy", ["", "text"], ids=["none", "count as text"])
    def test_redrive_policy_as_servers_give_it_back(self, queues: SQSClient, policy: str) -> None:
        queue = services.create("orders")
        stored = json.loads(attributes(queue.queue_url)["RedrivePolicy"])
        as_text = json.dumps({**stored, "maxReceiveCount": str(stored["maxReceiveCount"])})
        queues.set_queue_attributes(QueueUrl=queue.queue_url, Attributes={"RedrivePolicy": policy and as_text})

        # A missing policy is set; one whose count is a text means the same.
        assert outcome(sync()) == ({"unchanged": 1} if policy else {"changed": ["orders"]})
        assert "RedrivePolicy" in attributes(queue.queue_url)

    def test_attributes_that_are_no_business_of_ours_stay(self, queues: SQSClient) -> None:
        queue = services.create("orders")
        queues.set_queue_attributes(QueueUrl=queue.queue_url, Attributes={"DelaySeconds": "7"})

        assert outcome(sync()) == {"unchanged": 1}
        assert attributes(queue.queue_url)["DelaySeconds"] == "7"

    def test_what_is_left_to_sqs_stays_and_what_was_chosen_is_set_back(self, queues: SQSClient) -> None:
        chosen = services.create("chosen.fifo", settings={"content_based_deduplication": True})
        left = services.create("left.fifo")
        for url, value in ((chosen.queue_url, "false"), (left.queue_url, "true")):
            queues.set_queue_attributes(QueueUrl=url, Attributes={"ContentBasedDeduplication": value})

        assert outcome(sync()) == {"changed": ["chosen.fifo"], "unchanged": 1}

        for url in (chosen.queue_url, left.queue_url):
            assert attributes(url)["ContentBasedDeduplication"] == "true"
        assert outcome(sync()) == {"unchanged": 2}

    def test_no_is_what_a_server_leaves_out(self) -> None:
        services.create("orders.fifo", settings={"content_based_deduplication": False, "high_throughput": False})

        assert outcome(sync()) == {"unchanged": 1}

    def test_server_that_does_not_keep_an_attribute_is_named_and_nothing_counts_as_repaired(
        self, faulty: SqsProxy
    ) -> None:
        queue = services.create("orders.fifo", settings={"high_throughput": True})

        def without(parameters: Parameters, forward: Forward) -> Parameters:
            answer = forward(parameters)
            for name in ("DeduplicationScope", "FifoThroughputLimit"):
                answer["Attributes"].pop(name, None)
            return answer

        faulty.answer("GetQueueAttributes", without)
        for _ in range(2):
            report = sync()
            assert set(outcome(report)) == {"failed"}
            assert "took DeduplicationScope, FifoThroughputLimit" in report.failed["orders.fifo"]

        get_gateway().set_attributes(queue.queue_url, {"VisibilityTimeout": "7"})
        sync()
        assert attributes(queue.queue_url)["VisibilityTimeout"] == "30"
        services.update("orders.fifo", {"high_throughput": None})
        assert outcome(sync()) == {"unchanged": 1}

    def test_url_follows_and_the_id_stays(self) -> None:
        queue = records.aged(services.create("orders"))
        url, dlq_url = queue.queue_url, queue.dlq_url
        repository.update(queue.id, {"queue_url": "http://old:1/0/orders", "dlq_url": "http://old:1/0/orders-dlq"})

        assert outcome(sync()) == {"changed": ["orders"]}

        after = services.get("orders")
        assert after.id == queue.id
        assert (after.queue_url, after.dlq_url) == (url, dlq_url)
        assert given(after.updated_at) > given(queue.updated_at)

    def test_sync_is_dated_and_a_look_is_no_change(self) -> None:
        before = records.aged(services.create("orders"))

        sync()

        after = services.get("orders")
        assert given(after.synced_at) > given(before.synced_at)
        assert after.updated_at == before.updated_at

    def test_old_document_of_the_reference_system(self) -> None:
        """A document with the reference system's fields alone: what it lacks has its default."""
        identifier = ObjectId()
        collection(Queue).insert_one(
            {"_id": identifier, "name": "orders", "queueUrl": "http://old:1/0/orders", "concurrency": 2}
        )

        assert outcome(sync()) == {"created": ["orders"]}

        queue = services.get("orders")
        assert queue.id == identifier
        assert queue.concurrency == 2
        assert queue.handler == "log"
        assert queue.queue_url == get_gateway().queue_url(services.sqs_name("orders"))


class TestOnlyInSqs:
    def test_unknown_queue_is_reported_and_left_alone(self, queues: SQSClient) -> None:
        services.create("orders")
        url = queues.create_queue(QueueName=services.sqs_name("stranger"))["QueueUrl"]
        before = attributes(url)

        report = sync()

        assert report.only_in_sqs == [services.sqs_name("stranger")]
        assert report.unchanged == 1
        assert attributes(url) == before
        assert collection(Queue).count_documents({}) == 1

    def test_dead_letter_queue_of_ours_is_no_stranger(self) -> None:
        services.create("orders")

        assert sync().only_in_sqs == []


class TestFailures:
    def test_queue_that_fails_does_not_stop_the_others(self, faulty: SqsProxy) -> None:
        for name in ("a", "b", "c"):
            forget(services.create(name))

        def create(parameters: Parameters, forward: Forward) -> Parameters:
            if parameters["QueueName"].endswith("-b"):
                raise Refused("InvalidAttributeValue", "not this one")
            return forward(parameters)

        faulty.answer("CreateQueue", create)

        report = sync()

        assert report.created == ["a", "c"]
        assert list(report.failed) == ["b"]
        assert "not this one" in report.failed["b"]
        assert report.summary == "2 created, 0 changed, 0 unchanged, 1 failed, 0 only in SQS"

    def test_name_that_aws_makes_one_wait_for_is_reported(self, faulty: SqsProxy) -> None:
        forget(services.create("orders"))
        faulty.refuse("CreateQueue", "AWS.SimpleQueueService.QueueDeletedRecently")

        assert "less than 60 s ago" in sync().failed["orders"]

    def test_refused_credentials_end_it(self, faulty: SqsProxy) -> None:
        services.create("orders")
        faulty.refuse("GetQueueAttributes", "ExpiredToken", status=403)

        with pytest.raises(SqsDenied):
            sync()

    def test_sqs_that_is_away_ends_it(self, faulty: SqsProxy) -> None:
        services.create("orders")

        def away(_: Parameters, __: Forward) -> Parameters:
            raise Cut

        faulty.answer("ListQueues", away)

        with pytest.raises(SqsUnavailable):
            sync()

    def test_queue_that_vanishes_meanwhile_is_reported(self, faulty: SqsProxy) -> None:
        services.create("orders")
        collection(Queue).update_one({}, {"$set": {"visibilityTimeout": 99}})
        faulty.refuse("SetQueueAttributes", "AWS.SimpleQueueService.NonExistentQueue")

        assert "vanished from SQS" in sync().failed["orders"]

    def test_definition_that_is_deleted_meanwhile_stays_so(self, faulty: SqsProxy) -> None:
        queue = services.create("orders")

        def delete_meanwhile(parameters: Parameters, forward: Forward) -> Parameters:
            repository.delete(queue.id)
            return forward(parameters)

        faulty.answer("GetQueueAttributes", delete_meanwhile)

        sync()

        assert collection(Queue).count_documents({}) == 0

    def test_broken_policy_of_somebody_else_is_replaced(self, faulty: SqsProxy) -> None:
        services.create("orders")

        def broken(parameters: Parameters, forward: Forward) -> Parameters:
            answer = forward(parameters)
            answer["Attributes"]["RedrivePolicy"] = "{no json"
            return answer

        faulty.answer("GetQueueAttributes", broken)

        assert outcome(sync()) == {"changed": ["orders"]}


class TestScale:
    #: More than two pages of ListQueues hold here.
    PAGE, COUNT = 100, 210

    def test_more_queues_than_sqs_lists_at_once(self, queues: SQSClient, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("queues.sqs.gateway.LISTED_AT_ONCE", self.PAGE)
        names = [f"q{i:04d}" for i in range(self.COUNT)]

        def create(name: str) -> dict[str, Any]:
            url = queues.create_queue(QueueName=services.sqs_name(name))["QueueUrl"]
            return {"name": name, "queueUrl": url, "concurrency": 1, "dlqUrl": None, "visibilityTimeout": 30}

        with ThreadPoolExecutor(8) as pool:
            definitions = list(pool.map(create, names))
        collection(Queue).insert_many(definitions[1:])
        totals: list[int] = []
        steps: list[int] = []

        report = sync(totals.append, steps.append)

        assert outcome(report) == {"unchanged": self.COUNT - 1, "onlyInSqs": [services.sqs_name(names[0])]}
        assert totals == [self.COUNT - 1]
        assert sum(steps) == self.COUNT - 1
        assert collection(Queue).count_documents({"syncedAt": None}) == 0


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://127.0.0.1:4566/000000000000/orders", "orders"),
        ("https://sqs.eu-west-1.amazonaws.com/123456789012/orders.fifo", "orders.fifo"),
        ("http://localhost/queue/orders/", "orders"),
    ],
)
def test_name_is_the_end_of_the_url(url: str, name: str) -> None:
    assert name_of(url) == name


@pytest.mark.parametrize(
    ("actual", "wanted", "same"),
    [
        (None, "30", False),
        ("30", "30", True),
        ("31", "30", False),
        ('{"a": "x", "maxReceiveCount": "5"}', '{"maxReceiveCount": 5, "a": "x"}', True),
        ('{"a": "x", "maxReceiveCount": 5}', '{"a": "y", "maxReceiveCount": 5}', False),
        ("no json", '{"a": "y", "maxReceiveCount": 5}', False),
        ('{"maxReceiveCount": "five"}', '{"maxReceiveCount": 5}', False),
        ("[1]", '{"maxReceiveCount": 5}', False),
    ],
)
def test_attributes_are_compared_by_what_they_mean(actual: str | None, wanted: str, same: bool) -> None:
    assert syncing._same(actual, wanted) is same


def test_background_task_tells_what_it_did() -> None:
    services.create("orders")

    assert sync_queues() == "0 created, 0 changed, 1 unchanged, 0 failed, 0 only in SQS"


@pytest.mark.django_db
def test_sync_is_scheduled_once_an_hour() -> None:
    from django_q.models import Schedule

    make_schedules()
    make_schedules()

    [schedule] = Schedule.objects.filter(func="queues.tasks.sync_queues")
    assert schedule.schedule_type == Schedule.HOURLY


def test_missing_queue_error_is_a_server_error() -> None:
    assert QueueMissing("x").exit_code == 1
