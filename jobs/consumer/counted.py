"""The data plane of one run, which counts its requests by what they are made for."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from queues.sqs import (
    NEEDED_ATTRIBUTES,
    PURPOSES,
    BatchFailure,
    DataPlane,
    Depth,
    OutgoingMessage,
    ReceivedMessage,
    SendResult,
)

_RECEIVE, _DELETE, _VISIBILITY, _SEND = (
    PURPOSES.index(purpose) for purpose in ("receive", "delete", "visibility", "send")
)


class Counted:
    """Passes every request on. Safe for threads."""

    def __init__(self, gateway: DataPlane) -> None:
        self._gateway = gateway
        self._lock = threading.Lock()
        self._counts = [0] * len(PURPOSES)

    @property
    def requests(self) -> int:
        """Requests made so far, by the process."""
        return self._gateway.requests

    @property
    def purposes(self) -> tuple[int, ...]:
        """Requests made so far, by the run, in the order of `PURPOSES`."""
        with self._lock:
            return tuple(self._counts)

    def _count(self, purpose: int) -> None:
        with self._lock:
            self._counts[purpose] += 1

    def send(self, queue_url: str, messages: Sequence[OutgoingMessage]) -> SendResult:
        """`DataPlane.send`."""
        self._count(_SEND)
        return self._gateway.send(queue_url, messages)

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
        """`DataPlane.receive`."""
        self._count(_RECEIVE)
        return self._gateway.receive(
            queue_url, limit=limit, wait=wait, visibility=visibility, attempt_id=attempt_id, system=system
        )

    def delete(self, queue_url: str, receipt_handles: Sequence[str]) -> tuple[BatchFailure, ...]:
        """`DataPlane.delete`."""
        self._count(_DELETE)
        return self._gateway.delete(queue_url, receipt_handles)

    def change_visibility(self, queue_url: str, changes: Sequence[tuple[str, int]]) -> tuple[BatchFailure, ...]:
        """`DataPlane.change_visibility`."""
        self._count(_VISIBILITY)
        return self._gateway.change_visibility(queue_url, changes)

    def depth(self, queue_url: str) -> Depth:
        """`DataPlane.depth`, which no run asks for."""
        return self._gateway.depth(queue_url)
