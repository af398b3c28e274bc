"""What processing asks of SQS. The boto3 gateway and the queues in memory implement it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from queues.sqs.refusals import BatchFailure
from queues.sqs.values import NEEDED_ATTRIBUTES, Depth, OutgoingMessage, ReceivedMessage, SendResult


class DataPlane(Protocol):
    """The requests that consumers and masters make. Each method is one request.

    Raises `SqsUnavailable` if SQS cannot be reached or throttles, `SqsDenied`, `QueueMissing`, `SqsRejected`.
    """

    @property
    def requests(self) -> int:
        """Requests made so far."""

    def send(self, queue_url: str, messages: Sequence[OutgoingMessage]) -> SendResult:
        """Send up to 10 messages of together at most 1 MiB."""

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

        `visibility` in seconds overrides the queue's own; `system` names the SQS attributes that are wanted. A FIFO
        queue gives the same messages again to a repeated `attempt_id` (for five minutes).
        """

    def delete(self, queue_url: str, receipt_handles: Sequence[str]) -> tuple[BatchFailure, ...]:
        """Delete up to 10 received messages; return the entries that SQS did not delete."""

    def change_visibility(self, queue_url: str, changes: Sequence[tuple[str, int]]) -> tuple[BatchFailure, ...]:
        """Hide up to 10 received messages for the given seconds (0 to 43,200) from now; return what was refused."""

    def depth(self, queue_url: str) -> Depth:
        """How many messages the queue holds."""
