"""Handlers that were written for AWS Lambda: `from_lambda` calls them with SQS's event and a context.

The event and the answer are as AWS documents them: https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html,
https://docs.aws.amazon.com/lambda/latest/dg/python-context.html
"""

from __future__ import annotations

import base64
import functools
import hashlib
import inspect
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from queues.handlers.batching import LAMBDA_KEY, MessageBatch, failures
from queues.handlers.contract import Message
from queuesite.foundation.config import get_config

#: Lambda's longest timeout, in seconds.
LONGEST_TIMEOUT = 900.0

LambdaHandler = Callable[[dict[str, Any], Any], Any]


@dataclass(frozen=True)
class Context:
    """What a Lambda handler gets as its second argument: the attributes that can be known here."""

    function_name: str
    timeout: float
    aws_request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    function_version: str = "$LATEST"
    _began: float = field(default_factory=time.monotonic)

    @property
    def log_group_name(self) -> str:
        """Lambda's name of a function's log group. Nothing is written there."""
        return f"/aws/lambda/{self.function_name}"

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the time limit that `from_lambda` was given; 0 when it is over."""
        return max(0, round((self._began + self.timeout - time.monotonic()) * 1000))


def from_lambda(
    function: LambdaHandler, *, timeout: float = LONGEST_TIMEOUT
) -> Callable[[Message | MessageBatch], dict[str, Any] | None]:
    """A Lambda handler of SQS's events as a handler here, of batches or of single messages.

    It is called with an event of one record for each message and a context. If it raises, all messages fail; if its
    answer has `batchItemFailures`, those fail; any other answer means that all are done. `timeout` is what the context
    counts down from, in seconds, above 0 and at most 900; give the same to `@handler`. Raises `ValueError` and
    `TypeError`.
    """
    given: Any = function
    if not callable(given) or inspect.iscoroutinefunction(given) or inspect.isgeneratorfunction(given):
        raise TypeError(f"from_lambda({given!r}): expected a function of an event and a context, which is not async")
    if not 0 < timeout <= LONGEST_TIMEOUT:
        raise ValueError(f"from_lambda(…, timeout={timeout!r}): expected above 0, up to {LONGEST_TIMEOUT:g} seconds")
    name = getattr(function, "__name__", type(function).__name__)

    @functools.wraps(function)
    def handle(messages: Message | MessageBatch) -> dict[str, Any] | None:
        records = [messages] if isinstance(messages, Message) else messages
        answer = function({"Records": [record(message) for message in records]}, Context(name, timeout))
        if not isinstance(answer, Mapping) or LAMBDA_KEY not in answer:
            return None
        if not isinstance(messages, Message):
            return {LAMBDA_KEY: answer[LAMBDA_KEY]}
        failed = failures(answer, [messages.id])
        if failed:
            raise failed[messages.id]
        return None

    del handle.__wrapped__  # its parameters are not those of the function
    return handle


def record(message: Message) -> dict[str, Any]:
    """A message as a record of Lambda's event. The account in the ARN is made up; the sender's id is not known."""
    region = get_config().aws_region
    attributes = {
        "ApproximateReceiveCount": str(message.receive_count),
        "SentTimestamp": str(round(message.sent_at.timestamp() * 1000)),
        **({} if message.group is None else {"MessageGroupId": message.group}),
    }
    return {
        "messageId": message.id,
        "receiptHandle": message.receipt_handle,
        "body": message.body,
        "attributes": attributes,
        "messageAttributes": {name: _attribute(value) for name, value in message.attributes.items()},
        "md5OfBody": hashlib.md5(message.body.encode(), usedforsecurity=False).hexdigest(),
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:{region}:000000000000:{message.queue}",
        "awsRegion": region,
    }


def _attribute(value: str | bytes) -> dict[str, Any]:
    shown = (
        {"binaryValue": base64.b64encode(value).decode(), "dataType": "Binary"}
        if isinstance(value, bytes)
        else {"stringValue": value, "dataType": "String"}
    )
    return {**shown, "stringListValues": [], "binaryListValues": []}
