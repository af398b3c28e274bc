"""The data plane over boto3 (`SQS_TRANSPORT=boto3`), for those who need its plugins or event hooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from queues.sqs.connection import Boto3
from queues.sqs.refusals import BatchFailure, failures_of
from queues.sqs.values import NEEDED_ATTRIBUTES, Depth, OutgoingMessage, ReceivedMessage, SendResult


class Boto3DataPlane:
    """The hot operations. boto3 itself retries connection errors, 5xx and throttling, twice."""

    def __init__(self, boto3: Boto3) -> None:
        self._boto3 = boto3

    @property
    def requests(self) -> int:
        """Requests made so far, those of others over the same client included."""
        return self._boto3.requests

    def send(self, queue_url: str, messages: Sequence[OutgoingMessage]) -> SendResult:
        """Send up to 10 messages of together at most 1 MiB in one request."""
        entries = [_send_entry(index, message) for index, message in enumerate(messages)]
        with self._boto3.errors(queue_url):
            answer = self._boto3.client.send_message_batch(QueueUrl=queue_url, Entries=entries)  # type: ignore[arg-type]
        return SendResult(
            {int(item["Id"]): item["MessageId"] for item in answer.get("Successful", ())},
            failures_of(answer),
        )

    def receive(
        self,
        queue_url: str,
        *,
        limit: int,
        wait: int,
        visibility: int | None = None,
        attempt_id: str | None = None,
        system: Sequence[str] = NEEDED_ATTRIBUTES,
    ) -> list[ReceivedMessage]:
        """Receive up to `limit` (1 to 10) messages, waiting up to `wait` seconds (0 to 20) for the first of them.

        `visibility` in seconds overrides the queue's own; `system` names the SQS attributes that are wanted.
        """
        extra: dict[str, Any] = {}
        if visibility is not None:
            extra["VisibilityTimeout"] = visibility
        if attempt_id is not None:
            extra["ReceiveRequestAttemptId"] = attempt_id
        with self._boto3.errors(queue_url):
            answer = self._boto3.client.receive_message(
                QueueUrl=queue_url,
                MaxNumberOfMessages=limit,
                WaitTimeSeconds=wait,
                MessageSystemAttributeNames=list(system),  # type: ignore[arg-type]
                MessageAttributeNames=["All"],
                **extra,
            )
        return [
            ReceivedMessage(
                message_id=item["MessageId"],
                receipt_handle=item["ReceiptHandle"],
                body=item["Body"],
                attributes=dict(item.get("MessageAttributes", {})),  # type: ignore[arg-type]
                system=dict(item.get("Attributes", {})),  # type: ignore[arg-type]
            )
            for item in answer.get("Messages", ())
        ]

    def delete(self, queue_url: str, receipt_handles: Sequence[str]) -> tuple[BatchFailure, ...]:
        """Delete up to 10 received messages; return the entries that SQS did not delete."""
        with self._boto3.errors(queue_url):
            answer = self._boto3.client.delete_message_batch(
                QueueUrl=queue_url,
                Entries=[{"Id": str(i), "ReceiptHandle": handle} for i, handle in enumerate(receipt_handles)],
            )
        return failures_of(answer)

    def change_visibility(self, queue_url: str, changes: Sequence[tuple[str, int]]) -> tuple[BatchFailure, ...]:
        """Hide up to 10 received messages for the given seconds (0 to 43,200) from now; return what was refused."""
        with self._boto3.errors(queue_url):
            answer = self._boto3.client.change_message_visibility_batch(
                QueueUrl=queue_url,
                Entries=[
                    {"Id": str(i), "ReceiptHandle": handle, "VisibilityTimeout": seconds}
                    for i, (handle, seconds) in enumerate(changes)
                ],
            )
        return failures_of(answer)

    def depth(self, queue_url: str) -> Depth:
        """How many messages the queue holds."""
        with self._boto3.errors(queue_url):
            answer = self._boto3.client.get_queue_attributes(
                QueueUrl=queue_url,
                AttributeNames=[
                    "ApproximateNumberOfMessages",
                    "ApproximateNumberOfMessagesNotVisible",
                    "ApproximateNumberOfMessagesDelayed",
                ],
            )
        counts = answer.get("Attributes", {})
        return Depth(
            visible=int(counts.get("ApproximateNumberOfMessages", 0)),
            in_flight=int(counts.get("ApproximateNumberOfMessagesNotVisible", 0)),
            delayed=int(counts.get("ApproximateNumberOfMessagesDelayed", 0)),
        )


def _send_entry(index: int, message: OutgoingMessage) -> dict[str, Any]:
    entry: dict[str, Any] = {"Id": str(index), "MessageBody": message.body}
    if message.attributes:
        entry["MessageAttributes"] = message.attributes
    if message.delay is not None:
        entry["DelaySeconds"] = message.delay
    if message.group is not None:
        entry["MessageGroupId"] = message.group
    if message.deduplication_id is not None:
        entry["MessageDeduplicationId"] = message.deduplication_id
    return entry
