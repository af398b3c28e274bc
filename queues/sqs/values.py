"""The values that go to SQS and come from it, and SQS's limits. Nothing here imports boto3."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from queues.sqs.refusals import BatchFailure
from queuesite.foundation.sqs_limits import MAX_VISIBILITY_SECONDS as MAX_VISIBILITY_SECONDS

# SQS's limits: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
MAX_BATCH = 10
MAX_MESSAGE_BYTES = 1_048_576
MAX_DELAY_SECONDS = 900
#: The longest wait of a receive.
MAX_WAIT_SECONDS = 20

#: What requests are made for, as costs are counted: a listener's polls, the sweep's looks, and what consumers do.
PURPOSES = ("listen", "sweep", "receive", "delete", "visibility", "send")

#: The SQS attributes that a handler's message needs. Each further one costs time in every answer.
NEEDED_ATTRIBUTES = ("ApproximateReceiveCount", "SentTimestamp", "MessageGroupId")


@dataclass(frozen=True)
class Depth:
    """How many messages a queue holds. SQS's counts are approximate and may lag by a minute on AWS."""

    visible: int
    in_flight: int
    delayed: int

    @property
    def total(self) -> int:
        """All messages, including those in flight and delayed."""
        return self.visible + self.in_flight + self.delayed


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """A message as SQS gave it out. `attributes` are the sender's (typed as SQS types them), `system` are SQS's."""

    message_id: str
    receipt_handle: str
    body: str
    attributes: dict[str, dict[str, Any]]
    system: dict[str, str]

    @property
    def receive_count(self) -> int:
        """How often the message has been received, this time included."""
        return int(self.system.get("ApproximateReceiveCount", "1"))

    @property
    def sent_at(self) -> float:
        """When it was sent, by SQS's clock, in seconds since 1970; for a FIFO dead letter, when it became one."""
        return int(self.system.get("SentTimestamp", "0")) / 1_000

    @property
    def group(self) -> str | None:
        """The message group, or None."""
        return self.system.get("MessageGroupId")


@dataclass(frozen=True)
class OutgoingMessage:
    """A message to send. `delay` in seconds (None: the queue's own); `deduplication_id` is for FIFO queues only."""

    body: str
    attributes: dict[str, dict[str, Any]] = field(default_factory=dict)
    delay: int | None = None
    group: str | None = None
    deduplication_id: str | None = None

    @property
    def size(self) -> int:
        """The bytes that SQS counts towards its limit: the body and the attributes' names, types and values."""
        total = len(self.body.encode("utf-8", "surrogatepass"))
        for name, value in self.attributes.items():
            total += len(name.encode()) + len(str(value.get("DataType", "")).encode())
            content = value.get("BinaryValue") or value.get("StringValue") or b""
            total += len(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
        return total


@dataclass(frozen=True)
class SendResult:
    """The result of a batch: message ids by place, and the failures."""

    message_ids: dict[int, str]
    failures: tuple[BatchFailure, ...]


def redrive_policy(dlq_arn: str, max_receive_count: int) -> str:
    """The RedrivePolicy attribute that sends a message to `dlq_arn` after `max_receive_count` receives."""
    return json.dumps({"deadLetterTargetArn": dlq_arn, "maxReceiveCount": max_receive_count})
