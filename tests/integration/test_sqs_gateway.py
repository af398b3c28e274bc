"""The gateway against a real SQS, and against errors that an emulator cannot make."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.stub import Stubber

from queues.sqs import Depth, OutgoingMessage, ReceivedMessage, get_gateway, redrive_policy
from queues.sqs.gateway import SqsGateway
from queuesite.foundation.config import get_config
from queuesite.foundation.errors import (
    Conflict,
    QueueMissing,
    ServerError,
    SqsDenied,
    SqsRejected,
    SqsUnavailable,
    TooManyInFlight,
)
from tests.conftest import Configure
from tests.support.faults import SqsProxy
from tests.support.servers import free_port
from tests.support.waiting import eventually


def named(name: str) -> str:
    return get_config().queue_name_prefix + name


@pytest.fixture
def url(gateway: SqsGateway) -> str:
    return gateway.create_queue(named("orders"), {"VisibilityTimeout": "30"})


def receive(gateway: SqsGateway, url: str, count: int, **options: Any) -> list[ReceivedMessage]:
    """Receive until `count` messages came, which may take several requests."""
    received: list[ReceivedMessage] = []

    def enough() -> bool:
        received.extend(gateway.receive(url, limit=10, wait=1, **options))
        return len(received) >= count

    eventually(enough, 30, f"{count} messages were received")
    return received


class TestQueues:
    def test_created_queue_is_found_by_name_and_in_the_list(self, gateway: SqsGateway) -> None:
        url = gateway.create_queue(named("orders"), {"VisibilityTimeout": "77"})

        assert url.endswith("/" + named("orders"))
        assert gateway.queue_url(named("orders")) == url
        assert gateway.attributes(url)["VisibilityTimeout"] == "77"
        eventually(lambda: list(gateway.queue_urls(named(""))) == [url], 30, "the list has the queue")

    def test_creating_again_adopts_the_queue_and_sets_its_attributes(self, gateway: SqsGateway, url: str) -> None:
        gateway.send(url, [OutgoingMessage("kept")])

        assert gateway.create_queue(named("orders"), {"VisibilityTimeout": "5"}) == url

        eventually(lambda: gateway.attributes(url)["VisibilityTimeout"] == "5", 60, "the attribute is set")
        assert [m.body for m in receive(gateway, url, 1)] == ["kept"]

    def test_adopting_a_fifo_queue_does_not_set_what_is_fixed(self, faulty: SqsProxy) -> None:
        gateway = get_gateway()
        name = named("orders.fifo")
        gateway.create_queue(name, {"FifoQueue": "true", "VisibilityTimeout": "30"})

        gateway.create_queue(name, {"FifoQueue": "true", "VisibilityTimeout": "31"})

        [attributes] = [body["Attributes"] for action, body in faulty.requests if action == "SetQueueAttributes"]
        assert attributes == {"VisibilityTimeout": "31"}

    def test_unknown_queue_has_no_url(self, gateway: SqsGateway) -> None:
        assert gateway.queue_url(named("nothing")) is None

    def test_queue_that_exists_and_does_not(self, faulty: SqsProxy) -> None:
        faulty.refuse("CreateQueue", "QueueAlreadyExists")

        with pytest.raises(QueueMissing, match="try again"):
            get_gateway().create_queue(named("orders"), {})

    def test_deleting_twice_is_no_error(self, gateway: SqsGateway, url: str) -> None:
        gateway.delete_queue(url)
        gateway.delete_queue(url)

        eventually(lambda: gateway.queue_url(named("orders")) is None, 60, "the queue is gone")

    def test_setting_no_attribute_asks_nothing(self, faulty: SqsProxy) -> None:
        gateway = get_gateway()
        url = gateway.create_queue(named("orders"), {})
        before = len(faulty.requests)

        gateway.set_attributes(url, {})

        assert len(faulty.requests) == before

    def test_list_is_limited_to_the_prefix(self, gateway: SqsGateway, url: str) -> None:
        other = gateway.create_queue(named("invoices"), {})

        eventually(lambda: list(gateway.queue_urls(named("inv"))) == [other], 30, "the list has that queue alone")

    def test_long_lists_come_in_pages(self, faulty: SqsProxy) -> None:
        pages = {"": (["u/1", "u/2"], "more"), "more": (["u/3"], None)}

        def page(parameters: dict[str, Any], _: object) -> dict[str, Any]:
            urls, token = pages[parameters.get("NextToken", "")]
            return {"QueueUrls": urls, **({"NextToken": token} if token else {})}

        faulty.answer("ListQueues", page)

        assert list(get_gateway().queue_urls()) == ["u/1", "u/2", "u/3"]
        assert all(parameters["MaxResults"] == 1_000 for _, parameters in faulty.requests)

    def test_check_touches_the_network(self, faulty: SqsProxy) -> None:
        get_gateway().check()

        assert faulty.count("ListQueues") == 1


@pytest.mark.usefixtures("transport")
class TestMessages:
    def test_message_arrives_as_it_was_sent(self, gateway: SqsGateway, url: str) -> None:
        body = "  zażółć 日本 🚚 \t<&>\n"
        attributes: dict[str, dict[str, Any]] = {
            "text": {"DataType": "String", "StringValue": "ä"},
            "number": {"DataType": "Number", "StringValue": "7"},
            "bytes": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
        }

        result = gateway.send(url, [OutgoingMessage(body, attributes)])
        [message] = receive(gateway, url, 1)

        assert message.body == body
        assert message.message_id == result.message_ids[0]
        assert message.attributes["text"]["StringValue"] == "ä"
        assert message.attributes["number"]["StringValue"] == "7"
        assert message.attributes["bytes"]["BinaryValue"] == b"\x00\xff"
        assert message.receive_count == 1
        assert message.group is None
        assert int(message.system["SentTimestamp"]) > 1_700_000_000_000

    def test_batch_is_answered_by_place(self, gateway: SqsGateway, url: str) -> None:
        result = gateway.send(url, [OutgoingMessage(f"m{i}") for i in range(10)])

        assert sorted(result.message_ids) == list(range(10))
        assert result.failures == ()
        assert {m.message_id: m.body for m in receive(gateway, url, 10)} == {
            result.message_ids[i]: f"m{i}" for i in range(10)
        }

    def test_refused_entry_is_reported_and_the_others_are_sent(self, gateway: SqsGateway, url: str) -> None:
        result = gateway.send(url, [OutgoingMessage("good"), OutgoingMessage("bad \ufffe"), OutgoingMessage("too")])

        assert sorted(result.message_ids) == [0, 2]
        [failure] = result.failures
        assert failure.index == 1
        assert failure.code == "InvalidMessageContents"
        assert failure.sender_fault

    def test_fifo_keeps_the_order_of_a_group(self, gateway: SqsGateway) -> None:
        url = gateway.create_queue(named("orders.fifo"), {"FifoQueue": "true"})
        bodies = [f"m{i}" for i in range(10)]
        gateway.send(url, [OutgoingMessage(b, group="g", deduplication_id=f"d-{b}") for b in bodies])

        received = receive(gateway, url, 10)

        assert [m.body for m in received] == bodies
        assert {m.group for m in received} == {"g"}

    def test_fifo_drops_a_duplicate(self, gateway: SqsGateway) -> None:
        url = gateway.create_queue(named("orders.fifo"), {"FifoQueue": "true"})
        for body in ("first", "second"):
            gateway.send(url, [OutgoingMessage(body, group="g", deduplication_id="same")])

        assert [m.body for m in receive(gateway, url, 1)] == ["first"]
        assert gateway.depth(url).visible == 0

    def test_depth_tells_visible_in_flight_and_delayed(self, gateway: SqsGateway, url: str) -> None:
        gateway.send(url, [OutgoingMessage("a"), OutgoingMessage("b"), OutgoingMessage("c")])
        gateway.send(url, [OutgoingMessage("later", delay=900)])
        gateway.receive(url, limit=1, wait=1)

        eventually(lambda: gateway.depth(url) == Depth(2, 1, 1), 60, "SQS counts 2, 1 and 1")
        assert gateway.depth(url).total == 4

    def test_visibility_zero_gives_a_message_back(self, gateway: SqsGateway, url: str) -> None:
        gateway.send(url, [OutgoingMessage("again")])
        [first] = receive(gateway, url, 1)

        assert gateway.change_visibility(url, [(first.receipt_handle, 0)]) == ()
        [second] = receive(gateway, url, 1)

        assert second.message_id == first.message_id
        assert second.receive_count == 2

    def test_receive_can_hide_for_another_time_than_the_queues_own(self, gateway: SqsGateway, url: str) -> None:
        gateway.send(url, [OutgoingMessage("again")])
        gateway.receive(url, limit=1, wait=1, visibility=0)

        assert [m.body for m in receive(gateway, url, 1)] == ["again"]

    def test_deleted_messages_are_gone(self, gateway: SqsGateway, url: str) -> None:
        gateway.send(url, [OutgoingMessage("a"), OutgoingMessage("b")])
        received = receive(gateway, url, 2)

        assert gateway.delete(url, [m.receipt_handle for m in received]) == ()

        eventually(lambda: gateway.depth(url).total == 0, 60, "the queue is empty")

    def test_unknown_receipt_handles_are_reported_by_place(self, gateway: SqsGateway, url: str) -> None:
        gateway.send(url, [OutgoingMessage("a")])
        [message] = receive(gateway, url, 1)

        unchanged = gateway.change_visibility(url, [(message.receipt_handle, 10), ("no-such-handle", 10)])
        undeleted = gateway.delete(url, [message.receipt_handle, "no-such-handle"])

        assert [(f.index, f.code) for f in unchanged] == [(1, "ReceiptHandleIsInvalid")]
        assert [(f.index, f.code) for f in undeleted] == [(1, "ReceiptHandleIsInvalid")]

    def test_purge_empties_the_queue(self, gateway: SqsGateway, url: str) -> None:
        gateway.send(url, [OutgoingMessage("a")])

        gateway.purge(url)

        eventually(lambda: gateway.depth(url).total == 0, 70, "the queue is empty")

    def test_receive_passes_its_attempt_id_on(self, faulty: SqsProxy) -> None:
        gateway = get_gateway()
        url = gateway.create_queue(named("orders.fifo"), {"FifoQueue": "true"})

        assert gateway.receive(url, limit=3, wait=0, attempt_id="attempt-1") == []

        parameters = faulty.requests[-1][1]
        assert parameters["ReceiveRequestAttemptId"] == "attempt-1"
        assert parameters["MaxNumberOfMessages"] == 3

    def test_letter_moves_to_the_dead_letter_queue_after_its_receives(self, gateway: SqsGateway) -> None:
        dead = gateway.create_queue(named("dead"), {})
        policy = redrive_policy(gateway.attributes(dead, ("QueueArn",))["QueueArn"], 1)
        url = gateway.create_queue(named("orders"), {"RedrivePolicy": policy})
        gateway.send(url, [OutgoingMessage("poison")])
        gateway.receive(url, limit=1, wait=1, visibility=0)

        def moved() -> bool:
            gateway.receive(url, limit=1, wait=0, visibility=0)
            return gateway.depth(dead).visible == 1

        eventually(moved, 30, "the message is in the dead-letter queue")

    @pytest.mark.parametrize(
        "operation",
        [
            lambda g, url: g.send(url, [OutgoingMessage("a")]),
            lambda g, url: g.receive(url, limit=1, wait=0),
            lambda g, url: g.delete(url, ["h"]),
            lambda g, url: g.change_visibility(url, [("h", 1)]),
            lambda g, url: g.depth(url),
            lambda g, url: g.set_attributes(url, {"VisibilityTimeout": "1"}),
            lambda g, url: g.purge(url),
        ],
        ids=["send", "receive", "delete", "change_visibility", "depth", "set_attributes", "purge"],
    )
    def test_queue_that_vanished_is_named(self, gateway: SqsGateway, url: str, operation: Any) -> None:
        gone = f"{url}-gone"

        with pytest.raises(QueueMissing) as caught:
            operation(gateway, gone)

        assert gone in str(caught.value)
        assert "sqs sync" in str(caught.value)


class TestRedriveTask:
    def test_server_without_move_tasks_is_told_apart(self, gateway: SqsGateway, url: str) -> None:
        if os.environ["AWS_SQS_ENDPOINT"] == "aws":
            pytest.skip("AWS has move tasks")
        arn = gateway.attributes(url, ("QueueArn",))["QueueArn"]

        assert gateway.start_redrive(arn, arn) is None

    def test_refusal_of_a_move_is_no_lack_of_move_tasks(self, faulty: SqsProxy) -> None:
        faulty.refuse("StartMessageMoveTask", "ResourceNotFoundException", "no such queue")

        with pytest.raises(SqsRejected, match="no such queue"):
            get_gateway().start_redrive("arn:aws:sqs:us-east-1:1:dead", "arn:aws:sqs:us-east-1:1:queue")

    def test_progress_is_that_of_our_own_task(self, faulty: SqsProxy) -> None:
        faulty.answer("StartMessageMoveTask", lambda _, __: {"TaskHandle": "ours"})
        faulty.answer(
            "ListMessageMoveTasks",
            lambda _, __: {
                "Results": [
                    {"TaskHandle": "theirs", "Status": "RUNNING", "ApproximateNumberOfMessagesMoved": 9},
                    {
                        "TaskHandle": "ours",
                        "Status": "RUNNING",
                        "ApproximateNumberOfMessagesMoved": 3,
                        "ApproximateNumberOfMessagesToMove": 7,
                    },
                ]
            },
        )
        gateway = get_gateway()

        assert gateway.start_redrive("arn", "to") == "ours"
        assert gateway.redrive_progress("arn", "ours") == ("RUNNING", 3, 7)

    def test_task_that_is_not_listed_any_more_has_ended(self, faulty: SqsProxy) -> None:
        faulty.answer("ListMessageMoveTasks", lambda _, __: {"Results": []})

        assert get_gateway().redrive_progress("arn", "ours") == ("COMPLETED", 0, None)


@pytest.fixture
def stubbed(gateway: SqsGateway) -> Iterator[tuple[SqsGateway, Stubber]]:
    with Stubber(gateway._boto3.client) as stubber:
        yield gateway, stubber


class TestErrors:
    @pytest.mark.parametrize(
        ("code", "status", "expected", "words"),
        [
            ("AWS.SimpleQueueService.NonExistentQueue", 400, QueueMissing, "the-url"),
            ("QueueDoesNotExist", 400, QueueMissing, "the-url"),
            ("RequestThrottled", 400, SqsUnavailable, "try again"),
            ("ThrottlingException", 400, SqsUnavailable, "try again"),
            ("OverLimit", 403, TooManyInFlight, "try again"),
            ("InternalError", 500, SqsUnavailable, "try again"),
            ("", 503, SqsUnavailable, "503"),
            ("AccessDenied", 403, SqsDenied, "check the AWS keys"),
            ("AccessDeniedException", 403, SqsDenied, "check the AWS keys"),
            ("ExpiredToken", 403, SqsDenied, "have expired"),
            ("InvalidClientTokenId", 403, SqsDenied, "check the AWS keys"),
            ("SignatureDoesNotMatch", 403, SqsDenied, "check the AWS keys"),
            ("UnrecognizedClientException", 403, SqsDenied, "check the AWS keys"),
            ("AWS.SimpleQueueService.PurgeQueueInProgress", 403, Conflict, "less than 60 s ago"),
            ("PurgeQueueInProgress", 400, Conflict, "less than 60 s ago"),
            ("AWS.SimpleQueueService.QueueDeletedRecently", 400, Conflict, "less than 60 s ago"),
            ("QueueDeletedRecently", 400, Conflict, "less than 60 s ago"),
            ("InvalidAttributeValue", 400, SqsRejected, "InvalidAttributeValue: what SQS said"),
        ],
    )
    def test_code_becomes_an_error_of_ours(
        self,
        stubbed: tuple[SqsGateway, Stubber],
        code: str,
        status: int,
        expected: type[ServerError | Conflict],
        words: str,
    ) -> None:
        gateway, stubber = stubbed
        stubber.add_client_error("purge_queue", code, "what SQS said", status)

        with pytest.raises(expected) as caught:
            gateway.purge("the-url")

        assert type(caught.value) is expected
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_throttling_is_retried_before_it_is_reported(self, faulty: SqsProxy) -> None:
        faulty.refuse("ListQueues", "ThrottlingException", status=400, times=1)

        get_gateway().check()

        assert faulty.count("ListQueues") == 2

    def test_lasting_server_errors_are_reported_after_three_tries(self, faulty: SqsProxy) -> None:
        faulty.refuse("ListQueues", "InternalFailure", status=503)

        with pytest.raises(SqsUnavailable, match="overloaded"):
            get_gateway().check()

        assert faulty.count("ListQueues") == 3

    def test_cut_connection_is_retried(self, faulty: SqsProxy) -> None:
        faulty.cut("ListQueues", times=1)

        get_gateway().check()

        assert faulty.count("ListQueues") == 2

    def test_nothing_at_the_address(self, sqs: object, configure: Configure) -> None:
        address = f"http://127.0.0.1:{free_port()}"
        gateway = SqsGateway(configure(aws_sqs_endpoint=address))

        with pytest.raises(SqsUnavailable) as caught:
            gateway.check()

        assert str(caught.value).startswith(f"SQS at {address} does not answer")
        assert "AWS_SQS_ENDPOINT" in str(caught.value)

    def test_name_that_does_not_resolve(self, sqs: object, configure: Configure) -> None:
        gateway = SqsGateway(configure(aws_sqs_endpoint="http://no-such-host.invalid:1"))

        with pytest.raises(SqsUnavailable, match=r"no-such-host\.invalid"):
            gateway.check()

    def test_no_address(self, configure: Configure, tmp_path: Path) -> None:
        config = configure(aws_sqs_endpoint=None, data_dir=tmp_path)

        with pytest.raises(SqsUnavailable, match="make up"):
            SqsGateway(config)

    def test_no_credentials(self, sqs: object, configure: Configure) -> None:
        config = configure(aws_access_key_id=None, aws_secret_access_key=None, **offline())

        with pytest.raises(SqsDenied, match="set AWS_ACCESS_KEY_ID"):
            SqsGateway(config).check()

    def test_half_a_credential(self, sqs: object, configure: Configure, tmp_path: Path) -> None:
        path = tmp_path / "credentials"
        path.write_text("[default]\naws_access_key_id = only-this\n")
        config = configure(
            aws_access_key_id=None,
            aws_secret_access_key=None,
            **{**offline(), "aws_shared_credentials_file": path},
        )

        with pytest.raises(SqsDenied, match="no AWS credentials"):
            SqsGateway(config).check()

    def test_unknown_profile(self, sqs: object, configure: Configure) -> None:
        config = configure(aws_access_key_id=None, aws_secret_access_key=None, **{**offline(), "aws_profile": "nobody"})

        with pytest.raises(SqsDenied, match="nobody"):
            SqsGateway(config)

    def test_password_in_the_address_is_not_shown(self, sqs: object, configure: Configure) -> None:
        gateway = SqsGateway(configure(aws_sqs_endpoint=f"http://me:hidden@127.0.0.1:{free_port()}"))

        with pytest.raises(ServerError) as caught:
            gateway.check()

        assert "hidden" not in str(caught.value)

    def test_aws_itself_needs_no_address(self, configure: Configure) -> None:
        gateway = SqsGateway(configure(aws_sqs_endpoint="AWS", aws_region="eu-west-1"))

        assert gateway.address == "aws"
        assert gateway._boto3.client.meta.endpoint_url == "https://sqs.eu-west-1.amazonaws.com"

    def test_embedded_server_takes_the_key_of_its_folder(
        self, gateway: SqsGateway, configure: Configure, tmp_path: Path
    ) -> None:
        from queuesite.foundation.addresses import Running, access_key_path, write_record

        address, given = os.environ["AWS_SQS_ENDPOINT"], os.environ["AWS_ACCESS_KEY_ID"]
        config = configure(
            aws_sqs_endpoint=None, data_dir=tmp_path, aws_access_key_id=None, aws_secret_access_key=None, **offline()
        )
        write_record(config, {"sqs": Running.of(address, os.getpid())})
        key = access_key_path(tmp_path / "sqs")
        key.parent.mkdir()
        key.write_text("another")
        with pytest.raises(SqsDenied, match="InvalidClientTokenId"):
            SqsGateway(config).check()

        key.write_text(given)

        SqsGateway(config).check()


def offline() -> dict[str, Any]:
    """boto3's usual chain, with nothing in it."""
    return {
        "aws_config_file": os.devnull,
        "aws_shared_credentials_file": os.devnull,
        "aws_ec2_metadata_disabled": "true",
        "aws_profile": None,
    }


def test_redrive_policy_is_json_as_sqs_wants_it() -> None:
    assert json.loads(redrive_policy("arn:x", 3)) == {"deadLetterTargetArn": "arn:x", "maxReceiveCount": 3}


def test_gateway_is_made_once(queues: object) -> None:
    assert get_gateway() is get_gateway()
