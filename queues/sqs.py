"""The SQS gateway: the one module that talks to boto3.

Every method is one request (or one page loop), returns plain values, and raises our own errors: `SqsUnavailable` where
SQS cannot be reached or throttles, `SqsDenied` where it refuses the credentials, `QueueMissing`, `SqsRejected`.
boto3 itself retries connection errors, 5xx and throttling a few times before that.
"""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import boto3
import botocore
from botocore.config import Config as BotoConfig
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    TokenRetrievalError,
)
from botocore.exceptions import ConnectionError as BotoConnectionError

from queues.refusals import BatchFailure as BatchFailure
from queues.refusals import canonical, error_for, failures_of
from queuesite.addresses import no_sqs, sqs_address
from queuesite.config import Config, get_config, mask
from queuesite.errors import Conflict, QueueMissing, ServerError, SqsDenied, SqsRejected, SqsUnavailable

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient

# SQS's limits: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
MAX_BATCH = 10
MAX_MESSAGE_BYTES = 1_048_576
MAX_DELAY_SECONDS = 900
MAX_VISIBILITY_SECONDS = 43_200
MAX_WAIT_SECONDS = 20

#: Attributes of SQS's own that a handler's message is made of. Each further one costs time in every answer.
NEEDED_ATTRIBUTES = ("ApproximateReceiveCount", "SentTimestamp", "MessageGroupId")

#: Threads that one process uses towards SQS at the most, and so the connections that its client keeps.
MAX_CONNECTIONS = 64


@dataclass(frozen=True)
class Depth:
    """How many messages a queue holds; SQS's counts are approximate and may lag by a minute on AWS."""

    visible: int
    in_flight: int
    delayed: int

    @property
    def total(self) -> int:
        """All messages, handed out and delayed ones included."""
        return self.visible + self.in_flight + self.delayed


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """A message as SQS gave it out. `attributes` are the sender's own (typed as SQS types them), `system` SQS's."""

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
    def group(self) -> str | None:
        """The FIFO message group, or None."""
        return self.system.get("MessageGroupId")


