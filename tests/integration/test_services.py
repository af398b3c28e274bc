"""What can be done to queues, against real servers."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId
from pymongo.errors import AutoReconnect

from queues import repository, services
from queues.models import Queue
from queues.sqs import Depth, OutgoingMessage, get_gateway
from queuesite.foundation.config import get_config
from queuesite.foundation.databases import collection
from queuesite.foundation.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    QueueMissing,
    SqsDenied,
    SqsRejected,
    SqsUnavailable,
)
from tests.conftest import Configure
from tests.support import records
from tests.support.faults import Forward, Refused, SqsProxy
from tests.support.values import given
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient

pytestmark = pytest.mark.usefixtures("queues")


def document(name: str) -> dict[str, Any]:
    found = collection(Queue).find_one({"name": name})
    assert found is not None
    return found


def names_in_sqs() -> list[str]:
    """Names, without the prefix, of this test's queues in SQS."""
    prefix = get_config().queue_name_prefix
    return sorted(url.rpartition("/")[2].removeprefix(prefix) for url in get_gateway().queue_urls(prefix))


def attributes(url: str) -> dict[str, str]:
    return get_gateway().attributes(url)


def arn(url: str) -> str:
    return attributes(url)["QueueArn"]


def nothing_is_left() -> None:
    assert collection(Queue).count_documents({}) == 0
    eventually(lambda: names_in_sqs() == [], 60, "no queue is left in SQS")


