"""The SQS gateway: every request that the system makes to SQS over boto3.

Each method is one request (or one loop over pages), returns plain values, and raises our own errors: `SqsUnavailable`
if SQS cannot be reached or throttles, `SqsDenied` if it refuses the credentials, `QueueMissing`, `SqsRejected`. Before
that, boto3 itself retries connection errors, 5xx and throttling a few times.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from queues.sqs.connection import code_of, connect, credentials_failed, explained
from queues.sqs.refusals import BatchFailure, failures_of
from queues.sqs.values import NEEDED_ATTRIBUTES, Depth, OutgoingMessage, ReceivedMessage, SendResult
from queuesite.addresses import no_sqs, sqs_address
from queuesite.config import Config, mask
from queuesite.errors import Conflict, QueueMissing, SqsRejected

#: Shortest time between two searches for other credentials after some were refused; one takes 0.2 s of CPU.
_LOOK_AGAIN_SECONDS = 5.0


class SqsGateway:
    """SQS, for one process. It is safe for many threads; make it after a fork, never before."""

    def __init__(self, config: Config) -> None:
        address = sqs_address(config)
        if address is None:
            raise no_sqs()
        self.address = mask("aws_sqs_endpoint", address)
        #: Requests made so far (boto3's own repetitions not counted): what AWS bills.
        self.requests = 0
        self._config, self._endpoint = config, address
        self._lock = threading.Lock()
        self._look_again_at = 0.0
        with self._errors(None, counts=False):
            self._client = connect(config, address)

    @contextmanager
    def _errors(self, queue_url: str | None, *, counts: bool = True) -> Iterator[None]:
        if counts:
            with self._lock:
                self.requests += 1
        try:
            yield
        except (ClientError, BotoCoreError) as error:
            if counts and credentials_failed(error):
                self._look_for_credentials_again()
            raise explained(error, self.address, queue_url) from error

    def _look_for_credentials_again(self) -> None:
        """Replace the client by one that has read boto3's files again.

        boto3 renews credentials that it fetched itself, but never those that it read from a file; renewed keys would be
        noticed only at a restart.
        """
        with self._lock:
            now = time.monotonic()
            if now < self._look_again_at:
                return
            self._look_again_at = now + _LOOK_AGAIN_SECONDS
        with suppress(BotoCoreError):  # the file is being written; the old client tries again later
            self._client = connect(self._config, self._endpoint)

    # --- queues ---

    def check(self) -> None:
        """Make one request. Raises the error that stands in the way."""
        with self._errors(None):
            self._client.list_queues(MaxResults=1)

    def create_queue(self, name: str, attributes: dict[str, str]) -> str:
        """Create a queue, or adopt the one of this name and set its attributes; return its URL."""
        try:
            with self._errors(None):
                return self._client.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]  # type: ignore[arg-type]
        except SqsRejected as error:
            if code_of(error.__cause__) != "QueueNameExists":
                raise
        url = self.queue_url(name)
        if url is None:
            raise QueueMissing(f"SQS says both that queue {name} exists and that it does not; try again")
        self.set_attributes(url, {k: v for k, v in attributes.items() if k != "FifoQueue"})
        return url

    def queue_url(self, name: str) -> str | None:
        """The URL of the queue of this name, or None."""
        try:
            with self._errors(name):
                return self._client.get_queue_url(QueueName=name)["QueueUrl"]
        except QueueMissing:
            return None

    def delete_queue(self, queue_url: str) -> None:
        """Delete a queue with its messages. A queue that is already gone counts as deleted."""
        try:
            with self._errors(queue_url):
                self._client.delete_queue(QueueUrl=queue_url)
        except QueueMissing:
            pass

    def queue_urls(self, prefix: str = "") -> Iterator[str]:
        """The URLs of all queues whose names begin with `prefix`; each request returns a thousand."""
        with self._errors(None):
            pages = self._client.get_paginator("list_queues").paginate(
                QueueNamePrefix=prefix, PaginationConfig={"PageSize": 1_000}
            )
            for page in pages:
                yield from page.get("QueueUrls", ())

    def attributes(self, queue_url: str, names: Sequence[str] = ("All",)) -> dict[str, str]:
        """Attributes of a queue, as SQS's strings."""
        with self._errors(queue_url):
            answer = self._client.get_queue_attributes(QueueUrl=queue_url, AttributeNames=list(names))  # type: ignore[arg-type]
        return dict(answer.get("Attributes", {}))  # type: ignore[arg-type]

    def set_attributes(self, queue_url: str, attributes: dict[str, str]) -> None:
        """Set attributes of a queue. SQS takes up to a minute to apply them everywhere."""
        if attributes:
            with self._errors(queue_url):
                self._client.set_queue_attributes(QueueUrl=queue_url, Attributes=attributes)  # type: ignore[arg-type]

    def depth(self, queue_url: str) -> Depth:
        """How many messages the queue holds."""
        counts = self.attributes(
            queue_url,
            (
                "ApproximateNumberOfMessages",
                "ApproximateNumberOfMessagesNotVisible",
                "ApproximateNumberOfMessagesDelayed",
            ),
        )
        return Depth(
            visible=int(counts.get("ApproximateNumberOfMessages", 0)),
            in_flight=int(counts.get("ApproximateNumberOfMessagesNotVisible", 0)),
            delayed=int(counts.get("ApproximateNumberOfMessagesDelayed", 0)),
        )

    def purge(self, queue_url: str) -> None:
        """Delete all messages of a queue. SQS takes up to a minute and allows one purge a minute (`Conflict`)."""
        with self._errors(queue_url):
            self._client.purge_queue(QueueUrl=queue_url)

    # --- messages ---

    def send(self, queue_url: str, messages: Sequence[OutgoingMessage]) -> SendResult:
        """Send up to 10 messages of together at most 1 MiB in one request."""
        entries = [_send_entry(index, message) for index, message in enumerate(messages)]
        with self._errors(queue_url):
            answer = self._client.send_message_batch(QueueUrl=queue_url, Entries=entries)  # type: ignore[arg-type]
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
        with self._errors(queue_url):
            answer = self._client.receive_message(
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
        with self._errors(queue_url):
            answer = self._client.delete_message_batch(
                QueueUrl=queue_url,
                Entries=[{"Id": str(i), "ReceiptHandle": handle} for i, handle in enumerate(receipt_handles)],
            )
        return failures_of(answer)

    def change_visibility(self, queue_url: str, changes: Sequence[tuple[str, int]]) -> tuple[BatchFailure, ...]:
        """Hide up to 10 received messages for the given seconds (0 to 43,200) from now; return what was refused."""
        with self._errors(queue_url):
            answer = self._client.change_message_visibility_batch(
                QueueUrl=queue_url,
                Entries=[
                    {"Id": str(i), "ReceiptHandle": handle, "VisibilityTimeout": seconds}
                    for i, (handle, seconds) in enumerate(changes)
                ],
            )
        return failures_of(answer)

    # --- redrive ---

    def start_redrive(self, dlq_arn: str, destination_arn: str) -> str | None:
        """Start SQS's task that moves a dead-letter queue to another queue, or find the one that is running.

        Returns None if the server has no such tasks. Raises `SqsRejected` if it refuses this one.
        """
        try:
            with self._errors(None):
                answer = self._client.start_message_move_task(SourceArn=dlq_arn, DestinationArn=destination_arn)
            return answer["TaskHandle"]
        except SqsRejected as error:
            if "already a task running" in str(error):  # started by a process that has died
                running: list[str] = [t["TaskHandle"] for t in self._move_tasks(dlq_arn) if t.get("TaskHandle")]
                if running:
                    return running[0]
                raise Conflict("SQS is moving these dead letters already; try again when it is done") from error
            if code_of(error.__cause__) in {"InvalidAction", "UnsupportedOperation", "UnknownOperation"}:
                return None
            raise

    def redrive_progress(self, dlq_arn: str, handle: str) -> tuple[str, int, int | None]:
        """A redrive task's state (`RUNNING`, `COMPLETED`, `FAILED`, …), messages moved, and messages to move."""
        for task in self._move_tasks(dlq_arn):
            # A task that has ended has no handle any more; the newest comes first.
            if task.get("TaskHandle", handle) == handle:
                return (
                    task.get("Status", "RUNNING"),
                    int(task.get("ApproximateNumberOfMessagesMoved", 0)),
                    task.get("ApproximateNumberOfMessagesToMove"),
                )
        return "COMPLETED", 0, None

    def _move_tasks(self, dlq_arn: str) -> Sequence[Any]:
        with self._errors(None):
            return self._client.list_message_move_tasks(SourceArn=dlq_arn, MaxResults=10).get("Results", ())


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