@dataclass(frozen=True)
class OutgoingMessage:
    """A message to send. `delay` in seconds (None: the queue's own); `group` and `deduplication_id` for FIFO queues."""

    body: str
    attributes: dict[str, dict[str, Any]] = field(default_factory=dict)
    delay: int | None = None
    group: str | None = None
    deduplication_id: str | None = None

    @property
    def size(self) -> int:
        """What SQS counts towards its limit: the body and the names, types and values of the attributes, in bytes."""
        total = len(self.body.encode("utf-8", "surrogatepass"))
        for name, value in self.attributes.items():
            total += len(name.encode()) + len(str(value.get("DataType", "")).encode())
            content = value.get("BinaryValue") or value.get("StringValue") or b""
            total += len(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
        return total


@dataclass(frozen=True)
class SendResult:
    """What became of a batch: message ids by place, and the failures."""

    message_ids: dict[int, str]
    failures: tuple[BatchFailure, ...]


class SqsGateway:
    """SQS, for one process. Safe for many threads; make it after a fork, never before."""

    def __init__(self, config: Config) -> None:
        address = sqs_address(config)
        if address is None:
            raise no_sqs()
        self.address = mask("aws_sqs_endpoint", address)
        #: Requests made so far (boto3's own repetitions not counted): what AWS bills.
        self.requests = 0
        self._requests_lock = threading.Lock()
        self._client = self._connect(config, address)

    def _connect(self, config: Config, address: str) -> SQSClient:
        keys: dict[str, str] = {}
        if config.aws_access_key_id and config.aws_secret_access_key:
            keys = {
                "aws_access_key_id": config.aws_access_key_id,
                "aws_secret_access_key": config.aws_secret_access_key,
            }
        elif config.embedded_sqs:
            keys = {"aws_access_key_id": "embedded", "aws_secret_access_key": "embedded"}  # it takes any
        with self._errors(None, counts=False):
            session = boto3.session.Session(region_name=config.aws_region, **keys)  # type: ignore[arg-type]
            return session.client(
                "sqs",
                endpoint_url=None if address == "aws" else address,
                config=BotoConfig(
                    connect_timeout=5,
                    read_timeout=MAX_WAIT_SECONDS + 10,
                    retries={"mode": "standard", "total_max_attempts": 3},
                    max_pool_connections=MAX_CONNECTIONS,
                    tcp_keepalive=True,
                    # What goes out is typed and checked by us; checking it again took a twentieth of each call.
                    parameter_validation=False,
                    # botocore else composes its own twice for each request, a tenth of a call's CPU.
                    user_agent=f"Queuesite Boto3/{boto3.__version__} Botocore/{botocore.__version__}",
                ),
            )

    @contextmanager
    def _errors(self, queue_url: str | None, *, counts: bool = True) -> Iterator[None]:
        if counts:
            with self._requests_lock:
                self.requests += 1
        try:
            yield
        except ClientError as error:
            raise self._explained(error, queue_url) from error
        except (NoCredentialsError, PartialCredentialsError, TokenRetrievalError) as error:
            raise SqsDenied(
                f"no AWS credentials ({error}): set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or boto3's usual chain"
            ) from error
        except (HTTPClientError, BotoConnectionError) as error:
            raise SqsUnavailable(
                f"SQS at {self.address} does not answer; is it running, and is AWS_SQS_ENDPOINT right?"
            ) from error
        except BotoCoreError as error:
            raise SqsRejected(f"SQS at {self.address}: {error}") from error

    def _explained(self, error: ClientError, queue_url: str | None) -> ServerError | Conflict:
        details = error.response.get("Error", {})
        return error_for(
            _code(error),
            details.get("Message", "").strip() or str(error),
            status=error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400),
            queue_url=queue_url,
            address=self.address,
        )

    # --- queues ---

    def check(self) -> None:
        """Touch SQS; raises what stands in the way."""
        with self._errors(None):
            self._client.list_queues(MaxResults=1)

    def create_queue(self, name: str, attributes: dict[str, str]) -> str:
        """Create a queue, or adopt the one of this name and set its attributes. Answers its URL."""
        try:
            with self._errors(None):
                return self._client.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]  # type: ignore[arg-type]
        except SqsRejected as error:
            if _code(error.__cause__) != "QueueNameExists":
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
        """Delete a queue with its messages. One that is gone already counts as deleted."""
        try:
            with self._errors(queue_url):
                self._client.delete_queue(QueueUrl=queue_url)
        except QueueMissing:
            pass

    def queue_urls(self, prefix: str = "") -> Iterator[str]:
        """The URLs of all queues whose names begin with `prefix`, a thousand a request."""
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
        """Delete all messages of a queue; SQS takes up to a minute and allows it once a minute (`Conflict`)."""
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

        `visibility` in seconds overrides the queue's own; `system` names those of SQS's own attributes that are wanted.
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
        """Delete up to 10 received messages; answers the entries that SQS did not delete."""
        with self._errors(queue_url):
            answer = self._client.delete_message_batch(
                QueueUrl=queue_url,
                Entries=[{"Id": str(i), "ReceiptHandle": handle} for i, handle in enumerate(receipt_handles)],
            )
        return failures_of(answer)

    def change_visibility(self, queue_url: str, changes: Sequence[tuple[str, int]]) -> tuple[BatchFailure, ...]:
        """Set how long, from now and in seconds (0 to 43,200), up to 10 received messages stay hidden."""
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

    def start_redrive(self, dlq_arn: str) -> str | None:
        """Start SQS's own task that moves a dead-letter queue back to its sources. None where the server has none."""
        try:
            with self._errors(None):
                return self._client.start_message_move_task(SourceArn=dlq_arn)["TaskHandle"]
        except SqsRejected as error:
            if _code(error.__cause__) in {"InvalidAction", "UnsupportedOperation", "UnknownOperation"}:
                return None
            raise

    def redrive_progress(self, dlq_arn: str, handle: str) -> tuple[str, int, int | None]:
        """State (`RUNNING`, `COMPLETED`, `FAILED`, …), messages moved and messages to move of a redrive task."""
        with self._errors(None):
            results = self._client.list_message_move_tasks(SourceArn=dlq_arn, MaxResults=10).get("Results", ())
        for task in results:
            # A task that has ended has no handle any more; the newest comes first.
            if task.get("TaskHandle", handle) == handle:
                return (
                    task.get("Status", "RUNNING"),
                    int(task.get("ApproximateNumberOfMessagesMoved", 0)),
                    task.get("ApproximateNumberOfMessagesToMove"),
                )
        return "COMPLETED", 0, None


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


def _code(error: BaseException | None) -> str:
    """The canonical code of an error of boto3's; empty if it is none that SQS answered."""
    return canonical(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""


def redrive_policy(dlq_arn: str, max_receive_count: int) -> str:
    """The RedrivePolicy attribute that sends a message to `dlq_arn` after `max_receive_count` receives."""
    return json.dumps({"deadLetterTargetArn": dlq_arn, "maxReceiveCount": max_receive_count})


@functools.cache
def get_gateway() -> SqsGateway:
    """The gateway of this process, made at the first call. Raises `SqsUnavailable` where no address is known."""
    return SqsGateway(get_config())