class TestCreate:
    def test_queue_comes_with_its_dead_letter_queue(self) -> None:
        queue = services.create("orders")

        assert names_in_sqs() == ["orders", "orders-dlq"]
        assert queue.dlq_url is not None
        policy = json.loads(attributes(queue.queue_url)["RedrivePolicy"])
        assert policy["deadLetterTargetArn"] == arn(queue.dlq_url)
        assert int(policy["maxReceiveCount"]) == 5
        assert attributes(queue.queue_url)["VisibilityTimeout"] == "30"
        assert attributes(queue.dlq_url)["MessageRetentionPeriod"] == "1209600"

    def test_document_has_the_field_names_of_the_reference_system(self) -> None:
        queue = services.create("orders", settings={"concurrency": 3, "priority": 2})

        found = document("orders")
        assert isinstance(found["_id"], ObjectId)
        assert found["_id"] == queue.id
        assert found["queueUrl"] == queue.queue_url
        assert found["dlqUrl"] == queue.dlq_url
        assert found["concurrency"] == 3
        assert found["priority"] == 2
        assert found["handler"] == "log"
        assert found["handlerOptions"] == {}
        assert found["paused"] is False
        assert found["maxConsumers"] == 1
        assert found["visibilityTimeout"] == 30
        assert found["maxReceiveCount"] == 5
        assert found["createdAt"] == found["updatedAt"] == found["syncedAt"]
        assert found["createdAt"].tzinfo is not None

    def test_a_queue_that_is_taken_over_is_looked_at_since_it_may_hold_messages(self, queues: SQSClient) -> None:
        services.create("new")
        queues.create_queue(QueueName=services.sqs_name("taken"))
        services.create("taken", take_over=True)

        assert not services.get("new").wake_pending
        assert services.get("taken").wake_pending

    def test_concurrency_is_the_configured_default(self, configure: Configure) -> None:
        configure(default_concurrency=2)

        assert services.create("orders").concurrency == 2

    def test_all_settings_arrive(self) -> None:
        settings = {
            "concurrency": 1,
            "handler": "simulate",
            "handler_options": {"min_seconds": 0, "max_seconds": 0.5},
            "priority": 9,
            "max_consumers": 4,
            "visibility_timeout": 43_200,
            "max_receive_count": 1_000,
        }
        services.create("orders", settings=settings)

        queue = services.get("orders")
        assert {name: getattr(queue, name) for name in settings} == settings
        assert attributes(queue.queue_url)["VisibilityTimeout"] == "43200"
        assert int(json.loads(attributes(queue.queue_url)["RedrivePolicy"])["maxReceiveCount"]) == 1_000

    def test_without_a_dead_letter_queue(self) -> None:
        queue = services.create("orders", with_dlq=False)

        assert names_in_sqs() == ["orders"]
        assert queue.dlq_url is None
        assert document("orders")["dlqUrl"] is None
        assert "RedrivePolicy" not in attributes(queue.queue_url)

    def test_fifo_queue_has_a_fifo_dead_letter_queue(self) -> None:
        queue = services.create("orders.fifo")

        assert queue.fifo
        assert names_in_sqs() == ["orders-dlq.fifo", "orders.fifo"]
        assert queue.dlq_url is not None
        for url in (queue.queue_url, queue.dlq_url):
            assert attributes(url)["FifoQueue"] == "true"

    def test_settings_that_only_a_fifo_queue_has(self) -> None:
        settings = {"content_based_deduplication": True, "high_throughput": True}
        with pytest.raises(InvalidInput) as caught:
            services.create("orders", settings=settings)
        assert [field for field, _ in caught.value.fields] == list(settings)
        assert "high throughput is only for FIFO queues, whose names end in .fifo, which 'orders'" in str(caught.value)
        assert names_in_sqs() == []

        found = attributes(services.create("orders.fifo", settings=settings).queue_url)
        assert found["ContentBasedDeduplication"] == "true"
        assert (found["DeduplicationScope"], found["FifoThroughputLimit"]) == ("messageGroup", "perMessageGroupId")

        services.update("orders.fifo", {"high_throughput": False})
        found = attributes(services.get("orders.fifo").queue_url)
        assert (found["DeduplicationScope"], found["FifoThroughputLimit"]) == ("queue", "perQueue")
        assert found["ContentBasedDeduplication"] == "true"

        services.create("plain")
        with pytest.raises(InvalidInput, match="is only for FIFO queues"):
            services.update("plain", {"high_throughput": False})

    def test_prefix_is_in_sqs_alone(self, configure: Configure) -> None:
        prefix = get_config().queue_name_prefix + "p-"
        configure(queue_name_prefix=prefix)

        queue = services.create("orders")

        assert queue.name == document("orders")["name"] == "orders"
        assert queue.queue_url.endswith(f"/{prefix}orders")
        assert queue.dlq_url is not None
        assert queue.dlq_url.endswith(f"/{prefix}orders-dlq")

    @pytest.mark.parametrize("existing", ["orders", "orders-dlq"])
    def test_queue_that_sqs_has_already_is_refused_and_left_as_it_is(self, existing: str, queues: SQSClient) -> None:
        name = services.sqs_name(existing)
        url = queues.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "5"})["QueueUrl"]
        before = attributes(url)

        with pytest.raises(Conflict, match=f"'{name}' already.*sqs adopt {name} .*--take-over"):
            services.create("orders", settings={"visibility_timeout": 60})

        assert attributes(url) == before
        assert names_in_sqs() == [existing]
        assert collection(Queue).count_documents({}) == 0

    def test_queue_that_somebody_makes_meanwhile_is_left_as_it_is(self, faulty: SqsProxy) -> None:
        made = {"QueueName": services.sqs_name("orders"), "Attributes": {"VisibilityTimeout": "5"}}

        def create(parameters: dict[str, Any], forward: Forward) -> dict[str, Any]:
            if parameters["QueueName"] == made["QueueName"]:
                faulty.ask("CreateQueue", made)
            return forward(parameters)

        faulty.answer("CreateQueue", create)

        with pytest.raises(Conflict, match="already, with other attributes"):
            services.create("orders", settings={"visibility_timeout": 60})

        url = get_gateway().queue_url(services.sqs_name("orders"))
        assert attributes(str(url))["VisibilityTimeout"] == "5"
        assert collection(Queue).count_documents({}) == 0

    def test_queue_that_sqs_has_already_is_taken_over_with_its_messages(self, queues: SQSClient) -> None:
        url = queues.create_queue(QueueName=services.sqs_name("orders"), Attributes={"VisibilityTimeout": "5"})[
            "QueueUrl"
        ]
        queues.send_message(QueueUrl=url, MessageBody="was here before")

        queue = services.create("orders", settings={"visibility_timeout": 60}, take_over=True)

        assert queue.queue_url == url
        eventually(lambda: attributes(url)["VisibilityTimeout"] == "60", 60, "the attribute is set")
        assert "RedrivePolicy" in attributes(url)
        assert services.size("orders").depth.visible == 1

    def test_duplicate_is_refused_and_changes_nothing(self) -> None:
        queue = services.create("orders", settings={"visibility_timeout": 60})

        with pytest.raises(Conflict, match="'orders' exists already"):
            services.create("orders", settings={"visibility_timeout": 30})

        assert attributes(queue.queue_url)["VisibilityTimeout"] == "60"
        assert collection(Queue).count_documents({}) == 1

    def test_of_many_who_create_at_once_one_wins_and_the_queue_works(self) -> None:
        start = threading.Barrier(8)

        def create(_: int) -> str:
            start.wait()
            try:
                services.create("orders")
            except Conflict:
                return "conflict"
            return "created"

        with ThreadPoolExecutor(8) as pool:
            outcomes = sorted(pool.map(create, range(8)))

        assert outcomes == ["conflict"] * 7 + ["created"]
        assert names_in_sqs() == ["orders", "orders-dlq"]
        assert services.size("orders").depth.total == 0

    def test_loser_of_a_race_does_not_delete_the_winners_queues(self, monkeypatch: pytest.MonkeyPatch) -> None:
        services.create("orders")
        # The loser asked before the winner's document was there.
        monkeypatch.setattr(repository, "exists", lambda name: False)

        with pytest.raises(Conflict):
            services.create("orders")

        assert names_in_sqs() == ["orders", "orders-dlq"]

    @pytest.mark.parametrize(("queue", "dead"), [("orders", "orders-dlq"), ("orders.fifo", "orders-dlq.fifo")])
    def test_queue_is_never_the_dead_letter_queue_of_another(self, queue: str, dead: str) -> None:
        services.create(queue)

        with pytest.raises(Conflict, match=f"'{dead}' is the dead-letter queue of '{queue}'"):
            services.create(dead)

    def test_queue_that_is_defined_is_not_taken_as_a_dead_letter_queue(self) -> None:
        services.create("orders-dlq")

        with pytest.raises(Conflict, match="create it without a dead-letter queue"):
            services.create("orders")
        services.create("orders", with_dlq=False)

        assert services.get("orders").dlq_url is None
        services.delete("orders")
        assert names_in_sqs() == ["orders-dlq", "orders-dlq-dlq"]

    def test_name_of_a_dead_letter_queue_is_free_where_there_is_none(self) -> None:
        services.create("orders", with_dlq=False)

        services.create("orders-dlq")

        assert [queue.name for queue in services.list_queues()] == ["orders", "orders-dlq"]

    @pytest.mark.parametrize(
        ("name", "settings", "words"),
        [
            ("or ders", {}, "'or ders' is not valid"),
            ("", {}, "'' is not valid"),
            ("ä", {}, "'ä' is not valid"),
            ("x" * 77, {}, "too long"),
            ("orders", {"concurrency": 0}, "from 1 to 5 (MAX_CONCURRENCY)"),
            ("orders", {"concurrency": 6}, "concurrency 6 is out of range"),
            ("orders", {"concurrency": True}, "concurrency True is out of range"),
            ("orders", {"concurrency": "3"}, "concurrency '3' is out of range"),
            ("orders", {"priority": 10}, "from 0 to 9"),
            ("orders", {"priority": -1}, "from 0 to 9"),
            ("orders", {"max_consumers": 0}, "max consumers 0"),
            ("orders", {"max_consumers": 101}, "from 1 to 100"),
            ("orders", {"visibility_timeout": 0}, "from 1 to 43200"),
            ("orders", {"visibility_timeout": 43_201}, "from 1 to 43200"),
            ("orders", {"max_receive_count": 0}, "from 1 to 1000"),
            ("orders", {"max_receive_count": 1_001}, "from 1 to 1000"),
            ("orders", {"handler": "x" * 101}, "expected 1 to 100 printable characters"),
            ("orders", {"handler_options": {"a": 1}}, "takes no options, but got a"),
            ("orders", {"handler_options": [1]}, "expected a JSON object"),
            ("orders", {"handler_options": {"a": "x" * 65_536}}, "65,545 bytes as JSON: expected 65,536 at most"),
            ("orders", {"handler": "http"}, "url: Field required"),
            ("orders", {"handler": "simulate", "handler_options": {"min_seconds": -1}}, "min_seconds"),
            ("orders", {"colour": "red"}, "'colour' is not a setting of a queue"),
        ],
    )
    def test_bad_input_makes_nothing(self, faulty: SqsProxy, name: str, settings: dict[str, Any], words: str) -> None:
        with pytest.raises(InvalidInput) as caught:
            services.create(name, settings=settings)

        assert words in str(caught.value)
        assert "\n" not in str(caught.value)
        assert faulty.requests == []
        assert collection(Queue).count_documents({}) == 0

    @pytest.mark.parametrize("failing", [1, 2], ids=["dead-letter queue", "queue"])
    def test_refusal_of_sqs_leaves_nothing(self, faulty: SqsProxy, failing: int) -> None:
        created = 0

        def create(parameters: dict[str, Any], forward: Callable[..., dict[str, Any]]) -> dict[str, Any]:
            nonlocal created
            created += 1
            if created == failing:
                raise Refused("AccessDenied", "not you", 403)
            return forward(parameters)

        faulty.answer("CreateQueue", create)

        with pytest.raises(SqsDenied, match="not you"):
            services.create("orders")

        nothing_is_left()

    def test_failure_between_the_two_queues_leaves_nothing(self, faulty: SqsProxy) -> None:
        faulty.refuse("GetQueueAttributes", "InternalFailure", status=500)

        with pytest.raises(SqsUnavailable):
            services.create("orders")

        assert faulty.count("CreateQueue") == 1
        nothing_is_left()

    def test_failure_of_mongodb_leaves_nothing_in_sqs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def away(queue: Queue) -> Queue:
            raise AutoReconnect("connection closed")

        monkeypatch.setattr(repository, "insert", away)

        with pytest.raises(AutoReconnect):
            services.create("orders")

        nothing_is_left()

    def test_failure_does_not_delete_a_queue_that_was_there(
        self, queues: SQSClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        queues.create_queue(QueueName=services.sqs_name("orders"))
        monkeypatch.setattr(repository, "insert", lambda queue: 1 / 0)

        with pytest.raises(ZeroDivisionError):
            services.create("orders", take_over=True)

        eventually(lambda: names_in_sqs() == ["orders"], 60, "only the queue that was there before is there")

    def test_failure_that_cannot_be_cleaned_up_is_the_one_reported(self, faulty: SqsProxy) -> None:
        faulty.refuse("GetQueueAttributes", "InvalidAttributeName", "the first failure")
        faulty.refuse("DeleteQueue", "AccessDenied", "the second failure", status=403)

        with pytest.raises(SqsRejected, match="the first failure"):
            services.create("orders")

    def test_name_that_aws_makes_one_wait_for(self, faulty: SqsProxy) -> None:
        faulty.refuse("CreateQueue", "AWS.SimpleQueueService.QueueDeletedRecently")

        with pytest.raises(Conflict, match="less than 60 s ago"):
            services.create("orders")

        nothing_is_left()


class TestUpdate:
    def test_settings_change_here_and_in_sqs(self) -> None:
        queue = services.create("orders")

        services.update("orders", {"concurrency": 1, "visibility_timeout": 99, "max_receive_count": 7})

        assert services.get("orders").concurrency == 1
        found = attributes(queue.queue_url)
        assert found["VisibilityTimeout"] == "99"
        assert int(json.loads(found["RedrivePolicy"])["maxReceiveCount"]) == 7

    def test_change_is_dated(self) -> None:
        before = records.aged(services.create("orders"))

        services.update("orders", {"priority": 3})

        after = services.get("orders")
        assert given(after.updated_at) > given(before.updated_at)
        assert after.created_at == services.get("orders").created_at

    def test_sqs_is_not_asked_for_what_it_does_not_know(self, faulty: SqsProxy) -> None:
        services.create("orders")
        before = len(faulty.requests)

        services.update("orders", {"concurrency": 1, "priority": 3, "handler": "simulate"})

        assert len(faulty.requests) == before

    def test_no_change_writes_nothing(self) -> None:
        services.create("orders")
        before = document("orders")

        services.update("orders", {})

        assert document("orders") == before

    def test_fifo_queue(self) -> None:
        queue = services.create("orders.fifo")

        services.update("orders.fifo", {"visibility_timeout": 99})

        assert attributes(queue.queue_url)["VisibilityTimeout"] == "99"

    def test_queue_without_dead_letter_queue(self) -> None:
        queue = services.create("orders", with_dlq=False)

        services.update("orders", {"max_receive_count": 9})

        assert "RedrivePolicy" not in attributes(queue.queue_url)
        assert services.get("orders").max_receive_count == 9

    def test_handler_and_its_options_are_checked_together(self) -> None:
        services.create("orders", settings={"handler": "simulate", "handler_options": {"max_seconds": 2}})

        with pytest.raises(InvalidInput, match="takes no options, but got max_seconds"):
            services.update("orders", {"handler": "log"})
        services.update("orders", {"handler": "log", "handler_options": {}})

        assert services.get("orders").handler == "log"

    def test_refusal_of_sqs_keeps_the_definition(self, faulty: SqsProxy) -> None:
        services.create("orders")
        faulty.refuse("SetQueueAttributes", "InvalidAttributeValue")

        with pytest.raises(SqsRejected):
            services.update("orders", {"visibility_timeout": 99})

        assert services.get("orders").visibility_timeout == 30

    def test_bad_value_changes_nothing(self) -> None:
        services.create("orders")
        before = document("orders")

        with pytest.raises(InvalidInput):
            services.update("orders", {"priority": 3, "concurrency": 99})

        assert document("orders") == before

    def test_unknown_queue(self) -> None:
        with pytest.raises(NotFound, match="no queue 'nothing'"):
            services.update("nothing", {"priority": 1})

    def test_queue_deleted_meanwhile(self) -> None:
        queue = services.create("orders")
        repository.delete(queue.id)

        with pytest.raises(NotFound, match="any more"):
            repository.update(queue.id, {"priority": 1})


class TestDelete:
    def test_queue_and_its_dead_letter_queue_go(self) -> None:
        services.create("orders")

        services.delete("orders")

        nothing_is_left()

    def test_without_dead_letter_queue(self) -> None:
        services.create("orders", with_dlq=False)

        services.delete("orders")

        nothing_is_left()

    @pytest.mark.parametrize("failing", [1, 2], ids=["queue", "dead-letter queue"])
    def test_refusal_of_sqs_keeps_the_definition(self, faulty: SqsProxy, failing: int) -> None:
        queue = services.create("orders")
        if failing == 1:
            faulty.refuse("DeleteQueue", "AccessDenied", status=403)
        else:
            faulty.answer("DeleteQueue", lambda parameters, forward: forward(parameters), times=1)
            faulty.refuse("DeleteQueue", "AccessDenied", status=403)

        with pytest.raises(SqsDenied):
            services.delete("orders")

        assert document("orders")["_id"] == queue.id
        faulty.heal()
        services.delete("orders")  # what is half gone can be deleted
        nothing_is_left()

    def test_queue_that_sqs_lost_can_be_deleted(self, queues: SQSClient) -> None:
        queue = services.create("orders")
        queues.delete_queue(QueueUrl=queue.queue_url)

        services.delete("orders")

        nothing_is_left()

    def test_unknown_queue(self) -> None:
        with pytest.raises(NotFound):
            services.delete("nothing")


class TestPauseAndNotify:
    def test_pause_and_resume(self) -> None:
        services.create("orders")

        assert services.set_paused("orders", True)
        assert services.get("orders").paused
        assert not services.set_paused("orders", True)
        assert services.set_paused("orders", False)
        assert not services.get("orders").paused
        assert not services.set_paused("orders", False)

    def test_resumed_queue_is_looked_at(self) -> None:
        services.create("orders")
        services.set_paused("orders", True)
        assert not services.get("orders").wake_pending

        services.set_paused("orders", False)

        assert services.get("orders").wake_pending

    def test_notify_wakes(self) -> None:
        services.create("orders")
        assert not services.get("orders").wake_pending

        services.notify("orders")

        assert services.get("orders").wake_pending

    @pytest.mark.parametrize("operation", [services.notify, services.purge, services.size, services.get])
    def test_unknown_queue(self, operation: Callable[[str], object]) -> None:
        with pytest.raises(NotFound, match="'nothing'"):
            operation("nothing")


class TestSizeAndPurge:
    def test_size_counts_what_there_is(self) -> None:
        queue = services.create("orders")
        gateway = get_gateway()
        gateway.send(queue.queue_url, [OutgoingMessage(f"m{i}") for i in range(4)])
        gateway.send(queue.queue_url, [OutgoingMessage("later", delay=900)])
        assert queue.dlq_url is not None
        gateway.send(queue.dlq_url, [OutgoingMessage("dead"), OutgoingMessage("deader")])
        gateway.receive(queue.queue_url, limit=1, wait=1)

        expected = {"name": "orders", "visible": 3, "inFlight": 1, "delayed": 1, "deadLetters": 2}
        eventually(lambda: services.size("orders").as_dict() == expected, 60, f"the size is {expected}")

    def test_size_without_dead_letter_queue(self) -> None:
        services.create("orders", with_dlq=False)

        assert services.size("orders").dead_letters == 0

    def test_dead_letter_queue_that_is_gone_counts_as_empty(self, queues: SQSClient) -> None:
        queue = services.create("orders")
        assert queue.dlq_url is not None
        queues.delete_queue(QueueUrl=queue.dlq_url)

        assert services.size("orders").dead_letters == 0

    def test_queue_that_is_gone_is_an_error(self, queues: SQSClient) -> None:
        queue = services.create("orders")
        queues.delete_queue(QueueUrl=queue.queue_url)

        with pytest.raises(QueueMissing, match="sqs sync"):
            services.size("orders")

    def test_purge_empties_the_queue_and_not_its_dead_letters(self) -> None:
        queue = services.create("orders")
        assert queue.dlq_url is not None
        get_gateway().send(queue.queue_url, [OutgoingMessage("a")])
        get_gateway().send(queue.dlq_url, [OutgoingMessage("dead")])
        repository.observed({queue.id: Depth(1, 0, 0)})

        services.purge("orders")

        eventually(lambda: services.size("orders").depth.total == 0, 70, "the queue is empty")
        assert services.size("orders").dead_letters == 1
        assert services.get("orders").depth == Depth(0, 0, 0)

    def test_purge_too_soon_after_another(self, faulty: SqsProxy) -> None:
        services.create("orders")
        faulty.refuse("PurgeQueue", "AWS.SimpleQueueService.PurgeQueueInProgress", status=403)

        with pytest.raises(Conflict, match="one purge a minute"):
            services.purge("orders")


class TestList:
    def test_queues_are_sorted_by_name(self) -> None:
        for name in ("b", "a", "c"):
            services.create(name)

        assert [queue.name for queue in services.list_queues()] == ["a", "b", "c"]

    def test_no_queues(self) -> None:
        assert services.list_queues() == []
