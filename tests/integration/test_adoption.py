"""Queues that others own: adopted, followed, never written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from queues import adopted_repository, adoption, messages, observation, peek, repository, services
from queues.models import Queue
from queues.sqs import OutgoingMessage, get_gateway
from queues.sync import sync
from queuesite.foundation.config import get_config
from queuesite.foundation.databases import collection
from queuesite.foundation.errors import Conflict, InvalidInput, NotFound, QueuesiteError, SqsDenied, SqsRejected
from tests.conftest import Configure
from tests.support import records
from tests.support.adopted import Owner
from tests.support.faults import Forward, Refused, SqsProxy
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient

pytestmark = pytest.mark.usefixtures("queues")

Parameters = dict[str, Any]
#: Requests that change a queue itself.
WRITES = ("CreateQueue", "SetQueueAttributes", "DeleteQueue", "TagQueue", "UntagQueue", "AddPermission", "PurgeQueue")


#: More of what an owner may have set.
MANY = {
    "Policy": json.dumps({"Version": "2012-10-17", "Statement": []}),
    "SqsManagedSseEnabled": "false",
    "KmsMasterKeyId": "alias/orders",
    "KmsDataKeyReusePeriodSeconds": "600",
    "RedriveAllowPolicy": json.dumps({"redrivePermission": "denyAll"}),
    "DelaySeconds": "1",
}


@pytest.fixture
def owner(queues: SQSClient) -> Owner:
    return Owner(queues, get_config().queue_name_prefix)


@pytest.fixture
def elsewhere(queues: SQSClient) -> Iterator[Owner]:
    """Somebody with queues in another region, which are deleted afterwards."""
    client = boto3.client("sqs", region_name="eu-west-1", endpoint_url=queues.meta.endpoint_url)
    owner = Owner(client, get_config().queue_name_prefix)
    yield owner
    owner.delete_all()


def nothing_here() -> None:
    assert collection(Queue).count_documents({}) == 0


class TestAdopt:
    def test_definition_is_as_sqs_holds_it(self, owner: Owner) -> None:
        url = owner.make("orders")

        queue = adoption.adopt(owner.name("orders"), handler="simulate", settings={"concurrency": 3, "priority": 2})

        assert queue.name == owner.name("orders")
        assert queue.queue_url == url
        assert not queue.managed
        assert (queue.handler, queue.concurrency, queue.priority) == ("simulate", 3, 2)
        assert (queue.visibility_timeout, queue.max_receive_count) == (300, 10)
        assert queue.dlq_url == owner.url("orders-dead")
        assert (queue.retention_seconds, queue.max_message_bytes) == (86_400, 2_048)
        assert queue.queue_arn == owner.arn("orders")
        assert (queue.region, queue.account) == ("us-east-1", "000000000000")
        assert services.get(queue.name).wake_pending

    def test_document_says_so_with_added_fields_only(self, owner: Owner) -> None:
        owner.make("orders")
        adoption.adopt(owner.name("orders"), handler="log")
        services.create("ours")

        theirs, ours = (collection(Queue).find_one({"managed": managed}) or {} for managed in (False, True))
        assert set(theirs) == set(ours)
        assert theirs["visibilityTimeout"] == 300
        assert ours["name"] == "ours"
        assert [ours[name] for name in ("queueArn", "retentionSeconds", "maxMessageBytes", "vanishedAt")] == [None] * 4

    def test_document_from_before_is_of_a_queue_of_ours(self) -> None:
        services.create("ours")
        fields = ("managed", "queueArn", "retentionSeconds", "maxMessageBytes", "vanishedAt")
        collection(Queue).update_one({}, {"$unset": dict.fromkeys(fields, "")})

        assert services.get("ours").managed
        assert services.get("ours").region is None

    @pytest.mark.parametrize("how", ["url", "arn"])
    def test_by_url_and_arn(self, how: str, owner: Owner) -> None:
        url = owner.make("orders")

        queue = adoption.adopt(url if how == "url" else owner.arn("orders"), handler="log", name="theirs")

        assert (queue.name, queue.queue_url) == ("theirs", url)

    def test_without_a_redrive_policy(self, owner: Owner) -> None:
        owner.make("orders", {"VisibilityTimeout": "0"}, dead=None)

        queue = adoption.adopt(owner.name("orders"), handler="log")

        assert queue.dlq_url is None
        assert queue.max_receive_count == 5
        assert queue.visibility_timeout == 30

    def test_fifo(self, owner: Owner) -> None:
        owner.make("orders.fifo", dead="orders-dead.fifo")

        queue = adoption.adopt(owner.name("orders.fifo"), handler="log")

        assert queue.fifo
        assert queue.dlq_url == owner.url("orders-dead.fifo")
        assert (queue.content_based_deduplication, queue.high_throughput) == (False, False)
        owner.change("orders.fifo", {"ContentBasedDeduplication": "true", "DeduplicationScope": "messageGroup"})
        assert sync().followed == [queue.name]
        queue = services.get(queue.name)
        assert (queue.content_based_deduplication, queue.high_throughput) == (True, False)
        with pytest.raises(InvalidInput, match=r"deduplication of queue .* is true and belongs to the owner"):
            services.update(queue.name, {"content_based_deduplication": False})
        with pytest.raises(InvalidInput, match="'orders' does not fit queue"):
            adoption.adopt(owner.name("orders.fifo"), handler="log", name="orders")

    def test_region_of_its_own(self, elsewhere: Owner) -> None:
        url = elsewhere.make("orders")

        queue = adoption.adopt(elsewhere.arn("orders"), handler="log")

        assert queue.region == "eu-west-1"
        assert messages.send(queue.name, [OutgoingMessage("a")]).sent == 1
        assert services.size(queue.name).depth.visible == 1
        assert elsewhere.client.receive_message(QueueUrl=url)["Messages"][0]["Body"] == "a"
        assert [one.body for one in peek.peek(queue.name, 1).messages] == []  # it is in flight there
        assert get_gateway().queue_url(elsewhere.name("orders")) is None
        services.purge(queue.name)
        assert sync().unchanged == 1

    def test_account_of_its_own(self, owner: Owner, faulty: SqsProxy) -> None:
        owner.make("orders")
        asked: list[Any] = []

        def answer(parameters: Parameters, forward: Forward) -> Parameters:
            asked.append((parameters["QueueName"], parameters.pop("QueueOwnerAWSAccountId", None)))
            return forward(parameters)

        faulty.answer("GetQueueUrl", answer)
        adoption.adopt(f"arn:aws:sqs:us-east-1:999988887777:{owner.name('orders')}", handler="log")

        # The dead-letter queue is asked for in the account that its own ARN names.
        assert asked == [(owner.name("orders"), "999988887777"), (owner.name("orders-dead"), "000000000000")]


class TestBadInput:
    def test_queue_that_sqs_does_not_have(self) -> None:
        with pytest.raises(NotFound, match=r"no queue 'no-such' .*account 123456789012, region eu-west-1.*GetQueueUrl"):
            adoption.adopt("arn:aws:sqs:eu-west-1:123456789012:no-such", handler="log")
        nothing_here()

    @pytest.mark.parametrize("action", ["GetQueueUrl", "GetQueueAttributes"])
    def test_queue_that_may_not_be_read(self, action: str, owner: Owner, faulty: SqsProxy) -> None:
        owner.make("orders")
        faulty.refuse(action, "AccessDenied", "no identity-based policy allows it", status=403)

        with pytest.raises(
            SqsDenied, match=r"does not let these credentials read queue .*: allow sqs:GetQueueUrl"
        ) as e:
            adoption.adopt(owner.name("orders"), handler="log")
        assert "allow sqs:GetQueueUrl" in str(e.value.public)
        assert "identity-based" not in str(e.value.public)
        nothing_here()

    def test_dead_letter_queue_that_may_not_be_read(self, owner: Owner, faulty: SqsProxy) -> None:
        owner.make("orders")

        def answer(parameters: Parameters, forward: Forward) -> Parameters:
            if parameters["QueueUrl"].endswith("-dead"):
                raise Refused("AccessDenied", status=403)
            return forward(parameters)

        faulty.answer("GetQueueAttributes", answer)
        with pytest.raises(SqsDenied, match="on both"):
            adoption.adopt(owner.name("orders"), handler="log")
        nothing_here()

    def test_dead_letter_queue_that_is_gone(self, owner: Owner) -> None:
        owner.make("orders")
        owner.delete("orders-dead")

        with pytest.raises(SqsRejected, match=r"names the dead-letter queue .*-dead'.* does not have"):
            adoption.adopt(owner.name("orders"), handler="log")
        nothing_here()

    def test_twice(self, owner: Owner) -> None:
        owner.make("orders")
        adoption.adopt(owner.name("orders"), handler="log", name="theirs")

        for name in ("theirs", "other", None):
            with pytest.raises(Conflict, match="is queue 'theirs' here already"):
                adoption.adopt(owner.arn("orders"), handler="log", name=name)
        assert collection(Queue).count_documents({}) == 1

    def test_twice_though_urls_have_another_form_now(self, owner: Owner) -> None:
        queue = adoption.adopt(owner.make("orders"), handler="log", name="theirs")
        repository.update(queue.id, {"queue_url": queue.queue_url.replace("127.0.0.1", "localhost")})

        with pytest.raises(Conflict, match="is queue 'theirs' here already"):
            adoption.adopt(owner.name("orders"), handler="log", name="other")

    def test_twice_at_once(self, owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
        owner.make("orders")
        adoption.adopt(owner.name("orders"), handler="log", name="theirs")
        monkeypatch.setattr(adopted_repository, "holder", lambda *_: None)

        with pytest.raises(Conflict, match="is queue 'theirs' here already"):
            adoption.adopt(owner.arn("orders"), handler="log", name="other")

    def test_name_that_exists(self, owner: Owner) -> None:
        services.create("orders")
        owner.make("theirs")

        with pytest.raises(Conflict, match=r"'orders' exists already; adopt .* under another name"):
            adoption.adopt(owner.name("theirs"), handler="log", name="orders")

    def test_queue_of_ours(self, owner: Owner) -> None:
        services.create("orders")

        with pytest.raises(Conflict, match="is queue 'orders' here already"):
            adoption.adopt(services.sqs_name("orders"), handler="log")

    def test_dead_letter_queue_of_ours(self) -> None:
        services.create("orders")

        with pytest.raises(Conflict, match="is the dead-letter queue of 'orders' here"):
            adoption.adopt(services.sqs_name("orders-dlq"), handler="log")

    def test_queue_whose_dead_letters_are_processed_here(self, owner: Owner) -> None:
        owner.make("orders")
        adoption.adopt(owner.name("orders-dead"), handler="log", name="dead")

        with pytest.raises(Conflict, match="is queue 'dead' here: its dead letters would be processed"):
            adoption.adopt(owner.name("orders"), handler="log")

    def test_names_here_that_are_not_valid(self, owner: Owner) -> None:
        owner.make("orders")
        with pytest.raises(InvalidInput, match="queue name 'or ders' is not valid"):
            adoption.adopt(owner.name("orders"), handler="log", name="or ders")

    @pytest.mark.parametrize(
        ("handler", "settings", "words"),
        [
            ("", {}, "handler"),
            ("log", {"concurrency": 0}, "concurrency 0 is out of range"),
            ("log", {"visibility_timeout": 60}, "'visibility_timeout' is not a setting"),
        ],
    )
    def test_settings(self, handler: str, settings: dict[str, Any], words: str, owner: Owner) -> None:
        owner.make("orders")
        with pytest.raises(InvalidInput, match=words):
            adoption.adopt(owner.name("orders"), handler=handler, settings=settings)
        nothing_here()

    def test_region_that_the_address_does_not_serve(self, configure: Configure) -> None:
        configure(aws_sqs_endpoint="https://sqs.us-east-1.amazonaws.com")

        with pytest.raises(InvalidInput, match="region 'eu-west-1' cannot be reached"):
            adoption.adopt("arn:aws:sqs:eu-west-1:123456789012:orders", handler="log")

    def test_create_of_a_queue_that_is_adopted(self, owner: Owner) -> None:
        url = owner.make("orders")
        adoption.adopt(url, handler="log", name="theirs")
        before = owner.attributes("orders")

        for take_over in (False, True):
            with pytest.raises(Conflict, match="is the queue of 'theirs' here"):
                services.create("orders", take_over=take_over)
        assert owner.attributes("orders") == before


class TestTheyStayAsTheyAre:
    def test_attributes_are_equal_after_everything_that_is_done_here(self, owner: Owner, faulty: SqsProxy) -> None:
        url = owner.make("orders", MANY)
        before = {name: owner.attributes(name) for name in ("orders", "orders-dead")}
        assert len(before["orders"]) >= 12
        for _ in range(2):
            with pytest.raises(Conflict):
                services.create("orders", settings={"visibility_timeout": 60})
            name = adoption.adopt(url, handler="log", name="theirs").name
            services.delete(name)
        name = adoption.adopt(url, handler="log").name
        sync()
        services.update(name, {"concurrency": 2, "handler": "simulate", "priority": 3, "max_consumers": 2})
        services.update(name, {"visibility_timeout": 300, "max_receive_count": 10})  # as they are
        services.set_paused(name, True)
        services.set_paused(name, False)
        sync()
        services.size(name)
        messages.send(name, [OutgoingMessage("a")])
        peek.peek(name, 1)
        observation.observe_dead_letters()
        services.delete(name)
        sync()

        assert {name: owner.attributes(name) for name in before} == before
        assert [action for action, _ in faulty.requests if action in WRITES] == []
        assert services.list_queues() == []

    @pytest.mark.parametrize(("setting", "value"), [("visibility_timeout", 60), ("max_receive_count", 5)])
    def test_what_sqs_holds_is_its_owner_s(self, setting: str, value: int, owner: Owner) -> None:
        name = adoption.adopt(owner.make("orders"), handler="log").name

        with pytest.raises(InvalidInput, match=f"belongs to the owner of {owner.arn('orders')}: change it") as caught:
            services.update(name, {setting: value, "concurrency": 2})

        assert caught.value.field == setting
        assert services.get(name).concurrency != 2

    def test_purge_and_redrive_are_theirs_to_allow(self, owner: Owner, faulty: SqsProxy) -> None:
        name = adoption.adopt(owner.make("orders"), handler="log").name
        owner.client.send_message(QueueUrl=owner.url("orders-dead"), MessageBody="dead")
        for action in ("PurgeQueue", "StartMessageMoveTask"):
            faulty.refuse(action, "AccessDenied", "not allowed", status=403, times=1)

        for act in (services.purge, messages.redrive):
            with pytest.raises(SqsDenied, match="not allowed"):
                act(name)
        assert messages.redrive(name).moved == 1
        services.purge(name)


class TestSync:
    def test_what_the_owner_changed_is_followed(self, owner: Owner) -> None:
        name = adoption.adopt(owner.make("orders"), handler="log").name
        before = records.aged(services.get(name))
        owner.make("other-dead", dead=None)
        policy = {"deadLetterTargetArn": owner.arn("other-dead"), "maxReceiveCount": "3"}
        changed = {
            "VisibilityTimeout": "77",
            "RedrivePolicy": json.dumps(policy),
            "MessageRetentionPeriod": "120",
            "MaximumMessageSize": "4096",
        }
        owner.change("orders", changed)

        report = sync()

        assert (report.followed, report.changed) == ([name], [])
        queue = services.get(name)
        assert (queue.visibility_timeout, queue.max_receive_count) == (77, 3)
        assert (queue.retention_seconds, queue.max_message_bytes) == (120, 4_096)
        assert queue.dlq_url == owner.url("other-dead")
        assert queue.updated_at is not None
        assert before.updated_at is not None
        assert queue.updated_at > before.updated_at  # so that masters and workers follow
        assert sync().unchanged == 1

    def test_redrive_policy_that_is_gone(self, owner: Owner) -> None:
        name = adoption.adopt(owner.make("orders"), handler="log").name
        owner.change("orders", {"RedrivePolicy": ""})

        assert sync().followed == [name]
        assert (services.get(name).dlq_url, services.get(name).max_receive_count) == (None, 5)

    def test_queue_that_has_vanished_is_reported_and_not_created(self, owner: Owner) -> None:
        name = adoption.adopt(owner.make("orders"), handler="log").name
        owner.delete("orders")

        for _ in range(2):
            report = sync()
            assert report.vanished == [name]
            assert "1 vanished" in report.summary
            assert get_gateway().queue_url(name) is None
        first = services.get(name).vanished_at
        assert first is not None

        owner.make("orders")
        assert sync().followed == [name]
        assert services.get(name).vanished_at is None
        services.delete(name)
        assert owner.url("orders")

    def test_one_that_may_not_be_read_any_more_does_not_stop_the_others(self, owner: Owner, faulty: SqsProxy) -> None:
        name = adoption.adopt(owner.make("orders"), handler="log").name
        ours = services.create("ours")
        get_gateway().delete_queue(ours.queue_url)

        def answer(parameters: Parameters, forward: Forward) -> Parameters:
            if parameters["QueueUrl"].endswith("orders"):
                raise Refused("AccessDenied", "not any more", 403)
            return forward(parameters)

        faulty.answer("GetQueueAttributes", answer)
        report = sync()

        assert list(report.failed) == [name]
        assert "not any more" in report.failed[name]
        assert report.created == ["ours"]

    def test_adopted_queues_are_not_only_in_sqs(self, owner: Owner) -> None:
        owner.make("stray", dead=None)
        adoption.adopt(owner.make("orders"), handler="log")

        assert sync().only_in_sqs == [owner.name("stray")]

    def test_half_made_queue_of_ours_is_still_mended(self, owner: Owner) -> None:
        """The row is there, and SQS has the queue with other attributes: it is ours."""
        queue = services.create("orders", settings={"visibility_timeout": 60})
        owner.client.set_queue_attributes(QueueUrl=queue.queue_url, Attributes={"VisibilityTimeout": "1"})
        get_gateway().delete_queue(str(queue.dlq_url))

        sync()

        eventually(lambda: owner.attributes("orders")["VisibilityTimeout"] == "60", 60, "it is mended")
        assert owner.url("orders-dlq")


class TestMessages:
    def test_largest_message_is_the_queue_s(self, owner: Owner) -> None:
        name = adoption.adopt(owner.make("orders"), handler="log").name

        with pytest.raises(InvalidInput, match="2,049 bytes with its attributes: the queue takes 2,048"):
            messages.send(name, [OutgoingMessage("x" * 2_049)])
        assert messages.send(name, [OutgoingMessage("x" * 2_048)]).sent == 1

    def test_dead_letters_of_several_queues_are_not_redriven_to_one(self, owner: Owner) -> None:
        first = adoption.adopt(owner.make("first", dead="dead"), handler="log").name
        adoption.adopt(owner.make("second", dead="dead"), handler="log")
        sent = owner.client.send_message(QueueUrl=owner.url("dead"), MessageBody="whose?")

        with pytest.raises(Conflict, match=r"also the dead-letter queue of .*second, whose letters"):
            messages.redrive(first)
        assert messages.redrive_some(first, [sent["MessageId"]]) == 1

    def test_dead_letters_of_a_queue_that_is_not_adopted(self, owner: Owner, faulty: SqsProxy) -> None:
        first = adoption.adopt(owner.make("first", dead="dead"), handler="log").name
        sources = [owner.url("first"), owner.make("second", dead="dead")]
        faulty.answer("ListDeadLetterSourceQueues", lambda _, __: {"queueUrls": sources})

        with pytest.raises(Conflict, match=r"also the dead-letter queue of .*second, whose letters"):
            messages.redrive(first)

        faulty.heal()
        faulty.answer("ListDeadLetterSourceQueues", lambda _, __: {"queueUrls": sources[:1]})
        assert messages.redrive(first).moved == 0

    def test_dead_letters_that_cannot_be_counted_do_not_keep_others_from_it(
        self, owner: Owner, faulty: SqsProxy
    ) -> None:
        adoption.adopt(owner.make("orders"), handler="log")
        ours = services.create("ours")
        get_gateway().send(str(ours.dlq_url), [OutgoingMessage("dead")])

        def answer(parameters: Parameters, forward: Forward) -> Parameters:
            if parameters["QueueUrl"].endswith("-dead"):
                raise Refused("AccessDenied", status=403)
            return forward(parameters)

        faulty.answer("GetQueueAttributes", answer)
        observation.observe_dead_letters()

        assert services.get("ours").dead_letters == 1


class TestDiscover:
    def test_what_sqs_has_and_nobody_adopted(self, owner: Owner, elsewhere: Owner) -> None:
        prefix = get_config().queue_name_prefix
        services.create("ours")
        adoption.adopt(owner.make("orders"), handler="log", name="theirs")
        owner.make("stray.fifo", dead="stray-dead.fifo")
        elsewhere.make("far", dead=None)

        found = adoption.discover(prefix=prefix)

        assert [(one.name, one.fifo) for one in found] == [
            (owner.name("stray-dead.fifo"), True),
            (owner.name("stray.fifo"), True),
        ]
        assert found[1].queue_url == owner.url("stray.fifo")
        assert [one.name for one in adoption.discover(prefix=prefix, region="eu-west-1")] == [elsewhere.name("far")]
        assert len(adoption.discover(prefix=prefix, limit=1)) == 1

    @pytest.mark.parametrize(
        ("wrong", "words"), [({"region": "moon"}, "region 'moon' is not valid"), ({"prefix": "a b"}, "'a b' is not")]
    )
    def test_bad_input(self, wrong: dict[str, str], words: str) -> None:
        with pytest.raises(InvalidInput, match=words):
            adoption.discover(**wrong)  # type: ignore[arg-type]


def test_reading_again_writes_only_what_differs(owner: Owner) -> None:
    queue = adoption.adopt(owner.make("orders"), handler="log")
    held = {"visibility_timeout": 300, "max_receive_count": 10}

    assert not adopted_repository.followed(queue.id, held)
    assert adopted_repository.followed(queue.id, {**held, "max_receive_count": 20})
    assert services.get(queue.name).max_receive_count == 20

    ours = services.create("ours")
    assert not adopted_repository.followed(ours.id, {"max_receive_count": 20})
    assert repository.by_name("ours").max_receive_count == 5


def test_errors_are_one_line(owner: Owner) -> None:
    for text in ("", "arn:aws:s3:::x", "https://x/y", "no-such"):
        with pytest.raises(QueuesiteError) as caught:
            adoption.adopt(text, handler="log")
        assert len(str(caught.value).splitlines()) == 1
