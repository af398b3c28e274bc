"""SQS's JSON protocol: requests as botocore writes them, and what answers mean."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse, HeadersDict

from queues.sqs import Depth, OutgoingMessage, ReceivedMessage, SendResult
from queues.sqs.express import protocol
from queues.sqs.express.protocol import Garbled, Refusal, answer_of
from queues.sqs.refusals import BatchFailure

URL = "https://sqs.eu-west-1.amazonaws.com/1/orders"


@pytest.fixture(scope="module")
def asked() -> Callable[..., tuple[dict[str, Any], dict[str, str]]]:
    """The JSON and the headers with which botocore makes a request."""
    client = boto3.session.Session().client(
        "sqs", region_name="eu-west-1", aws_access_key_id="k", aws_secret_access_key="s"
    )
    sent: list[Any] = []

    class Raw:
        def stream(self, **_: object) -> list[bytes]:
            return [b"{}"]

    def answer(request: Any, **_: object) -> Any:
        sent.append(request)
        return AWSResponse(request.url, 200, HeadersDict(), Raw())  # type: ignore[arg-type]

    client.meta.events.register("before-send.sqs", answer)

    def ask(method: str, **parameters: Any) -> tuple[dict[str, Any], dict[str, str]]:
        getattr(client, method)(**parameters)
        headers = {
            name.lower(): value.decode() if isinstance(value, bytes) else value
            for name, value in sent[-1].headers.items()
        }
        return json.loads(sent[-1].body), headers

    return ask


ATTRIBUTES: dict[str, dict[str, Any]] = {
    "text": {"DataType": "String", "StringValue": "ä\ud800"},
    "bytes": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
}


class TestRequests:
    @pytest.mark.parametrize(
        ("call", "method", "parameters"),
        [
            (
                protocol.receive(URL, limit=3, wait=20, visibility=7, attempt_id="a", system=("SentTimestamp",)),
                "receive_message",
                {
                    "MaxNumberOfMessages": 3,
                    "WaitTimeSeconds": 20,
                    "VisibilityTimeout": 7,
                    "ReceiveRequestAttemptId": "a",
                    "MessageSystemAttributeNames": ["SentTimestamp"],
                    "MessageAttributeNames": ["All"],
                },
            ),
            (
                protocol.receive(URL, limit=1, wait=0, visibility=0, system=()),
                "receive_message",
                {
                    "MaxNumberOfMessages": 1,
                    "WaitTimeSeconds": 0,
                    "VisibilityTimeout": 0,
                    "MessageSystemAttributeNames": [],
                    "MessageAttributeNames": ["All"],
                },
            ),
            (
                protocol.send(URL, [OutgoingMessage('ż "\n\ud83d', ATTRIBUTES, 5, "g", "d"), OutgoingMessage("b")]),
                "send_message_batch",
                {
                    "Entries": [
                        {
                            "Id": "0",
                            "MessageBody": 'ż "\n\ud83d',
                            "MessageAttributes": ATTRIBUTES,
                            "DelaySeconds": 5,
                            "MessageGroupId": "g",
                            "MessageDeduplicationId": "d",
                        },
                        {"Id": "1", "MessageBody": "b"},
                    ]
                },
            ),
            (
                protocol.delete(URL, ["h/1", "h2"]),
                "delete_message_batch",
                {"Entries": [{"Id": "0", "ReceiptHandle": "h/1"}, {"Id": "1", "ReceiptHandle": "h2"}]},
            ),
            (
                protocol.change_visibility(URL, [("h1", 0), ("h2", 43_200)]),
                "change_message_visibility_batch",
                {
                    "Entries": [
                        {"Id": "0", "ReceiptHandle": "h1", "VisibilityTimeout": 0},
                        {"Id": "1", "ReceiptHandle": "h2", "VisibilityTimeout": 43_200},
                    ]
                },
            ),
            (
                protocol.depth(URL),
                "get_queue_attributes",
                {"AttributeNames": list(protocol.DEPTH_ATTRIBUTES)},
            ),
        ],
        ids=["receive", "receive nothing more", "send", "delete", "change_visibility", "depth"],
    )
    def test_they_are_those_of_botocore(
        self, asked: Callable[..., Any], call: protocol.Call[Any], method: str, parameters: dict[str, Any]
    ) -> None:
        body, headers = asked(method, QueueUrl=URL, **parameters)

        assert json.loads(call.body) == body
        for name, value in protocol.headers(call.operation).items():
            assert headers[name] == value
        assert call.queue_url == URL

    def test_which_may_be_repeated(self) -> None:
        """A second send is a second message, unless the queue is FIFO and so drops it."""
        message = [OutgoingMessage("m", group="g", deduplication_id="d")]

        assert not protocol.send(URL, message).repeatable
        assert protocol.send(f"{URL}.fifo", message).repeatable
        assert protocol.receive(URL, limit=1, wait=0).repeatable
        assert protocol.delete(URL, ["h"]).repeatable
        assert protocol.change_visibility(URL, [("h", 1)]).repeatable
        assert protocol.depth(URL).repeatable

    def test_the_wait_is_known(self) -> None:
        assert protocol.receive(URL, limit=1, wait=20).wait == 20


def answered(call: protocol.Call[Any], answer: object) -> Any:
    return answer_of(call, 200, {}, json.dumps(answer).encode())


class TestAnswers:
    def test_messages(self) -> None:
        call = protocol.receive(URL, limit=10, wait=0)
        item = {
            "MessageId": "m",
            "ReceiptHandle": "h",
            "Body": "b",
            "MD5OfBody": "x",
            "Attributes": {"ApproximateReceiveCount": "2"},
            "MessageAttributes": {
                "text": {"DataType": "String", "StringValue": "ä"},
                "bytes": {"DataType": "Binary", "BinaryValue": "AP8="},
            },
        }

        assert answered(call, {"Messages": [item, {"MessageId": "n", "ReceiptHandle": "i", "Body": ""}]}) == [
            ReceivedMessage(
                "m",
                "h",
                "b",
                {
                    "text": {"DataType": "String", "StringValue": "ä"},
                    "bytes": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
                },
                {"ApproximateReceiveCount": "2"},
            ),
            ReceivedMessage("n", "i", "", {}, {}),
        ]

    @pytest.mark.parametrize("nothing", [{}, {"Messages": []}, {"Messages": None}])
    def test_no_messages(self, nothing: object) -> None:
        assert answered(protocol.receive(URL, limit=1, wait=0), nothing) == []

    def test_sent(self) -> None:
        answer = {
            "Successful": [{"Id": "1", "MessageId": "m"}],
            "Failed": [{"Id": "0", "Code": "AWS.SimpleQueueService.InternalError", "SenderFault": False}],
        }

        assert answered(protocol.send(URL, []), answer) == SendResult(
            {1: "m"}, (BatchFailure(0, "InternalError", "", False),)
        )

    @pytest.mark.parametrize("call", [protocol.delete(URL, []), protocol.change_visibility(URL, [])])
    def test_refused_entries(self, call: protocol.Call[tuple[BatchFailure, ...]]) -> None:
        entry = {"Id": "1", "Code": "InvalidParameterValueException", "Message": "no", "SenderFault": True}

        assert answered(call, {"Successful": [{"Id": "0"}], "Failed": [entry]}) == (
            BatchFailure(1, "InvalidParameterValue", "no", True),
        )
        assert answered(call, {"Successful": [{"Id": "0"}]}) == ()

    def test_depth(self) -> None:
        counts = dict(zip(protocol.DEPTH_ATTRIBUTES, ("3", "2", "1"), strict=True))

        assert answered(protocol.depth(URL), {"Attributes": counts}) == Depth(3, 2, 1)
        assert answered(protocol.depth(URL), {}) == Depth(0, 0, 0)

    @pytest.mark.parametrize(
        ("body", "words"),
        [
            (b"<html>Log in\n first</html>", "<html>Log in first</html>"),
            (b"x" * 1_000, "x…$"),
            (b'{"Messages": [{"Body": "private"}]}', "JSON without 'MessageId'"),
            (b'{"Messages": [{"Body": "private"', "JSON without"),
            (b"[]", "JSON without"),
        ],
    )
    def test_what_is_no_answer_of_sqs(self, body: bytes, words: str) -> None:
        with pytest.raises(Garbled, match=words) as caught:
            answer_of(protocol.receive(URL, limit=1, wait=0), 200, {}, body)

        assert "private" not in str(caught.value.error("http://x"))
        assert len(str(caught.value)) < 300

    @pytest.mark.parametrize(
        ("status", "headers", "body", "code", "text"),
        [
            (
                400,
                {"x-amzn-query-error": "AWS.SimpleQueueService.NonExistentQueue;Sender"},
                b'{"__type":"com.amazonaws.sqs#QueueDoesNotExist","message":"The queue\\n is not."}',
                "QueueDoesNotExist",
                "The queue is not.",
            ),
            (400, {}, b'{"__type":"com.amazonaws.sqs#QueueDoesNotExist"}', "QueueDoesNotExist", ""),
            (400, {"x-amzn-query-error": ";Sender"}, b'{"__type":"OverLimit"}', "OverLimit", ""),
            (400, {"x-amzn-query-error": "KMS.DisabledException;Sender"}, b"{}", "KmsDisabled", ""),
            (400, {}, b'{"__type":"ThrottlingException:http://x","Message":"slow"}', "Throttling", "slow"),
            (400, {}, b'{"__type":null,"message":null}', "", ""),
            (503, {}, b"", "", ""),
            (503, {}, b"<h1>\nService</h1>", "", "<h1> Service</h1>"),
            (500, {}, b"[1]", "", "[1]"),
            (301, {}, b"", "", ""),
        ],
    )
    def test_errors(self, status: int, headers: dict[str, str], body: bytes, code: str, text: str) -> None:
        with pytest.raises(Refusal) as caught:
            answer_of(protocol.depth(URL), status, headers, body)

        assert (caught.value.code, caught.value.text, caught.value.status) == (code, text, status)
