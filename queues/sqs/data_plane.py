"""What processing asks of SQS, whoever answers: boto3's gateway or queues in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from queues.sqs.refusals import BatchFailure
from queues.sqs.values import NEEDED_ATTRIBUTES, Depth, OutgoingMessage, ReceivedMessage, SendResult


class DataPlane(Protocol):
    """What a consumer asks of SQS. Each method is one request; errors are those of the gateway."""

    @property
    def requests(self) -> int:
        """Requests made so far."""

    def send(self, queue_url: str, messages: Sequence[OutgoingMessage]) -> SendResult:
        """Send up to 10 messages."""

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
        """Receive up to `limit` messages, waiting up to `wait` seconds for the first."""

    def delete(self, queue_url: str, receipt_handles: Sequence[str]) -> tuple[BatchFailure, ...]:
        """Delete up to 10 messages."""

    def change_visibility(self, queue_url: str, changes: Sequence[tuple[str, int]]) -> tuple[BatchFailure, ...]:
        """Hide up to 10 messages for other times, in seconds from now."""

    def depth(self, queue_url: str) -> Depth:
        """How many messages the queue holds."""
