"""Handlers that were written for AWS Lambda."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from queues.handlers import Message, from_lambda, handler, registry
from queues.handlers.batching import Batch, ItemFailed, MessageBatch
from tests.support.memory_sqs import registered
from tests.support.runs import QUICK, MemoryQueues, Running

#: An event as AWS documents it: https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html. What is not known here is
#: left out (the sender's id, the first receive), and so is the account.
DOCUMENTED = {
    "Records": [
        {
            "messageId": "059f36b4-87a3-44ab-83d2-661975830a7d",
            "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a...",
            "body": "Test message.",
            "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1545082649183"},
            "messageAttributes": {
                "myAttribute": {
                    "stringValue": "myValue", "stringListValues": [], "binaryListValues": [], "dataType": "String",
                },
            },
            "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:my-queue",
            "awsRegion": "us-east-1",
        },
    ]
}  # fmt: skip

MESSAGE = Message(
    id="059f36b4-87a3-44ab-83d2-661975830a7d",
    body="Test message.",
    queue="my-queue",
    sent_at=datetime.fromtimestamp(1545082649.183, UTC),
    attributes={"myAttribute": "myValue"},
    receipt_handle="AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a...",
)


def test_the_event_is_that_of_lambda() -> None:
    seen: list[Any] = []
    from_lambda(lambda event, context: seen.append(event))(MessageBatch([MESSAGE]))
    assert seen == [DOCUMENTED]
    json.dumps(seen)


def test_a_fifo_message_and_bytes() -> None:
    seen: list[Any] = []
    message = Message("id", "body", "orders.fifo", receive_count=3, group="a", attributes={"raw": b"\x00\xff"})
    from_lambda(lambda event, context: seen.append(event))(message)
    (record,) = seen[0]["Records"]
    assert record["attributes"]["MessageGroupId"] == "a"
    assert record["attributes"]["ApproximateReceiveCount"] == "3"
    assert record["messageAttributes"]["raw"]["binaryValue"] == "AP8="
    assert record["messageAttributes"]["raw"]["dataType"] == "Binary"


def test_the_context_counts_down() -> None:
    seen: list[Any] = []

    def my_function(event: dict[str, Any], context: Any) -> None:
        seen.append(context)

    wrapped = from_lambda(my_function, timeout=60)
    wrapped(MESSAGE)
    wrapped(MESSAGE)
    first, second = seen
    assert first.function_name == "my_function"
    assert 0 < first.get_remaining_time_in_millis() <= 60_000
    assert first.aws_request_id != second.aws_request_id


@pytest.mark.parametrize(
    "answer", [None, {"statusCode": 200}, "ok", {"batchItemFailures": []}, {"batchItemFailures": None}]
)
def test_other_answers_mean_that_all_is_done(answer: Any) -> None:
    sqs = MemoryQueues()
    queue = sqs.create(handler="under-test")
    sqs.put(queue, "a", "b")
    with registered(from_lambda(lambda event, context: answer), batch=Batch(10)):
        assert Running(sqs, queue, QUICK).report().processed == 2


def test_what_it_reports_as_failed_is_retried_and_what_it_raises_fails_all() -> None:
    sqs = MemoryQueues()
    queue = sqs.create(handler="under-test", concurrency=1)
    sqs.put(queue, "good", "bad")

    def reporting(event: Any, context: Any) -> Any:
        failed = [record["messageId"] for record in event["Records"] if record["body"] == "bad"]
        return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}

    with registered(from_lambda(reporting), batch=Batch(10)):
        report = Running(sqs, queue, QUICK).report()
    assert report.processed == 1
    assert report.last_error == "ItemFailed: the handler reported it as failed"
    with pytest.raises(ItemFailed):
        from_lambda(reporting)(Message("id", "bad", "orders"))
    assert from_lambda(reporting)(Message("id", "good", "orders")) is None
    with pytest.raises(ZeroDivisionError):
        from_lambda(lambda event, context: 1 / 0)(MESSAGE)


def test_it_is_registered_as_the_function_that_it_wraps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_handlers", {})

    def my_function(event: dict[str, Any], context: Any) -> None:
        """Do the work."""

    handler("events", batch=100, linger=1.0)(from_lambda(my_function))
    found = registry.registered()["events"]
    assert found.path.endswith("my_function")
    assert found.summary == "Do the work."
    assert found.batch == Batch(100, 1.0)
    assert not found.is_async


async def asynchronous(event: Any, context: Any) -> None:
    pass


def generator(event: Any, context: Any) -> Any:
    yield 1


@pytest.mark.parametrize("function", [3, asynchronous, generator])
def test_what_is_no_lambda_handler_is_refused(function: Any) -> None:
    with pytest.raises(TypeError, match="expected a function of an event and a context, which is not async"):
        from_lambda(function)


@pytest.mark.parametrize("timeout", [0, -1, 901, float("nan")])
def test_a_time_limit_that_lambda_has_not_is_refused(timeout: float) -> None:
    with pytest.raises(ValueError, match="expected above 0, up to 900 seconds"):
        from_lambda(lambda event, context: None, timeout=timeout)
