"""The SQS gateway: every request that the system makes to SQS.

What processing asks all the time goes by the express lane (or boto3: SQS_TRANSPORT), everything else over boto3, whose
client is made for the first of it. Each method is one request (or one loop over pages), returns plain values, and
raises our own errors: `SqsUnavailable` if SQS cannot be reached or throttles, `SqsDenied` if it refuses the
credentials, `QueueMissing`, `SqsRejected`. Before that, connection errors, 5xx and throttling are retried twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from queues.sqs.boto3_plane import Boto3DataPlane
from queues.sqs.connection import Boto3, code_of, our_errors
from queues.sqs.data_plane import DataPlane
from queues.sqs.express.endpoint import Prepared
from queues.sqs.express.transport import ExpressTransport
from queues.sqs.preparation import credentials_of, prepare
from queues.sqs.refusals import BatchFailure
from queues.sqs.values import NEEDED_ATTRIBUTES, Depth, OutgoingMessage, ReceivedMessage, SendResult
from queuesite.foundation.addresses import no_sqs, sqs_address
from queuesite.foundation.config import Config
from queuesite.foundation.errors import Conflict, QueueMissing, SqsRejected

#: Codes by which an emulator says that it does not have a request.
_UNKNOWN_REQUEST = frozenset({"InvalidAction", "UnsupportedOperation", "UnknownOperation"})
#: Queues that a request lists: the most that SQS gives.
LISTED_AT_ONCE = 1_000


class SqsGateway:
    """SQS, for one process. It is safe for many threads; make it after a fork, never before."""

    def __init__(self, config: Config, prepared: Prepared | None = None) -> None:
        """`prepared` is what `preparation.prepare` found before a fork; without it, it is found now."""
        address = sqs_address(config)
        if address is None:
            raise no_sqs()
        self._boto3 = Boto3(config, address)
        self.address = self._boto3.address
        #: What a process that is forked from this one may begin with; None with SQS_TRANSPORT=boto3.
        self.prepared: Prepared | None = None
        if config.sqs_transport == "boto3":
            with our_errors(self.address):
                self._boto3.client  # noqa: B018 - complains now of what it cannot make sense of
            self._hot: DataPlane = Boto3DataPlane(self._boto3)
        else:
            self.prepared = prepared or prepare(config, self._boto3)
            self._hot = ExpressTransport(self.prepared, credentials_of(config, self.prepared))

    @property
    def requests(self) -> int:
        """Requests made so far (repetitions not counted): what AWS bills."""
        return self._boto3.requests + (self._hot.requests if isinstance(self._hot, ExpressTransport) else 0)

    def close(self) -> None:
        """Close all connections; requests that are under way still get their answers."""
        self._boto3.close()
        if isinstance(self._hot, ExpressTransport):
            self._hot.close()

    # --- the data plane ---

    def send(self, queue_url: str, messages: Sequence[OutgoingMessage]) -> SendResult:
        """Send up to 10 messages of together at most 1 MiB."""
        return self._hot.send(queue_url, messages)

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
        """Receive up to `limit` (1 to 10) messages, waiting up to `wait` seconds (0 to 20) for the first of them."""
        return self._hot.receive(
            queue_url, limit=limit, wait=wait, visibility=visibility, attempt_id=attempt_id, system=system
        )

    def delete(self, queue_url: str, receipt_handles: Sequence[str]) -> tuple[BatchFailure, ...]:
        """Delete up to 10 received messages; return the entries that SQS did not delete."""
        return self._hot.delete(queue_url, receipt_handles)

    def change_visibility(self, queue_url: str, changes: Sequence[tuple[str, int]]) -> tuple[BatchFailure, ...]:
        """Hide up to 10 received messages for the given seconds (0 to 43,200) from now; return what was refused."""
        return self._hot.change_visibility(queue_url, changes)

    def depth(self, queue_url: str) -> Depth:
        """How many messages the queue holds."""
        return self._hot.depth(queue_url)

    # --- queues ---

    def check(self) -> None:
        """Make one request. Raises the error that prevents it."""
        with self._boto3.errors(None):
            self._boto3.client.list_queues(MaxResults=1)

    def create_queue(self, name: str, attributes: dict[str, str], *, take_over: bool = True) -> str:
        """Create a queue and return its URL. If one of this name has other attributes, they are set (`take_over`).

        Without `take_over`, raises `Conflict` for it.
        """
        try:
            with self._boto3.errors(None):
                return self._boto3.client.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]  # type: ignore[arg-type]
        except SqsRejected as error:
            if code_of(error.__cause__) != "QueueNameExists":
                raise
            if not take_over:
                raise Conflict(f"SQS has a queue {name!r} already, with other attributes") from error
        url = self.queue_url(name)
        if url is None:
            raise QueueMissing(f"SQS says both that queue {name} exists and that it does not; try again")
        self.set_attributes(url, {k: v for k, v in attributes.items() if k != "FifoQueue"})
        return url

    def queue_url(self, name: str, account: str | None = None) -> str | None:
        """The URL of the queue of this name, or None. `account`: of another AWS account."""
        owner: Any = {"QueueOwnerAWSAccountId": account} if account else {}
        try:
            with self._boto3.errors(name):
                return self._boto3.client.get_queue_url(QueueName=name, **owner)["QueueUrl"]
        except QueueMissing:
            return None

    def delete_queue(self, queue_url: str) -> None:
        """Delete a queue with its messages. A queue that is already gone counts as deleted."""
        try:
            with self._boto3.errors(queue_url):
                self._boto3.client.delete_queue(QueueUrl=queue_url)
        except QueueMissing:
            pass

    def queue_urls(self, prefix: str = "") -> Iterator[str]:
        """The URLs of all queues whose names begin with `prefix`; each request returns `LISTED_AT_ONCE`."""
        with self._boto3.errors(None):
            pages = self._boto3.client.get_paginator("list_queues").paginate(
                QueueNamePrefix=prefix, PaginationConfig={"PageSize": LISTED_AT_ONCE}
            )
            for page in pages:
                yield from page.get("QueueUrls", ())

    def attributes(self, queue_url: str, names: Sequence[str] = ("All",)) -> dict[str, str]:
        """Attributes of a queue, as SQS's strings."""
        with self._boto3.errors(queue_url):
            answer = self._boto3.client.get_queue_attributes(QueueUrl=queue_url, AttributeNames=list(names))  # type: ignore[arg-type]
        return dict(answer.get("Attributes", {}))  # type: ignore[arg-type]

    def set_attributes(self, queue_url: str, attributes: dict[str, str]) -> None:
        """Set attributes of a queue. SQS takes up to a minute to apply them everywhere."""
        if attributes:
            with self._boto3.errors(queue_url):
                self._boto3.client.set_queue_attributes(QueueUrl=queue_url, Attributes=attributes)  # type: ignore[arg-type]

    def purge(self, queue_url: str) -> None:
        """Delete all messages of a queue. SQS takes up to a minute and allows one purge a minute (`Conflict`)."""
        with self._boto3.errors(queue_url):
            self._boto3.client.purge_queue(QueueUrl=queue_url)

    # --- redrive ---

    def sources_of(self, dlq_url: str) -> list[str] | None:
        """The URLs of the queues that have this dead-letter queue; None if the server does not know such a request."""
        try:
            with self._boto3.errors(dlq_url):
                pages = self._boto3.client.get_paginator("list_dead_letter_source_queues").paginate(QueueUrl=dlq_url)
                return [url for page in pages for url in page.get("queueUrls", ())]
        except SqsRejected as error:
            if code_of(error.__cause__) in _UNKNOWN_REQUEST:
                return None
            raise

    def start_redrive(self, dlq_arn: str, destination_arn: str) -> str | None:
        """Start SQS's task that moves a dead-letter queue to another queue, or find the one that is running.

        Returns None if the server has no such tasks. Raises `SqsRejected` if it refuses this one.
        """
        try:
            with self._boto3.errors(None):
                answer = self._boto3.client.start_message_move_task(SourceArn=dlq_arn, DestinationArn=destination_arn)
            return answer["TaskHandle"]
        except SqsRejected as error:
            if "already a task running" in str(error):  # started by a process that has died
                running: list[str] = [t["TaskHandle"] for t in self._move_tasks(dlq_arn) if t.get("TaskHandle")]
                if running:
                    return running[0]
                raise Conflict("SQS is moving these dead letters already; try again when it is done") from error
            if code_of(error.__cause__) in _UNKNOWN_REQUEST:
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
        with self._boto3.errors(None):
            return self._boto3.client.list_message_move_tasks(SourceArn=dlq_arn, MaxResults=10).get("Results", ())
