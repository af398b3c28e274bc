"""Somebody else's queues in SQS, made as Terraform would make them: with attributes of their own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient

#: What counts messages, and so changes without anybody's doing.
_COUNTS = "ApproximateNumberOfMessages"
ATTRIBUTES = {
    "VisibilityTimeout": "300",
    "MessageRetentionPeriod": "86400",
    "MaximumMessageSize": "2048",
    "DelaySeconds": "0",
    "ReceiveMessageWaitTimeSeconds": "3",
}


class Owner:
    """Makes queues by a boto3 client, each with a prefix, so that the test's clean-up finds them."""

    def __init__(self, client: SQSClient, prefix: str) -> None:
        self.client, self._prefix = client, prefix

    def name(self, name: str) -> str:
        """The queue's name in SQS."""
        return self._prefix + name

    def make(self, name: str, changes: Mapping[str, str] | None = None, *, dead: str | None = "orders-dead") -> str:
        """Make a queue with a redrive policy of 10 receives, unless `dead` is None; return its URL."""
        fifo = {"FifoQueue": "true"} if name.endswith(".fifo") else {}
        attributes = {**ATTRIBUTES, **fifo, **(changes or {})}
        if dead is not None:
            self.client.create_queue(QueueName=self.name(dead), Attributes=fifo)  # type: ignore[arg-type]
            policy = {"deadLetterTargetArn": self.arn(dead), "maxReceiveCount": 10}
            attributes["RedrivePolicy"] = json.dumps(policy)
        made = self.client.create_queue(QueueName=self.name(name), Attributes=attributes)  # type: ignore[arg-type]
        return made["QueueUrl"]

    def url(self, name: str) -> str:
        """The queue's URL."""
        return self.client.get_queue_url(QueueName=self.name(name))["QueueUrl"]

    def attributes(self, name: str) -> dict[str, str]:
        """All that SQS holds of a queue, without the counts of its messages."""
        answer = self.client.get_queue_attributes(QueueUrl=self.url(name), AttributeNames=["All"])
        return {key: value for key, value in answer["Attributes"].items() if not key.startswith(_COUNTS)}

    def change(self, name: str, changes: Mapping[str, str]) -> None:
        """Set attributes of a queue."""
        self.client.set_queue_attributes(QueueUrl=self.url(name), Attributes=changes)  # type: ignore[arg-type]

    def arn(self, name: str) -> str:
        """The queue's ARN."""
        return self.attributes(name)["QueueArn"]

    def delete(self, name: str) -> None:
        """Delete a queue."""
        self.client.delete_queue(QueueUrl=self.url(name))

    def delete_all(self) -> None:
        """Delete every queue with the prefix."""
        for url in self.client.list_queues(QueueNamePrefix=self._prefix).get("QueueUrls", ()):
            with suppress(self.client.exceptions.QueueDoesNotExist):
                self.client.delete_queue(QueueUrl=url)
